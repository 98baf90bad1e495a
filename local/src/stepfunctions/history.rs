//! `GetExecutionHistory`.

use rusqlite::params;
use serde::Deserialize;
use serde_json::Value;

use super::StepFunctions;
use super::machines::page;
use super::names::page_size;
use crate::asl::{history, journal};
use crate::service::AwsError;
use crate::shape;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Get {
    execution_arn: String,
    max_results: Option<i64>,
    next_token: Option<String>,
    #[serde(default)]
    reverse_order: bool,
    include_execution_data: Option<bool>,
}

impl StepFunctions {
    pub(super) async fn get_execution_history(&self, body: Value) -> Result<Value, AwsError> {
        let request: Get = shape::parse(body)?;
        let size = page_size(request.max_results)?;
        // The token is the last event of the page before.
        let after = shape::position(request.next_token.as_deref(), "InvalidToken")?;
        let (id, _) = self.number_of(&request.execution_arn).await?;
        let data = request.include_execution_data.unwrap_or(true);
        let reverse = request.reverse_order;
        let mut events: Vec<Value> = self
            .store()
            .read(move |tx| {
                let (first, last) = journal::keys(id);
                let after = (after > 0).then(|| journal::key(id, u64::try_from(after).unwrap_or_default()));
                let (sql, bounds) = if reverse {
                    ("id >= ?1 and id < ?2 order by id desc", (first, after.unwrap_or(last)))
                } else {
                    ("id > ?1 and id <= ?2 order by id", (after.unwrap_or(first), last))
                };
                let mut rows = tx.prepare_cached(&format!(
                    "select id, previous, at_ms, type, details, payload from sfn_event where {sql} limit ?3"
                ))?;
                let mut rows = rows.query(params![bounds.0, bounds.1, size + 1])?;
                let mut events = Vec::new();
                while let Some(row) = rows.next()? {
                    let kind: String = row.get(3)?;
                    let details: String = row.get(4)?;
                    let previous = u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default();
                    events.push(history::show(
                        journal::number(row.get(0)?),
                        previous,
                        row.get(2)?,
                        &kind,
                        serde_json::from_str(&details).unwrap_or_default(),
                        journal::text(tx, row.get_ref(5)?)?,
                        data,
                    ));
                }
                Ok(events)
            })
            .await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = events.len() > size;
        events.truncate(size);
        let next =
            events.last().filter(|_| more).and_then(|event| event["id"].as_u64()).map(|id| id.to_string());
        Ok(page("events", events, next))
    }
}
