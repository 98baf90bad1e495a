//! What follows when an execution has ended: the record of its run is closed and people are told, where the state
//! machine could not do it itself.
//!
//! The state machine closes the record and tells people with its last states. An execution that is stopped from
//! outside, passes a limit of the service or breaks in itself runs no state any more, so whoever sees its end does it in
//! its place. People are told before the record is closed: whoever dies in between tells them twice rather than never.

use chrono::{DateTime, TimeDelta, Utc};
use rsqlflow_config::audit::{Status, WorkflowAudit};

use crate::cancel::CANCELLED;
use crate::{Trigger, TriggerError};

/// Longest part of an execution's cause in a record.
const CAUSE_MAX: usize = 1_000;

/// How long the record of a run stays open because people cannot be told of its end.
const TELLING_MAY_TAKE: TimeDelta = TimeDelta::hours(1);

/// How an execution ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub(crate) status: String,
    /// Its error.
    pub(crate) error: Option<String>,
    /// Its cause.
    pub(crate) cause: Option<String>,
    /// Its input, where that is at hand.
    pub(crate) input: Option<String>,
    /// When, where that is known.
    pub(crate) at: Option<DateTime<Utc>>,
}

/// What was done about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// How the run ended.
    pub(crate) status: Status,
    /// Whether its record was open and is closed now.
    pub(crate) closed: bool,
    /// Whether people were told.
    pub(crate) notified: bool,
}

impl End {
    /// What the end means for the run.
    pub(crate) fn run_status(&self) -> Status {
        match self.status.as_str() {
            "SUCCEEDED" => Status::Completed,
            "ABORTED" => Status::Cancelled,
            "TIMED_OUT" => Status::TimedOut,
            _ if self.error.as_deref() == Some("Rsql.RunTimedOut") => Status::TimedOut,
            _ => Status::Failed,
        }
    }

    /// Whether people know: the state machine came to the states that tell them, or somebody has cancelled the run.
    fn is_known(&self) -> bool {
        let own = |error: &str| error.starts_with("Rsql.");
        match self.status.as_str() {
            "SUCCEEDED" => true,
            "FAILED" => self.error.as_deref().is_some_and(own),
            _ => self.is_cancelled(),
        }
    }

    /// Whether it was ended by `rsqlflow cancel`.
    fn is_cancelled(&self) -> bool {
        self.error.as_deref() == Some(CANCELLED)
    }

    /// For people.
    fn message(&self) -> Option<String> {
        let how = match self.status.as_str() {
            "SUCCEEDED" => return None,
            _ if self.is_cancelled() => return self.cause.clone(),
            "ABORTED" => "its execution was stopped in Step Functions",
            "TIMED_OUT" => "its execution passed its time limit in Step Functions",
            _ => "its execution failed in Step Functions",
        };
        let mut text = how.to_string();
        for detail in [&self.error, &self.cause].into_iter().flatten().filter(|detail| !detail.is_empty()) {
            text.push_str(": ");
            text.extend(detail.chars().take(CAUSE_MAX));
        }
        Some(text)
    }
}

impl Trigger {
    /// Closes the record of a run whose execution has ended, and tells people where the state machine could not. Who has
    /// no way to tell them leaves both to the trigger that has.
    pub(crate) async fn settle(&self, record: &WorkflowAudit, end: &End) -> Result<Settled, TriggerError> {
        let status = end.run_status();
        if record.execution_status.is_final() {
            return Ok(Settled { status: record.execution_status, closed: false, notified: false });
        }
        let message = end.message();
        let mut notified = false;
        if !end.is_known()
            && let Some(notify) = self.whom(record, end.input.as_deref(), status).await?
        {
            if self.sns.is_none() {
                return Ok(Settled { status, closed: false, notified });
            }
            let told = self.tell(record, status, message.as_deref().unwrap_or_default(), &notify).await;
            // The runs after it do not wait for ever for a way to people that is not there.
            notified = match told {
                Err(error) if end.at.is_some_and(|at| Utc::now() - at > TELLING_MAY_TAKE) => {
                    tracing::error!(run = record.workflow_execution_id, %error, "nobody could be told");
                    false
                }
                told => told?,
            };
        }
        let closed = self.close(record, status, message.as_deref()).await?;
        Ok(Settled { status, closed, notified })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(status: &str, error: Option<&str>) -> End {
        End { status: status.into(), error: error.map(Into::into), ..End::default() }
    }

    #[test]
    fn an_end_is_a_status_and_a_sentence() {
        assert_eq!(end("ABORTED", None).run_status(), Status::Cancelled);
        assert_eq!(end("TIMED_OUT", None).run_status(), Status::TimedOut);
        assert_eq!(end("FAILED", Some("Rsql.RunTimedOut")).run_status(), Status::TimedOut);
        assert_eq!(end("FAILED", Some("States.Runtime")).run_status(), Status::Failed);
        let mut stopped = end("ABORTED", Some("Maria"));
        stopped.cause = Some("wrong day".into());
        assert_eq!(
            stopped.message().unwrap(),
            "its execution was stopped in Step Functions: Maria: wrong day"
        );
    }

    #[test]
    fn people_are_told_where_the_state_machine_could_not() {
        assert!(end("FAILED", Some("Rsql.RunFailed")).is_known());
        assert!(!end("FAILED", Some("States.Runtime")).is_known());
        assert!(!end("ABORTED", None).is_known());
        assert!(end("ABORTED", Some("Rsql.Cancelled")).is_known());
    }
}
