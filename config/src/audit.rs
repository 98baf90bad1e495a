//! The audit trail: one record per run, one per job of a run.
//!
//! A record's status only goes forward: every writer makes its write conditional on the record not being final, with
//! [`Status::FINAL`] as the list. The attribute names are those of the framework this product replaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a run or a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Asked for, not started: the trigger has recorded the run, or the agent has accepted the job.
    Triggered,
    /// Under way.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Ended because a limit on time passed.
    TimedOut,
    /// Ended because someone asked.
    Cancelled,
    /// Not run, on purpose.
    Skipped,
}

impl Status {
    /// The statuses that nothing may overwrite.
    pub const FINAL: [Self; 5] =
        [Self::Completed, Self::Failed, Self::TimedOut, Self::Cancelled, Self::Skipped];

    /// Whether nothing may follow.
    pub fn is_final(self) -> bool {
        Self::FINAL.contains(&self)
    }

    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Triggered => "triggered",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Attribute of audit records on which DynamoDB's time to live acts: seconds since 1970.
pub const EXPIRES_AT: &str = "expires_at";

/// Attribute of a run's record until all that follows from its end is done: its workflow. An index on it holds these runs
/// and no others.
pub const OPEN_WORKFLOW: &str = "open_workflow";

/// When a record that begins at `start` may be removed; never with no days.
pub fn expires_at(start: &str, days: u32) -> Option<i64> {
    const DAY_SECONDS: i64 = 86_400;
    let start = crate::time::parse(start).filter(|_| days > 0)?;
    Some(start.timestamp() + i64::from(days) * DAY_SECONDS)
}

/// One run: an item of the workflow audit table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowAudit {
    /// Partition key: the run.
    pub workflow_execution_id: String,
    /// Sort key: the workflow.
    pub workflow_id: String,
    /// Where the run is.
    pub execution_status: Status,
    /// When the run was recorded.
    pub execution_start_ts: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_end_ts: Option<String>,
    /// The names of all jobs that the run has, in the item's order.
    #[serde(default)]
    pub rsql_jobs: Vec<String>,
    /// The stages as the run took them from the item.
    #[serde(default)]
    pub stages: Vec<StageAudit>,
    /// The parameters that the run itself was given, over those of the item.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Why nobody was told how it ended, where somebody should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_error: Option<String>,
    /// Who or what started it, for instance `cli:maria` or `schedule`.
    pub started_by: String,
    /// The Step Functions execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_arn: Option<String>,
    /// The time its schedule named, for a run that a schedule started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<String>,
    /// When a scheduled run was given its turn; from then on it is started, whatever becomes of who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_ts: Option<String>,
    /// The run that it waits for, or waited for, before its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The earlier run that this one goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_of: Option<String>,
    /// The later run that goes on from this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_by: Option<String>,
    /// Jobs that are not run again because they completed in the earlier run, or in one before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub completed_earlier: Vec<String>,
    /// Jobs that the start left out, by its choice of stages or jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Whether it was closed without having been started, by a refusal of Step Functions say: its id may be used again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_started: bool,
}

/// A stage as a run took it from the item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageAudit {
    /// Its description.
    pub stage_description: String,
    /// How its scripts run.
    pub execution_type: crate::workflow::ExecutionType,
    /// The names of its jobs.
    pub jobs: Vec<String>,
    /// Whether its flag kept it from running.
    #[serde(default)]
    pub skipped: bool,
}

/// One job of one run: an item of the job audit table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobAudit {
    /// Partition key: the job.
    pub job_name: String,
    /// Sort key: the run.
    pub workflow_execution_id: String,
    /// The workflow.
    pub workflow_id: String,
    /// Where the job is.
    pub execution_status: Status,
    /// When the job was accepted by the agent.
    pub execution_start_ts: String,
    /// When its last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_end_ts: Option<String>,
    /// The host.
    pub instance_id: String,
    /// The Systems Manager command that brought the job to the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssm_command_id: Option<String>,
    /// Exit code of the last attempt; absent where a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Number of the last attempt, from 1; 0 where none has started.
    pub attempt: u32,
    /// The stable error code, for instance `Rsql.ExitCode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What went wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The log stream of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stream: Option<String>,
    /// Every earlier attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptAudit>,
}

/// An attempt that another one followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptAudit {
    /// Its number, from 1.
    pub attempt: u32,
    /// When its process started.
    pub execution_start_ts: String,
    /// When its process ended.
    pub execution_end_ts: String,
    /// Its exit code; absent where a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Its log stream.
    pub log_stream: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stay_unless_days_are_told() {
        let start = "2026-11-21T00:00:00.000Z";
        assert_eq!(expires_at(start, 0), None);
        assert_eq!(expires_at(start, 30), Some(1_795_219_200 + 30 * 86_400));
    }

    #[test]
    fn the_words_in_the_record_are_the_words_on_the_screen() {
        for status in Status::FINAL.into_iter().chain([Status::Triggered, Status::Running]) {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
