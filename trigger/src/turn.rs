//! Whose turn it is: which scheduled run of a workflow was let go last, and which wait behind it.
//!
//! One small item of the workflow audit table for each workflow that does not let its runs overlap. It is not a lock:
//! nobody holds it and nobody releases it. It says who was last, and whether that run has ended is asked of the run
//! itself. So a trigger that dies leaves nothing behind that keeps a later run from starting.
//!
//! Every change is a compare-and-swap on the item's version, so all changes have one order, however many triggers there
//! are. The item has no start time and so is in no index; its key begins with `turn#`, which no run id can.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};

use crate::error::written;
use crate::{Trigger, TriggerError};

/// Most runs that wait: a schedule that is quicker than its runs must not fill the item.
pub(crate) const WAITING_MAX: usize = 100;

/// The item as it is stored, without its keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Counts the changes; 0 where there is no item yet.
    version: u64,
    /// The run that was let go last.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "latest_run")]
    pub(crate) latest: Option<String>,
    /// The runs that wait, the one that came first first.
    #[serde(default, rename = "waiting_runs")]
    pub(crate) waiting: Vec<String>,
}

impl Turn {
    /// Whether the run waits.
    pub(crate) fn waits(&self, run_id: &str) -> bool {
        self.waiting.iter().any(|waiting| waiting == run_id)
    }

    /// Whether the run was let go last.
    pub(crate) fn is_of(&self, run_id: &str) -> bool {
        self.latest.as_deref() == Some(run_id)
    }

    /// With the run let go.
    pub(crate) fn given_to(&self, run_id: &str) -> Self {
        Self { latest: Some(run_id.into()), ..self.without(run_id) }
    }

    /// With the run at the end of those that wait.
    pub(crate) fn behind(&self, run_id: &str) -> Self {
        let mut next = self.clone();
        if !self.waits(run_id) {
            next.waiting.push(run_id.into());
        }
        next
    }

    /// With the run waiting no more.
    pub(crate) fn without(&self, run_id: &str) -> Self {
        let mut next = self.clone();
        next.waiting.retain(|waiting| waiting != run_id);
        next
    }
}

impl Trigger {
    /// Whose turn it is, as it is now: not from an index, which may lag.
    pub(crate) async fn turn(&self, workflow_id: &str) -> Result<Turn, TriggerError> {
        let answer = self
            .dynamodb
            .get_item()
            .table_name(&self.settings.workflow_audit_table)
            .key("workflow_execution_id", AttributeValue::S(key(workflow_id)))
            .key("workflow_id", AttributeValue::S(workflow_id.into()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| TriggerError::aws("reading whose turn it is", error))?;
        answer.item.map_or_else(
            || Ok(Turn::default()),
            |item| from_item(item).map_err(|error| self.unreadable(&error)),
        )
    }

    /// Replaces `seen` by `next`; whether nobody else was quicker.
    pub(crate) async fn swap_turn(
        &self,
        workflow_id: &str,
        seen: &Turn,
        next: Turn,
    ) -> Result<bool, TriggerError> {
        let next = Turn { version: seen.version + 1, ..next };
        let mut item = to_item(&next).map_err(|error| self.unreadable(&error))?;
        item.insert("workflow_execution_id".into(), AttributeValue::S(key(workflow_id)));
        item.insert("workflow_id".into(), AttributeValue::S(workflow_id.into()));
        let put =
            self.dynamodb.put_item().table_name(&self.settings.workflow_audit_table).set_item(Some(item));
        let put = if seen.version == 0 {
            put.condition_expression("attribute_not_exists(workflow_execution_id)")
        } else {
            put.condition_expression("#version = :seen")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":seen", AttributeValue::N(seen.version.to_string()))
        };
        written("saying whose turn it is", put.send().await)
    }

    fn unreadable(&self, error: &serde_dynamo::Error) -> TriggerError {
        TriggerError::Record { table: self.settings.workflow_audit_table.clone(), message: error.to_string() }
    }
}

fn key(workflow_id: &str) -> String {
    format!("turn#{workflow_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_wait_in_the_order_they_came_and_once() {
        let turn = Turn::default().behind("a").behind("b").behind("a");
        assert_eq!(turn.waiting, ["a", "b"]);
        let turn = turn.given_to("b");
        assert!(turn.is_of("b") && turn.waits("a") && !turn.waits("b"));
        assert_eq!(turn.given_to("a").waiting, Vec::<String>::new());
    }
}
