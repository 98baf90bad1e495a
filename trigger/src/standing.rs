//! How a run stands: what its record says, and where that says nothing final, what its execution says.
//!
//! The record is the truth where it is final, because it is closed before the execution ends and never goes back. Where
//! it is open, the execution decides: an end that was never recorded is recorded here, by whoever comes by.

use aws_sdk_sfn::types::ExecutionStatus;
use chrono::{DateTime, TimeDelta, Utc};
use rsqlflow_config::audit::{Status, WorkflowAudit};
use rsqlflow_config::time;

use crate::ended::End;
use crate::{Trigger, TriggerError};

/// How long somebody may still be about to start a run that was recorded: no trigger lives longer.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const TRIGGER_LIVES: TimeDelta = TimeDelta::minutes(15);

/// How long a schedule's event may still be delivered again, and then starts its run.
/// <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html>
const EVENT_LIVES: TimeDelta = TimeDelta::hours(24);

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has ended, in this way.
    Ended(Status),
    /// Its execution is under way.
    GoingOn,
    /// It is recorded, and has no execution.
    NotStarted,
}

impl Trigger {
    /// How a run stands. The record of one whose execution has ended is closed by this.
    pub(crate) async fn standing(&self, record: &WorkflowAudit) -> Result<Standing, TriggerError> {
        if record.execution_status.is_final() {
            return Ok(Standing::Ended(record.execution_status));
        }
        let Some(execution) = self.execution(&record.workflow_execution_id).await? else {
            return match record.execution_status {
                // Its own execution has written this. What the service shows may lag by a moment.
                Status::Running if age(record) < TRIGGER_LIVES => Ok(Standing::GoingOn),
                Status::Running => {
                    let message = "its execution is gone from Step Functions, and how it ended is not known";
                    if self.people_know(record, message).await? {
                        self.close(record, Status::Failed, Some(message)).await?;
                    }
                    Ok(Standing::Ended(Status::Failed))
                }
                _ => Ok(Standing::NotStarted),
            };
        };
        match execution.status {
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive => Ok(Standing::GoingOn),
            status => {
                let end = End {
                    status: status.as_str().into(),
                    error: execution.error,
                    cause: execution.cause,
                    input: execution.input,
                    at: execution.stop_date.and_then(|at| DateTime::from_timestamp(at.secs(), 0)),
                };
                Ok(Standing::Ended(self.settle(record, &end).await?.status))
            }
        }
    }

    /// Closes the record of a run that was to be started and was not, once nobody can be about to; whether it is closed.
    pub(crate) async fn close_orphan(&self, record: &WorkflowAudit) -> Result<bool, TriggerError> {
        let wait = if record.scheduled_time.is_some() { EVENT_LIVES } else { TRIGGER_LIVES };
        if age(record) < wait {
            return Ok(false);
        }
        let message =
            "it was recorded and never started: whoever was to start it ended before; run the workflow again";
        // Whoever started it otherwise has seen that it did not go well.
        if record.scheduled_time.is_some() && !self.people_know(record, message).await? {
            return Ok(false);
        }
        self.close_orphaned(record, message).await
    }
}

/// How long ago a run was recorded, or let go where it waited.
fn age(record: &WorkflowAudit) -> TimeDelta {
    let admitted = record.admitted_ts.as_deref().and_then(time::parse);
    let recorded = time::parse(&record.execution_start_ts).unwrap_or(DateTime::UNIX_EPOCH);
    Utc::now() - admitted.unwrap_or(recorded).max(recorded)
}
