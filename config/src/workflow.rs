//! The config item: a workflow, its stages, their scripts.
//!
//! The attribute names are those of the framework this product replaces, so its items are valid as they are; every
//! extension is optional. The doc comments of the fields are the manual: the JSON Schema in
//! `config/workflow.schema.json` is generated from them and compared in a test.
//!
//! These types hold what [`crate::validate`] has accepted. They are not where mistakes are found: serde stops at the
//! first, an operator wants all of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::retry::Retry;

/// One item of the config table: an ordered list of stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// Name of the workflow and key of the item: letters, digits, `-`, `_` and `.`, at most 53 characters.
    pub workflow_id: String,
    /// What the workflow is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_description: Option<String>,
    /// The stages, run one after another.
    pub workflow_stages: Vec<Stage>,
    /// `n` or `N` keeps the workflow from being run; `y`, `Y` or no flag does not.
    #[schemars(regex(pattern = "^[yYnN]$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_flag: Option<String>,
    /// When to run: `cron(...)`, `rate(...)` or `at(...)` as EventBridge Scheduler writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA time zone of the schedule, for instance `Europe/Berlin`; UTC unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_timezone: Option<String>,
    /// From when on the schedule fires, for instance `2026-12-01T00:00:00Z`; a `rate(...)` counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_start: Option<String>,
    /// Until when the schedule fires, for instance `2027-03-31T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_end: Option<String>,
    /// The run starts at any time within so many minutes after the scheduled one, 1 to 1440, so that many schedules of
    /// one hour do not start at once; at the scheduled time unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1440))]
    pub schedule_flexible_minutes: Option<u32>,
    /// What a scheduled start does while an earlier run goes on; `skip` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Environment variables for every script; a run's `--param` overrides them. Names are in lower case, or listed by the
    /// setting `parameter_names`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Limit on the whole run in seconds; the run ends `timed_out` when it is passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// The host whose agent runs the scripts; the `host` setting unless given. An instance id, or a list of them, or
    /// `tag`: with several, each stage takes those that are online, least busy first, and a parallel stage spreads its
    /// scripts over them. A script whose host is lost runs again on another only if its `retry.errors` name
    /// `Rsql.HostLost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Hosts>,
    /// Secrets Manager id of the warehouse credentials; the `secret_id` setting unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<String>,
    /// Resource pool of the host's agent that the scripts run in, for instance one per Redshift queue: letters, digits,
    /// `-`, `_` and `.`, at most 64 characters. The agent's `[agent.pools]` says how many jobs of a pool run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Which jobs start first where the host has more than it may run: higher before lower, -100 to 100; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -100, max = 100))]
    pub priority: Option<i32>,
    /// Whom to tell how a run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

/// Where a workflow's scripts may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Hosts {
    /// On this one: an instance id.
    One(String),
    /// On any of these: instance ids.
    Any(Vec<String>),
    /// On any with a tag.
    Tagged(Tag),
}

/// The hosts that have a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// A word of the `agent.tags` setting of each of them, for instance `etl` or `role=etl`.
    pub tag: String,
}

/// Scripts that run together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What the stage does; shown by `rsqlflow status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_description: Option<String>,
    /// `y` or `Y` runs the stage, `n` or `N` skips it.
    #[schemars(regex(pattern = "^[yYnN]$"))]
    #[serde(default = "yes")]
    pub execution_flag: String,
    /// Whether the scripts run one after another or together.
    pub execution_type: ExecutionType,
    /// The scripts, each a path below the scripts directory or an object.
    pub scripts: Vec<Script>,
    /// How many scripts of a parallel stage run at once, 1 to 40; 40 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// What follows a failed script: `stop` ends the run after the stage, `continue` goes on with the next stage (the
    /// run still ends failed); `stop` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

impl Stage {
    /// Whether the stage's flag lets it run.
    pub fn enabled(&self) -> bool {
        flag_is_set(&self.execution_flag)
    }

    /// The description, or the stage's place where it has none.
    pub fn title(&self, index: usize) -> String {
        self.stage_description.clone().unwrap_or_else(|| format!("stage {}", index + 1))
    }
}

fn yes() -> String {
    "y".into()
}

/// Whether an `execution_flag` says yes.
pub fn flag_is_set(flag: &str) -> bool {
    flag.eq_ignore_ascii_case("y")
}

/// How the scripts of a stage run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionType {
    /// One after another; the first failure ends the stage.
    Sequential,
    /// Together; every script finishes, then the stage fails naming each one that failed.
    Parallel,
}

/// What follows a failed stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The run ends.
    #[default]
    Stop,
    /// The next stage runs; the run still ends failed.
    Continue,
}

/// What a scheduled start does while an earlier run of the workflow goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It does not start; the audit says so.
    #[default]
    Skip,
    /// Both run.
    Allow,
    /// It starts when the earlier one has ended.
    Queue,
}

/// Whom to tell how a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// ARN of the SNS topic.
    pub topic_arn: String,
    /// Which endings are told; `failed` and `timed_out` unless given.
    #[serde(default = "NotifyOn::failures")]
    pub on: Vec<NotifyOn>,
}

/// An ending that may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyOn {
    /// Every job ended well.
    Completed,
    /// A job failed.
    Failed,
    /// The run passed its `timeout_seconds`.
    TimedOut,
}

impl NotifyOn {
    fn failures() -> Vec<Self> {
        vec![Self::Failed, Self::TimedOut]
    }
}

/// A script of a stage: its path, or an object that says more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Script {
    /// The path of the script below the scripts directory.
    Path(String),
    /// A script with its own settings.
    Detailed(Box<ScriptSettings>),
}

/// A script with its own settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptSettings {
    /// The path of the script below the scripts directory.
    pub script: String,
    /// Name of the job, unique in the workflow; the script's path unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// Arguments, handed to the script as `$3`, `$4`, ... unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Environment variables for this script; they override the workflow's, a run's `--param` overrides both.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Limit on one attempt in seconds; the whole process tree is ended when it is passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Limit on silence in seconds: an attempt that prints nothing for so long is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_seconds: Option<u32>,
    /// Whether and how a failed attempt is followed by another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Exit codes that mean success; 0 unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success_exit_codes: Vec<u8>,
    /// Resource pool that the script runs in; the workflow's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Which jobs start first where the host has more than it may run; the workflow's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -100, max = 100))]
    pub priority: Option<i32>,
}

impl Script {
    /// The script's path below the scripts directory.
    pub fn path(&self) -> &str {
        match self {
            Self::Path(path) => path,
            Self::Detailed(settings) => &settings.script,
        }
    }

    /// The job's name: the one given, else the script's path.
    pub fn job_name(&self) -> &str {
        match self {
            Self::Path(path) => path,
            Self::Detailed(settings) => settings.job_name.as_deref().unwrap_or(&settings.script),
        }
    }

    /// The script with every setting spelled out.
    pub fn settings(&self) -> ScriptSettings {
        match self {
            Self::Path(path) => ScriptSettings { script: path.clone(), ..ScriptSettings::default() },
            Self::Detailed(settings) => (**settings).clone(),
        }
    }
}

/// The JSON Schema of a workflow, as `config/workflow.schema.json` keeps it.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Workflow).to_value()
}
