//! Jobs whose records are open when their run has ended.
//!
//! One that was under way when its run was stopped or ran out of time is ended by its host, which learns of it with its
//! next heartbeat and then records the truth: the signal, the exit code, the last words. One that has answered may have
//! its record under way, as no answer waits for a record. So the host is given the time for either. What is open after
//! it belongs to a host that is gone, and nothing else will ever close it.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{TimeDelta, Utc};
use rsqlflow_config::audit::{JobAudit, Status, WorkflowAudit};
use rsqlflow_config::time;
use tokio::time::Instant;

use crate::error::written;
use crate::record::where_open;
use crate::{Trigger, TriggerError};

/// Pause between two looks at the records.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Trigger {
    /// Whether scripts of a run that did not complete may still be running: its hosts have the time to end them, and have
    /// not recorded that they did. Read from the records themselves, not from the index alone, so that
    /// what was seen as ended is never seen as open again.
    pub(crate) async fn winds_down(&self, run: &WorkflowAudit) -> Result<bool, TriggerError> {
        if matches!(run.execution_status, Status::Completed | Status::Skipped)
            || self.time_to_tell(run) <= TimeDelta::zero()
        {
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

    /// How long the hosts of a run that has ended have yet to tell what became of its jobs; zero or less where that is
    /// over.
    pub(crate) fn time_to_tell(&self, run: &WorkflowAudit) -> TimeDelta {
        // One that has only just been found to have ended has no end in the record at hand.
        let ended = run.execution_end_ts.as_deref().and_then(time::parse).unwrap_or_else(Utc::now);
        ended + TimeDelta::seconds(self.settings.late_records_seconds.into()) - Utc::now()
    }

    /// Does what follows from the end of a run but for its record: waits for the hosts' own records of its jobs and
    /// closes those that do not come; gives their names.
    pub(crate) async fn follow_up(
        &self,
        record: &WorkflowAudit,
        run: Status,
    ) -> Result<Vec<String>, TriggerError> {
        let run_id = &record.workflow_execution_id;
        let deadline = Instant::now() + self.time_to_tell(record).to_std().unwrap_or_default();
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
            if self.close_job(&job, run).await? {
                closed.push(job.job_name);
            }
        }
        self.no_longer_open(record).await?;
        Ok(closed)
    }

    async fn close_job(&self, job: &JobAudit, run: Status) -> Result<bool, TriggerError> {
        let waited = self.settings.late_records_seconds;
        let text = |text: &str| AttributeValue::S(text.into());
        let host = &job.instance_id;
        // A run completes when all of its jobs have.
        let (status, error, message) = match run {
            Status::Completed => {
                (run, "", format!("it completed; host {host} did not say within {waited} seconds how"))
            }
            _ => (
                if matches!(run, Status::Cancelled | Status::TimedOut) { run } else { Status::Failed },
                ", #error = :error",
                format!(
                    "the run ended ({run}) and host {host} did not say within {waited} seconds what became of this job"
                ),
            ),
        };
        let mut update = self
            .dynamodb
            .update_item()
            .table_name(&self.settings.job_audit_table)
            .key("job_name", text(&job.job_name))
            .key("workflow_execution_id", text(&job.workflow_execution_id))
            .update_expression(format!(
                "SET execution_status = :status, execution_end_ts = :end, error_message = :message{error}"
            ))
            .expression_attribute_values(":status", text(status.as_str()))
            .expression_attribute_values(":end", text(&time::now()))
            .expression_attribute_values(":message", text(&message));
        if !error.is_empty() {
            update = update
                .expression_attribute_names("#error", "error")
                .expression_attribute_values(":error", text("Rsql.HostLost"));
        }
        let update = where_open(update, "attribute_exists(job_name)");
        written("closing a job's record", update.send().await)
    }
}
