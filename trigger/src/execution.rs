//! The execution behind a run: its name is the run's id, so starting it again is harmless.

use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use rsqlflow_config::audit::{Status, WorkflowAudit};
use rsqlflow_config::{names, time};

use crate::error::is_passing;
use crate::record::Recorded;
use crate::{Started, Trigger, TriggerError};

/// How far the clocks of two callers of AWS may be apart: five minutes, beyond which their signatures are refused.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const CLOCK_SKEW_SECONDS: i64 = 300;

impl Trigger {
    /// Starts the execution of a recorded run, or finds that it has been started.
    pub(crate) async fn execute(&self, recorded: Recorded, input: &str) -> Result<Started, TriggerError> {
        let run_id = recorded.record.workflow_execution_id.as_str();
        let already = |already_started| Started {
            workflow_execution_id: run_id.into(),
            execution_arn: self.execution_arn(run_id),
            already_started,
        };
        let status = recorded.record.execution_status;
        if status.is_final() {
            // A run that has ended is looked at, not run again; one that was cancelled before it started has no end
            // to look at.
            return match self.execution(run_id).await? {
                Some(_) => Ok(already(true)),
                None => Err(TriggerError::Ended { id: run_id.into(), status }),
            };
        }
        let started = self
            .sfn
            .start_execution()
            .state_machine_arn(&self.settings.master_arn)
            .name(run_id)
            .input(input)
            .send()
            .await;
        match started {
            Ok(_) => Ok(already(recorded.before)),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(StartExecutionError::ExecutionAlreadyExists(_))
                ) =>
            {
                // The record is older, so the execution is its own: running under an item that has changed since,
                // or ended.
                if recorded.before || self.is_this_run(&recorded.record, input).await? {
                    return Ok(already(true));
                }
                let message = "Step Functions knows another execution of this name, which is not this run's";
                self.close(&recorded.record, Status::Failed, Some(message)).await?;
                Err(TriggerError::RunExists { id: run_id.into(), of: String::new() })
            }
            Err(error) => {
                let certain = !is_passing(&error);
                let source = Box::new(TriggerError::aws("starting the execution", error));
                // A schedule's event comes again for a day. Nobody comes back for the run of a person who was refused,
                // and those behind it must not wait for it.
                if certain && recorded.record.scheduled_time.is_none() {
                    return self.refused(&recorded, source).await;
                }
                Err(TriggerError::NotStarted { run: run_id.into(), certain, stays_open: None, source })
            }
        }
    }

    /// Closes the record of a run that Step Functions, or what comes before it, refused. Where somebody else has started
    /// the run, it goes on: that this caller may not start it is no reason to call it failed.
    pub(crate) async fn refused(
        &self,
        recorded: &Recorded,
        source: Box<TriggerError>,
    ) -> Result<Started, TriggerError> {
        let record = &recorded.record;
        let run = record.workflow_execution_id.clone();
        let closed = match self.execution(&run).await {
            Ok(Some(_)) => {
                let execution_arn = self.execution_arn(&run);
                return Ok(Started { workflow_execution_id: run, execution_arn, already_started: true });
            }
            Err(error) if recorded.before => Err(error),
            // It is this call's own, and was not started by it.
            Ok(None) | Err(_) => {
                self.close_refused(record, &format!("it could not be started: {source}")).await
            }
        };
        let stays_open = closed.err().map(Box::new);
        Err(TriggerError::NotStarted { run, certain: true, stays_open, source })
    }

    /// Whether the execution of a fresh record's name was started by a rival with the same wish, rather than long ago.
    async fn is_this_run(&self, record: &WorkflowAudit, input: &str) -> Result<bool, TriggerError> {
        let Some(execution) = self.execution(&record.workflow_execution_id).await? else { return Ok(false) };
        let recorded = time::parse(&record.execution_start_ts).map_or(0, |time| time.timestamp());
        // Clocks of two triggers, and the service's, may differ by as much as requests may be old.
        let fresh = execution.start_date.secs() >= recorded - CLOCK_SKEW_SECONDS;
        Ok(fresh && execution.input.as_deref() == Some(input))
    }

    /// The execution of a run, where there is one.
    pub(crate) async fn execution(
        &self,
        run_id: &str,
    ) -> Result<Option<DescribeExecutionOutput>, TriggerError> {
        match self.sfn.describe_execution().execution_arn(self.execution_arn(run_id)).send().await {
            Ok(execution) => Ok(Some(execution)),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_execution_does_not_exist()) => {
                Ok(None)
            }
            Err(error) => Err(TriggerError::aws("looking at the execution", error)),
        }
    }

    /// What Step Functions says of a run's execution, for those who cannot read the run's record: its status, `RUNNING` say;
    /// nothing where there is none.
    ///
    /// # Errors
    /// [`TriggerError::Aws`].
    pub async fn execution_status(&self, run_id: &str) -> Result<Option<String>, TriggerError> {
        // No execution is called that, and asking for one is an error.
        if names::execution_name_problem(run_id, names::RUN_ID_MAX).is_some() {
            return Ok(None);
        }
        Ok(self.execution(run_id).await?.map(|execution| execution.status.as_str().to_string()))
    }

    /// ARN of a run's execution, which follows from its name.
    pub(crate) fn execution_arn(&self, run_id: &str) -> String {
        format!("{}:{run_id}", self.settings.master_arn.replacen(":stateMachine:", ":execution:", 1))
    }
}
