//! Jobs that were under way when their run was stopped or ran out of time.
//!
//! Such a job is ended by its host, which learns of it with its next heartbeat and then records the truth: the signal,
//! the exit code, the last words. So the host is given the time for that. What is open after it belongs to a host that
//! is gone, and nothing else will ever close it.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{TimeDelta, Utc};
use rsqlflow_config::audit::{JobAudit, Status, WorkflowAudit};
use rsqlflow_config::time;
use tokio::time::Instant;

use crate::{Trigger, TriggerError};

/// Pause between two looks at the records.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Trigger {
    /// Whether scripts of a run that was stopped or ran out of time may still be running: its hosts have the time to end
    /// them, and have not recorded that they did. Read from the records themselves, not from the index alone, so that
    /// what was seen as ended is never seen as open again.
    pub(crate) async fn winds_down(&self, run: &WorkflowAudit) -> Result<bool, TriggerError> {
        if matches!(run.execution_status, Status::Completed | Status::Failed | Status::Skipped) {
            return Ok(false);
        }
        // One that has only just been found to have ended has no end in the record at hand.
        let ended = run.execution_end_ts.as_deref().and_then(time::parse).unwrap_or_else(Utc::now);
        if Utc::now() - ended >= TimeDelta::seconds(self.settings.late_records_seconds.into()) {
            return Ok(false);
        }
        let run_id = &run.workflow_execution_id;
        for job in self.audit.jobs(run_id).await?.iter().filter(|job| !job.execution_status.is_final()) {
            let now = self.audit.job(&job.job_name, run_id).await?;
            if now.is_some_and(|job| !job.execution_status.is_final()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for the hosts' own records of a run's jobs and closes those that do not come; gives their names.
    pub(crate) async fn close_jobs(&self, run_id: &str, run: Status) -> Result<Vec<String>, TriggerError> {
        let wait = Duration::from_secs(self.settings.late_records_seconds.into());
        let deadline = Instant::now() + wait;
        let open = loop {
            let mut jobs = self.audit.jobs(run_id).await?;
            jobs.retain(|job| !job.execution_status.is_final());
            if jobs.is_empty() || Instant::now() >= deadline {
                break jobs;
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_EVERY)).await;
        };
        let mut closed = Vec::new();
        for job in open {
            if self.close_job(&job, run, wait.as_secs()).await? {
                closed.push(job.job_name);
            }
        }
        Ok(closed)
    }

    async fn close_job(&self, job: &JobAudit, run: Status, waited: u64) -> Result<bool, TriggerError> {
        let text = |text: &str| AttributeValue::S(text.into());
        let message = format!(
            "the run ended ({run}) and host {} did not say within {waited} seconds what became of this job",
            job.instance_id
        );
        let mut update = self
            .dynamodb
            .update_item()
            .table_name(&self.settings.job_audit_table)
            .key("job_name", text(&job.job_name))
            .key("workflow_execution_id", text(&job.workflow_execution_id))
            .update_expression(
                "SET execution_status = :status, execution_end_ts = :end, #error = :error, error_message = :message",
            )
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":status", text(run.as_str()))
            .expression_attribute_values(":end", text(&time::now()))
            .expression_attribute_values(":error", text("Rsql.HostLost"))
            .expression_attribute_values(":message", text(&message));
        let mut names = Vec::new();
        for (at, last) in Status::FINAL.into_iter().enumerate() {
            let name = format!(":f{at}");
            update = update.expression_attribute_values(&name, text(last.as_str()));
            names.push(name);
        }
        let open = format!("attribute_exists(job_name) AND NOT execution_status IN ({})", names.join(", "));
        match update.condition_expression(open).send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(TriggerError::aws("closing a job's record", error)),
        }
    }
}
