//! What the trigger hands the state machine: the input of an execution of the master state machine.
//!
//! The state machines read these members by name, so they are a contract with `statemachines/*.asl.json`. Values stay
//! readable here; they are encoded only on their way to the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::workflow::{ExecutionType, NotifyOn, OnFailure, Retry};

/// Longest a run may take where the item sets no limit: the longest an execution may take, one year.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>
pub const TIMEOUT_SECONDS_MAX: u32 = 31_536_000;

/// Input of the master state machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInput {
    /// What every job of the run shares.
    pub run: RunContext,
    /// The stages that run, in order.
    pub stages: Vec<StageInput>,
    /// Whom to tell; absent for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<NotifyInput>,
    /// Limit on the whole run.
    pub timeout_seconds: u32,
    /// ARNs of the state machines that run stages.
    pub machines: MachineArns,
    /// Name of the workflow audit table.
    pub workflow_audit_table: String,
}

/// What every job of a run shares; handed on to the state machine of each stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunContext {
    /// The workflow.
    pub workflow_id: String,
    /// The run.
    pub workflow_execution_id: String,
    /// Instance id of the host, where there is no choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostChoice>,
    /// Environment variables for every job that its own do not override.
    pub parameters: BTreeMap<String, String>,
    /// Secrets Manager id of the warehouse credentials.
    pub secret_id: String,
    /// A task that is silent for so long has lost its host.
    pub heartbeat_seconds: u32,
    /// Days after which a job's record may be removed; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_days: Option<u32>,
    /// Name of the job audit table.
    pub job_audit_table: String,
}

/// Hosts to choose from: those with an id, or those with a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChoice {
    /// Name of the table that hosts enter themselves into.
    pub table: String,
    /// Instance ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// A tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageInput {
    /// Its place in the item, from 1; with the run id, the name of the stage's execution.
    pub number: usize,
    /// Its description.
    pub stage_description: String,
    /// How its jobs run.
    pub execution_type: ExecutionType,
    /// How many run at once, where they run together.
    pub max_concurrency: u32,
    /// What follows a failure.
    pub on_failure: OnFailure,
    /// Its jobs.
    pub jobs: Vec<JobInput>,
}

/// One job. Members that say nothing are left out: hundreds of jobs have to fit one payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInput {
    /// The job.
    pub job_name: String,
    /// The script's path.
    pub script: String,
    /// The script's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Environment variables that override the run's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Limit on one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Limit on silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_seconds: Option<u32>,
    /// How failed attempts are repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Exit codes that mean success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success_exit_codes: Vec<u8>,
    /// Resource pool of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Which of the host's waiting jobs starts first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The task's limit, a last resort behind the agent's own: waiting for a place on the host, all attempts, the
    /// pauses between them and slack.
    pub task_timeout_seconds: u32,
}

/// Whom to tell how a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotifyInput {
    /// ARN of the SNS topic.
    pub topic_arn: String,
    /// Which endings are told.
    pub on: Vec<NotifyOn>,
}

/// ARNs of the state machines that run stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineArns {
    /// Runs sequential stages.
    pub sequential: String,
    /// Runs parallel stages.
    pub parallel: String,
}

/// Longest task time a state may be given.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html>
const TASK_TIMEOUT_MAX: f64 = 99_999_999.0;

/// Slack between the agent's limit on a job and the task's: the agent ends the script, asks nicely first, and reports.
const TASK_TIMEOUT_SLACK: f64 = 600.0;

/// How long a job may wait on its host for a place to run in, seven days. The agent beats for a job that waits, and a
/// pool of one may have long ones before it: the task must not give up on what will still run.
const TASK_TIMEOUT_WAITING: f64 = 7.0 * 24.0 * 3600.0;

/// The task's limit for a job: with a limit on attempts, all of them with the pauses between; else none to speak of.
pub fn task_timeout_seconds(timeout_seconds: Option<u32>, retry: Option<&Retry>) -> u32 {
    let Some(limit) = timeout_seconds else {
        // Whole and below 2^32.
        return TASK_TIMEOUT_MAX as u32;
    };
    let attempts = retry.map_or(1, |retry| retry.max_attempts);
    let mut total = f64::from(limit) * f64::from(attempts) + TASK_TIMEOUT_WAITING + TASK_TIMEOUT_SLACK;
    if let Some(retry) = retry {
        let mut pause = f64::from(retry.interval_seconds);
        for _ in 1..attempts {
            total += pause;
            pause *= retry.backoff_rate;
        }
    }
    total.min(TASK_TIMEOUT_MAX) as u32
}

/// A run id for a run that was not given one: the workflow, the time and six characters of chance, so that it says
/// something in a list and two starts within a second still differ.
pub fn generate_run_id(workflow_id: &str) -> String {
    let chance = uuid::Uuid::new_v4().simple().to_string();
    let tail: String = chance.chars().take(6).collect();
    format!("{workflow_id}-{}-{tail}", chrono::Utc::now().format("%Y%m%d-%H%M%S"))
}

/// The run id of a scheduled start: the same for the same time, so that an event that is delivered twice is one run.
pub fn scheduled_run_id(workflow_id: &str, scheduled: chrono::DateTime<chrono::Utc>) -> String {
    format!("{workflow_id}-{}", scheduled.format("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduled_run_ids_are_names_and_say_their_time() {
        let time = crate::time::parse("2026-11-21T03:00:00+01:00").unwrap();
        assert_eq!(scheduled_run_id("nightly", time), "nightly-20261121T020000Z");
        let long = scheduled_run_id(&"w".repeat(crate::names::WORKFLOW_ID_MAX), time);
        assert_eq!(crate::names::execution_name_problem(&long, crate::names::RUN_ID_MAX), None, "{long}");
    }

    #[test]
    fn generated_run_ids_are_names() {
        let long = "w".repeat(crate::names::WORKFLOW_ID_MAX);
        let id = generate_run_id(&long);
        assert_eq!(crate::names::execution_name_problem(&id, crate::names::RUN_ID_MAX), None, "{id}");
        assert_ne!(generate_run_id("w"), generate_run_id("w"));
    }

    #[test]
    fn the_task_outlives_waiting_and_every_attempt() {
        const WEEK: u32 = 604_800;
        let retry = Retry { max_attempts: 3, ..Retry::default() };
        assert_eq!(task_timeout_seconds(Some(100), Some(&retry)), WEEK + 300 + 10 + 20 + 600);
        assert_eq!(task_timeout_seconds(Some(100), None), WEEK + 700);
        assert_eq!(task_timeout_seconds(None, None), 99_999_999);
    }
}
