//! Telling people how a run ended, in the words of the state machine, where the state machine could not.
//!
//! Whom to tell is in the input of the execution: what the item said when the run started. A run that never had one is
//! told to those whom the item names now. A run that was stopped from outside is told to those who want to know of
//! failures: they expect a load that is not there.

use rsqlflow_config::audit::{Status, WorkflowAudit};
use rsqlflow_config::run::{NotifyInput, RunInput};
use rsqlflow_config::visible;
use rsqlflow_config::workflow::{Notify, NotifyOn};
use serde_json::Value;

use crate::error::is_passing;
use crate::record::Change;
use crate::{Trigger, TriggerError};

/// Longest subject of a message.
/// <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>
const SUBJECT_MAX: usize = 100;

/// Longest part of an error in a message.
const MESSAGE_MAX: usize = 2_000;

impl Trigger {
    /// Whom a run wants to be told of such an end. `input` is that of its execution, where it is at hand.
    pub(crate) async fn whom(
        &self,
        record: &WorkflowAudit,
        input: Option<&str>,
        status: Status,
    ) -> Result<Option<NotifyInput>, TriggerError> {
        let described = match input {
            Some(_) => None,
            None => {
                self.execution(&record.workflow_execution_id).await?.and_then(|execution| execution.input)
            }
        };
        let notify = match input.or(described.as_deref()) {
            Some(input) => serde_json::from_str::<RunInput>(input).ok().and_then(|input| input.notify),
            // The item may be the very reason why it never ran, so no more of it is read than this.
            None => self
                .items
                .get(&record.workflow_id)
                .await?
                .and_then(|mut item| as_named(item["notify"].take())),
        };
        Ok(notify.filter(|notify| wants(notify, status)))
    }

    /// Tells people of a run that failed without an execution; whether that is done with. Who has no way to tell them
    /// leaves it to the trigger that has. That they cannot be told keeps nothing open.
    pub(crate) async fn people_know(
        &self,
        record: &WorkflowAudit,
        message: &str,
    ) -> Result<bool, TriggerError> {
        let Some(notify) = self.whom(record, None, Status::Failed).await? else { return Ok(true) };
        if self.sns.is_none() {
            return Ok(false);
        }
        if let Err(error) = self.tell(record, Status::Failed, message, &notify).await {
            tracing::error!(run = record.workflow_execution_id, %error, "nobody could be told");
        }
        Ok(true)
    }

    /// Tells people; whether they were told. That nobody ever will be, a topic that is gone say, keeps no record open:
    /// the record says so.
    pub(crate) async fn tell(
        &self,
        record: &WorkflowAudit,
        status: Status,
        message: &str,
        notify: &NotifyInput,
    ) -> Result<bool, TriggerError> {
        let run_id = &record.workflow_execution_id;
        let Some(sns) = &self.sns else { return Ok(false) };
        let workflow = &record.workflow_id;
        let status = status.as_str().replace('_', " ");
        let subject = format!("rsqlflow: {workflow} {status}");
        // Mail shows what others wrote, as a terminal does.
        let message: String = visible::shown(message).chars().take(MESSAGE_MAX).collect();
        let published = sns
            .publish()
            .topic_arn(&notify.topic_arn)
            .subject(subject.chars().take(SUBJECT_MAX).collect::<String>())
            .message(format!(
                "Run {run_id} of workflow {workflow} ended {status}.\n\n{message}\n\nMore: rsqlflow status {run_id}"
            ))
            .send()
            .await;
        match published {
            Ok(_) => Ok(true),
            Err(error) if is_passing(&error) => Err(TriggerError::aws("telling people", error)),
            Err(error) => {
                let error = TriggerError::aws("telling people", error);
                tracing::error!(run = run_id, topic = notify.topic_arn, %error, "nobody could be told");
                let change = Change::new("SET notify_error = :error").value(":error", &error.to_string());
                self.change_open(record, change, "", "recording that nobody was told").await?;
                Ok(false)
            }
        }
    }
}

/// As an item names them, which may be invalid in other ways.
fn as_named(notify: Value) -> Option<NotifyInput> {
    let Notify { topic_arn, on } = serde_json::from_value(notify).ok()?;
    Some(NotifyInput { topic_arn, on })
}

/// Whether they want to know of such an end.
fn wants(notify: &NotifyInput, status: Status) -> bool {
    let wanted = match status {
        Status::Completed => NotifyOn::Completed,
        Status::TimedOut => NotifyOn::TimedOut,
        Status::Failed | Status::Cancelled => NotifyOn::Failed,
        Status::Triggered | Status::Running | Status::Skipped => return false,
    };
    notify.on.contains(&wanted)
}
