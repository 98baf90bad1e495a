//! What is wrong with an event, or went wrong over it, as a Lambda function says it.

use serde::Serialize;

use crate::TriggerError;

/// `{"errorType": "Rsql....", "errorMessage": "..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{error_type}: {error_message}")]
#[serde(rename_all = "camelCase")]
pub struct EventError {
    /// The kind, for programs: one of [`TriggerError::code`], or `Rsql.InvalidEvent`.
    pub error_type: String,
    /// What is wrong, for people.
    pub error_message: String,
}

impl EventError {
    pub(super) fn refused(error_type: &str, why: &str) -> Self {
        Self { error_type: error_type.into(), error_message: why.into() }
    }

    pub(super) fn invalid(why: &str) -> Self {
        Self { error_type: "Rsql.InvalidEvent".into(), error_message: format!("{why}. {ACCEPTED}") }
    }
}

impl From<TriggerError> for EventError {
    fn from(error: TriggerError) -> Self {
        let mut error_message = error.to_string();
        if error.is_denied() {
            error_message.push_str(DENIED);
        }
        Self { error_type: error.code().into(), error_message }
    }
}

/// What to do where the role of the function lacks a permission.
const DENIED: &str = ". The function's role lacks that permission: update the stack with the template of this version \
    (rsqlflow template), and look for a boundary or a service control policy that takes it away";

const ACCEPTED: &str = "Accepted are \
    {\"source\": \"rsqlflow.schedule\", \"workflow_id\": ..., \"scheduled_time\": ...}, \
    {\"workflow_id\": ..., \"workflow_execution_id\": ..., \"parameters\": {...}} (the last two may be missing), \
    {\"source\": \"rsqlflow.sweep\"} and Step Functions status changes of EventBridge";
