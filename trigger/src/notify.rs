//! Telling people how a run ended, in the words of the state machine, where the state machine could not.
//!
//! Whom to tell is in the input of the execution: what the item said when the run started. A run that was stopped from
//! outside is told to those who want to know of failures: they expect a load that is not there.

use rsqlflow_config::audit::{Status, WorkflowAudit};
use rsqlflow_config::run::{NotifyInput, RunInput};
use rsqlflow_config::workflow::NotifyOn;

use crate::Trigger;

/// Longest subject of a message.
/// <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>
const SUBJECT_MAX: usize = 100;

/// Longest part of an error in a message.
const MESSAGE_MAX: usize = 2_000;

impl Trigger {
    /// Tells people; whether anybody was to be told and was. That nobody could be told keeps no record open, so it is
    /// only logged.
    pub(crate) async fn tell(
        &self,
        record: &WorkflowAudit,
        status: Status,
        message: &str,
        input: Option<&str>,
    ) -> bool {
        let run_id = &record.workflow_execution_id;
        let described = match input {
            Some(_) => None,
            None => self.execution(run_id).await.ok().flatten().and_then(|execution| execution.input),
        };
        let Some(notify) = whom(input.or(described.as_deref()), status) else { return false };
        let Some(sns) = &self.sns else {
            tracing::warn!(run = run_id, "nobody is told: there is no way to SNS here");
            return false;
        };
        let workflow = &record.workflow_id;
        let status = status.as_str().replace('_', " ");
        let subject = format!("rsqlflow: {workflow} {status}");
        let message: String = message.chars().take(MESSAGE_MAX).collect();
        let published = sns
            .publish()
            .topic_arn(&notify.topic_arn)
            .subject(subject.chars().take(SUBJECT_MAX).collect::<String>())
            .message(format!(
                "Run {run_id} of workflow {workflow} ended {status}.\n\n{message}\n\nMore: rsqlflow status {run_id}"
            ))
            .send()
            .await;
        if let Err(error) = &published {
            let error = aws_sdk_sns::error::DisplayErrorContext(error);
            tracing::error!(run = run_id, topic = notify.topic_arn, %error, "nobody could be told");
        }
        published.is_ok()
    }
}

/// Whom the run wants to be told of such an end.
fn whom(input: Option<&str>, status: Status) -> Option<NotifyInput> {
    let notify = serde_json::from_str::<RunInput>(input?).ok()?.notify?;
    let wanted = match status {
        Status::Completed => NotifyOn::Completed,
        Status::TimedOut => NotifyOn::TimedOut,
        Status::Failed | Status::Cancelled => NotifyOn::Failed,
        Status::Triggered | Status::Running | Status::Skipped => return None,
    };
    notify.on.contains(&wanted).then_some(notify)
}
