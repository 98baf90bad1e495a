//! The config table: one item per workflow.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use rsqlflow_config::names::may_be_key;
use rsqlflow_config::workflow::Workflow;
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};
use serde_json::Value;

use crate::TriggerError;

/// The config table.
#[derive(Debug, Clone)]
pub struct Items {
    client: Client,
    table: String,
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// There was no such item.
    Created,
    /// There was one, and it differed.
    Updated,
    /// There was one, and it said the same.
    Unchanged,
}

impl Items {
    /// The config table `table`, reached through `client`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// One item as it is stored, valid or not.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub async fn get(&self, id: &str) -> Result<Option<Value>, TriggerError> {
        if !may_be_key(id) {
            return Ok(None);
        }
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("workflow_id", AttributeValue::S(id.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| TriggerError::aws("reading the config item", error))?;
        answer.item.map(|item| from_item(item).map_err(|error| self.record(&error))).transpose()
    }

    /// Stores a workflow.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub async fn put(&self, workflow: &Workflow) -> Result<Put, TriggerError> {
        let item = to_item(workflow).map_err(|error| self.record(&error))?;
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item.clone()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| TriggerError::aws("storing the config item", error))?;
        Ok(match answer.attributes {
            Some(old) if old == item => Put::Unchanged,
            Some(old) if !old.is_empty() => Put::Updated,
            _ => Put::Created,
        })
    }

    /// Every item as it is stored, by id.
    ///
    /// # Errors
    /// [`TriggerError::Aws`] or [`TriggerError::Record`].
    pub async fn list(&self) -> Result<Vec<Value>, TriggerError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(&self.table)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| TriggerError::aws("listing the config items", error))?;
            for item in page.items.unwrap_or_default() {
                items.push(from_item(item).map_err(|error| self.record(&error))?);
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                break;
            }
        }
        items.sort_by_key(|item: &Value| item["workflow_id"].as_str().unwrap_or_default().to_string());
        Ok(items)
    }

    /// Removes an item; whether there was one.
    ///
    /// # Errors
    /// [`TriggerError::Aws`].
    pub async fn delete(&self, id: &str) -> Result<bool, TriggerError> {
        let answer = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("workflow_id", AttributeValue::S(id.to_string()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| TriggerError::aws("deleting the config item", error))?;
        Ok(answer.attributes.is_some_and(|old| !old.is_empty()))
    }

    /// The id that is nearest to one that does not exist.
    pub(crate) async fn nearest(&self, id: &str) -> Option<String> {
        // Only to help with a message: when even this fails, the message goes without.
        let items = self.list().await.ok()?;
        items
            .iter()
            .filter_map(|item| item["workflow_id"].as_str())
            .map(|known| (strsim::damerau_levenshtein(known, id), known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
            .min()
            .map(|(_, known)| known.to_string())
    }

    fn record(&self, error: &serde_dynamo::Error) -> TriggerError {
        TriggerError::Record { table: self.table.clone(), message: error.to_string() }
    }
}
