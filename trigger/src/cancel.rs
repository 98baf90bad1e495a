//! Cancelling a run: the record first, then the execution.
//!
//! The record first because an execution that is stopped runs no state any more and could not close it. The scripts
//! end when their agent's next heartbeat is told that nobody waits for them.

use aws_sdk_sfn::operation::stop_execution::StopExecutionError;
use rsqlflow_config::audit::Status;

use crate::{Trigger, TriggerError};

/// A run that has been cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// The workflow it was a run of.
    pub workflow_id: String,
    /// Seconds after which every script of it has been told at the latest.
    pub scripts_told_within_seconds: u32,
}

impl Trigger {
    /// Cancels a run.
    ///
    /// # Errors
    /// [`TriggerError::UnknownRun`], [`TriggerError::Ended`], or [`TriggerError::Aws`], after which the same call again
    /// goes on.
    pub async fn cancel(&self, run_id: &str, by: &str) -> Result<Cancelled, TriggerError> {
        let Some(record) = self.audit.run(run_id).await? else {
            return Err(TriggerError::UnknownRun(run_id.into()));
        };
        let status = record.execution_status;
        if status.is_final() && status != Status::Cancelled {
            return Err(TriggerError::Ended { id: run_id.into(), status });
        }
        let closed = self.close(&record, Status::Cancelled, Some(&format!("cancelled by {by}"))).await?;
        let stopped = self
            .sfn
            .stop_execution()
            .execution_arn(self.execution_arn(run_id))
            .error("Rsql.Cancelled")
            .cause(format!("cancelled by {by}"))
            .send()
            .await;
        match stopped {
            Ok(_) => {}
            // Recorded but never started: then there is nothing to stop.
            Err(error)
                if matches!(error.as_service_error(), Some(StopExecutionError::ExecutionDoesNotExist(_))) => {
            }
            Err(error) => return Err(TriggerError::aws("stopping the execution", error)),
        }
        if !closed
            && let Some(now) = self.audit.run(run_id).await?
            && now.execution_status != Status::Cancelled
        {
            return Err(TriggerError::Ended { id: run_id.into(), status: now.execution_status });
        }
        Ok(Cancelled {
            workflow_id: record.workflow_id,
            scripts_told_within_seconds: self.settings.heartbeat_seconds.div_ceil(3),
        })
    }
}
