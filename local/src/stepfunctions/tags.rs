//! Tags of state machines: kept and given back.

use rusqlite::OptionalExtension as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::StepFunctions;
use crate::service::AwsError;
use crate::shape;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_arn: String,
    #[serde(default)]
    tags: Vec<Value>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl StepFunctions {
    pub(super) async fn list_tags_for_resource(&self, body: Value) -> Result<Value, AwsError> {
        let request: Request = shape::parse(body)?;
        self.change_tags(request.resource_arn, |_| {}).await
    }

    pub(super) async fn tag_resource(&self, body: Value) -> Result<Value, AwsError> {
        let Request { resource_arn, tags: new, .. } = shape::parse(body)?;
        self.change_tags(resource_arn, move |tags| {
            tags.retain(|tag| new.iter().all(|new| new["key"] != tag["key"]));
            tags.extend(new);
        })
        .await?;
        Ok(json!({}))
    }

    pub(super) async fn untag_resource(&self, body: Value) -> Result<Value, AwsError> {
        let Request { resource_arn, tag_keys, .. } = shape::parse(body)?;
        self.change_tags(resource_arn, move |tags| {
            tags.retain(|tag| tag_keys.iter().all(|key| tag["key"] != *key));
        })
        .await?;
        Ok(json!({}))
    }

    async fn change_tags(
        &self,
        arn: String,
        change: impl FnOnce(&mut Vec<Value>) + Send + 'static,
    ) -> Result<Value, AwsError> {
        let wanted = arn.clone();
        let tags = self
            .store()
            .durable(move |tx| {
                let tags: Option<String> = tx
                    .query_row("select tags from sfn_machine where arn = ?1", [&wanted], |row| row.get(0))
                    .optional()?;
                let Some(tags) = tags else { return Ok(None) };
                let mut tags: Vec<Value> = serde_json::from_str(&tags).unwrap_or_default();
                change(&mut tags);
                let text = Value::Array(tags.clone()).to_string();
                tx.execute("update sfn_machine set tags = ?2 where arn = ?1", [&wanted, &text])?;
                Ok(Some(tags))
            })
            .await?;
        match tags {
            Some(tags) => Ok(json!({ "tags": tags })),
            None => Err(AwsError::client("ResourceNotFound", format!("Resource not found: '{arn}'"))),
        }
    }
}
