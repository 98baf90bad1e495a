//! Cancelling a run: the execution first, then the record, which a stopped execution cannot close itself.
//!
//! So a record that says `cancelled` is never that of a run that goes on. Who dies in between leaves an execution that
//! was stopped, and the event of its end closes the record. The scripts end when their agent's next heartbeat is told
//! that nobody waits for them.

use aws_sdk_sfn::operation::stop_execution::StopExecutionError;
use rsqlflow_config::audit::Status;
use serde::{Deserialize, Serialize};

use crate::{Trigger, TriggerError};

/// Error of an execution that was stopped by this.
pub(crate) const CANCELLED: &str = "Rsql.Cancelled";

/// A run that has been cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// [`TriggerError::UnknownRun`], [`TriggerError::Ended`], or [`TriggerError::Aws`] and [`TriggerError::NotClosed`],
    /// after which the same call again goes on.
    pub async fn cancel(&self, run_id: &str, by: &str) -> Result<Cancelled, TriggerError> {
        let Some(record) = self.audit.run(run_id).await? else {
            return Err(TriggerError::UnknownRun(run_id.into()));
        };
        let status = record.execution_status;
        if status.is_final() && status != Status::Cancelled {
            return Err(TriggerError::Ended { id: run_id.into(), status });
        }
        let by = format!("cancelled by {by}");
        let stopped = self.stop(run_id, &by).await?;
        let closed =
            self.close(&record, Status::Cancelled, Some(&by)).await.map_err(|error| match stopped {
                true => TriggerError::NotClosed { run: run_id.into(), source: Box::new(error) },
                false => error,
            })?;
        if !stopped {
            // Whoever was about to start it finds the record closed, or has been quicker.
            self.stop(run_id, &by).await?;
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

    /// Stops a run's execution; whether there is one.
    async fn stop(&self, run_id: &str, by: &str) -> Result<bool, TriggerError> {
        let stop = self.sfn.stop_execution().execution_arn(self.execution_arn(run_id));
        match stop.error(CANCELLED).cause(by).send().await {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.as_service_error(), Some(StopExecutionError::ExecutionDoesNotExist(_))) =>
            {
                Ok(false)
            }
            Err(error) => Err(TriggerError::aws("stopping the execution", error)),
        }
    }
}
