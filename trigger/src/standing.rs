//! How a run stands: what its record says, and where that says nothing final, what its execution says.
//!
//! The record is the truth where it is final, because it is closed before the execution ends and never goes back. Where
//! it is open, the execution decides: an end that was never recorded is recorded here, by whoever comes by.

use aws_sdk_sfn::types::ExecutionStatus;
use chrono::Utc;
use rsqlflow_config::audit::{Status, WorkflowAudit};
use rsqlflow_config::time;

use crate::ended::End;
use crate::{Trigger, TriggerError};

/// Seconds after which nobody is still about to start a run that was recorded: longer than any trigger lives.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const TRIGGER_LIVES_SECONDS: i64 = 900;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has ended.
    Ended,
    /// Its execution is under way.
    GoingOn,
    /// It is recorded, and has no execution.
    NotStarted,
}

impl Trigger {
    /// How a run stands. The record of one whose execution has ended is closed by this.
    pub(crate) async fn standing(&self, record: &WorkflowAudit) -> Result<Standing, TriggerError> {
        if record.execution_status.is_final() {
            return Ok(Standing::Ended);
        }
        let Some(execution) = self.execution(&record.workflow_execution_id).await? else {
            return Ok(Standing::NotStarted);
        };
        match execution.status {
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive => Ok(Standing::GoingOn),
            status => {
                let end = End {
                    status: status.as_str().into(),
                    error: execution.error,
                    cause: execution.cause,
                    input: execution.input,
                };
                self.settle(record, &end).await?;
                Ok(Standing::Ended)
            }
        }
    }

    /// Closes the record of a run that was to be started and was not, once nobody can be about to; whether it is closed.
    pub(crate) async fn close_orphan(&self, record: &WorkflowAudit) -> Result<bool, TriggerError> {
        let recorded = time::parse(&record.execution_start_ts).map_or(0, |time| time.timestamp());
        if Utc::now().timestamp() - recorded < TRIGGER_LIVES_SECONDS {
            return Ok(false);
        }
        let message =
            "it was recorded and never started: whoever was to start it ended before; run the workflow again";
        self.close_unadmitted(record, Status::Failed, message).await
    }
}
