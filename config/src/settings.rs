//! `rsqlflow.toml` and the environment.
//!
//! The defaults are an embedded, commented settings file (`rsqlflow config defaults` prints it), so the manual and the
//! defaults cannot differ: the file is parsed for the defaults, an operator's file is laid over it, the environment
//! over both. A key that the default file does not have is an error that names the nearest one it has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::names::ParameterNames;
use crate::validate::unknown_key;

/// The commented settings file with every default.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Prefix of the environment variables that override settings.
pub const ENV_PREFIX: &str = "RSQLFLOW_";

/// Name of the settings file that is looked for in the working directory.
pub const FILE_NAME: &str = "rsqlflow.toml";

/// The host of the defaults: that of one machine, which no managed instance is called.
pub const LOCAL_HOST: &str = "i-rsqlflow";

/// Region of the embedded default where none is set.
const LOCAL_REGION: &str = "us-east-1";

/// What `backend` may be.
const BACKENDS: [&str; 2] = ["local", "aws"];

/// Tables whose keys are the operator's own.
const OPEN_TABLES: [&str; 5] =
    ["agent.environment", "agent.pools", "agent.secrets", "local.agents", "local.secrets"];

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Where the AWS API is.
    pub backend: Backend,
    /// AWS region; with [`Backend::Aws`] it may be empty, and is then the profile's.
    pub region: String,
    /// AWS profile of the operators' command; empty for the environment's.
    pub profile: String,
    /// Whether commands that act first ask whose account the credentials are of.
    pub check_account: bool,
    /// Instance id of the host that runs scripts where a workflow names none.
    pub host: String,
    /// Directory of the scripts, absolute once loaded.
    pub scripts_dir: PathBuf,
    /// Default Secrets Manager id of the warehouse credentials.
    pub secret_id: String,
    /// CloudWatch Logs group of the jobs' output.
    pub log_group: String,
    /// Seconds of silence after which a job's host counts as lost.
    pub heartbeat_seconds: u32,
    /// Days after which audit records may be removed; 0 for never.
    pub audit_days: u32,
    /// Names that parameters may have besides the rule's own.
    pub parameter_names: Vec<String>,
    /// EventBridge Scheduler's group of the workflows' schedules.
    pub schedule_group: String,
    /// ARN of the function that schedules start.
    pub trigger_arn: String,
    /// ARN of the role that schedules start it with.
    pub scheduler_role_arn: String,
    /// ARN of the queue for events of schedules that could not be delivered; empty for none.
    pub dead_letter_arn: String,
    /// ARN by which people call the trigger function; empty where commands start and cancel runs themselves.
    pub operate_arn: String,
    /// Table names.
    pub tables: Tables,
    /// State machine ARNs of a deployed account.
    pub state_machines: StateMachines,
    /// The agent's own settings.
    pub agent: Agent,
    /// The embedded default's own settings.
    pub local: Local,
}

/// Where the AWS API is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Embedded, on this machine.
    Local,
    /// AWS itself.
    Aws,
}

/// Table names.
#[derive(Debug, Clone, Deserialize)]
pub struct Tables {
    /// Config items.
    pub config: String,
    /// Job audit records.
    pub job_audit: String,
    /// Workflow audit records.
    pub workflow_audit: String,
    /// Hosts.
    pub hosts: String,
}

/// State machine ARNs.
#[derive(Debug, Clone, Deserialize)]
pub struct StateMachines {
    /// Runs workflows.
    pub master: String,
    /// Runs sequential stages.
    pub sequential: String,
    /// Runs parallel stages.
    pub parallel: String,
}

/// The agent's own settings.
#[derive(Debug, Clone, Deserialize)]
pub struct Agent {
    /// This host's own id; empty for what the instance's metadata say.
    pub instance_id: String,
    /// Directory of the journal, job logs and socket; empty for the default.
    pub data_dir: PathBuf,
    /// Seconds between TERM and KILL.
    pub grace_seconds: u32,
    /// Bytes of one attempt's output that are shipped; 0 for all.
    pub log_limit_bytes: u64,
    /// Days that local log files are kept.
    pub log_retention_days: u32,
    /// Mebibytes of local log files of settled jobs that are kept; 0 for no limit.
    pub log_retention_mib: u64,
    /// Most jobs that run at once; 0 for no limit.
    pub max_running_jobs: u32,
    /// Most jobs that run at once in each resource pool.
    pub pools: BTreeMap<String, u32>,
    /// Mebibytes that have to be free on the disk of the data directory for a job to be taken.
    pub min_free_mib: u64,
    /// Whether scripts and their directories must not be writable by others.
    pub strict_modes: bool,
    /// The host's tags, words that config items choose hosts by.
    pub tags: String,
    /// Address of health and metrics; empty for none.
    pub listen: String,
    /// Which secrets workflows may use: patterns of secrets by pattern of workflow ids.
    pub secrets: BTreeMap<String, Vec<String>>,
    /// Directories searched for programs by scripts.
    pub path: String,
    /// More environment variables for every script.
    pub environment: BTreeMap<String, String>,
}

impl Agent {
    /// Address of health and metrics, where there is to be one.
    pub fn listen_address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
}

/// The embedded default's own settings.
#[derive(Debug, Clone, Deserialize)]
pub struct Local {
    /// Address of the endpoint.
    pub listen: String,
    /// Socket of an agent that runs as a process of its own; empty where `rsqlflow up` runs the agent itself.
    pub agent_socket: PathBuf,
    /// Sockets of the agents of further hosts, by instance id.
    pub agents: BTreeMap<String, PathBuf>,
    /// The warehouse.
    pub warehouse: Warehouse,
    /// More secrets.
    pub secrets: BTreeMap<String, Secret>,
}

/// The warehouse of the embedded default.
#[derive(Clone, Deserialize)]
pub struct Warehouse {
    /// Its URL; empty for a private cluster.
    pub url: String,
}

/// A secret as Redshift's are kept: the connection and its password. A stored secret may have more members
/// (`engine`, `masterarn`); a settings file may not.
#[derive(Clone, serde::Serialize, Deserialize)]
pub struct Secret {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
    /// Database.
    pub dbname: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("host", &self.host)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Warehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warehouse").field("private", &self.url.is_empty()).finish()
    }
}

/// Why the settings do not hold.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not there or not readable.
    #[error("cannot read the settings file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{origin} is not TOML: {message}")]
    Syntax {
        /// The file or variable.
        origin: String,
        /// Where and what; never a value, which may be a password.
        message: String,
    },
    /// Keys that do not exist, or values of the wrong kind.
    #[error("{}", .0.join("\n"))]
    Problems(Vec<String>),
    /// What a deployment gives is not there.
    #[error("backend = \"aws\" needs {} of the deployed stack", .0.join(", "))]
    NotDeployed(Vec<&'static str>),
}

impl Settings {
    /// Loads the settings: the defaults, `file` (or `rsqlflow.toml` in `base` where there is one), then `environment`.
    ///
    /// # Errors
    /// [`SettingsError`], with every wrong key at once.
    pub fn load(
        file: Option<&Path>,
        base: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut table = defaults()?;
        let mut problems = Vec::new();
        let implied = base.join(FILE_NAME);
        let file = file.map(Path::to_path_buf).or_else(|| implied.exists().then_some(implied));
        let mut scripts_base = base.to_path_buf();
        // Where the backend is said, for a word that is none.
        let mut backend_origin = None;
        if let Some(path) = file {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| SettingsError::Read { path: path.clone(), source })?;
            let origin = path.display().to_string();
            let over = parse(&text, &origin)?;
            if over.contains_key("scripts_dir")
                && let Some(parent) = path.parent()
            {
                scripts_base = base.join(parent);
            }
            backend_origin = over.contains_key("backend").then(|| origin.clone());
            lay_over(&mut table, over, "", &origin, &mut problems);
        }
        for (name, value) in environment {
            if name == "RSQLFLOW_BACKEND" {
                backend_origin = Some(name.clone());
            }
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                set_from_environment(&mut table, &name, key, &value, &mut problems);
            }
        }
        unknown_secret_keys(&table, &mut problems);
        wrong_counts(&table, &mut problems);
        wrong_lists(&table, &mut problems);
        if let Some(word) =
            table.get("backend").and_then(Value::as_str).filter(|word| !BACKENDS.contains(word))
        {
            let origin = backend_origin.map(|origin| origin + ": ").unwrap_or_default();
            problems.push(format!("{origin}backend: is `{word}`, must be {}", BACKENDS.join(" or ")));
        }
        if !problems.is_empty() {
            return Err(SettingsError::Problems(problems));
        }
        let mut settings: Self = Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| SettingsError::Problems(vec![error.message().to_string()]))?;
        settings.scripts_dir = scripts_base.join(&settings.scripts_dir);
        if settings.backend == Backend::Local && settings.region.is_empty() {
            settings.region = LOCAL_REGION.into();
        }
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let mut problems = Vec::new();
        if self.heartbeat_seconds < 3 {
            problems.push(format!("heartbeat_seconds: is {}, must be at least 3", self.heartbeat_seconds));
        }
        if let Some(problem) = crate::names::log_group_problem(&self.log_group) {
            problems.push(format!("log_group: `{}` {problem}", self.log_group));
        }
        for problem in self.parameter_names().problems() {
            problems.push(format!("parameter_names: {problem}"));
        }
        for name in self.agent.environment.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                problems.push(format!("agent.environment.{name}: is not a name for an environment variable"));
            }
        }
        for name in self.agent.pools.keys() {
            if let Some(problem) = crate::names::pool_name_problem(name) {
                problems.push(format!("agent.pools.{name}: {problem}"));
            }
        }
        for tag in self.agent.tags.split_whitespace() {
            if let Some(problem) = crate::names::tag_problem(tag) {
                problems.push(format!("agent.tags: {problem}"));
            }
        }
        for host in self.local.agents.keys() {
            if let Some(problem) = crate::names::instance_id_problem(host) {
                problems.push(format!("local.agents: {problem}"));
            }
        }
        // In an account an empty one is none: every workflow names its own.
        if !(self.host.is_empty() && self.backend == Backend::Aws)
            && let Some(problem) = crate::names::instance_id_problem(&self.host)
        {
            problems.push(format!("host: {problem}"));
        }
        if !self.agent.instance_id.is_empty()
            && let Some(problem) = crate::names::instance_id_problem(&self.agent.instance_id)
        {
            problems.push(format!("agent.instance_id: {problem}"));
        }
        let tables = &self.tables;
        for (key, name) in [
            ("config", &tables.config),
            ("job_audit", &tables.job_audit),
            ("workflow_audit", &tables.workflow_audit),
            ("hosts", &tables.hosts),
        ] {
            if name.is_empty() {
                problems.push(format!(
                    "tables.{key}: is empty; write the name of the table, for instance rsqlflow-{}",
                    key.replace('_', "-")
                ));
            }
        }
        if self.secret_id.is_empty() && self.backend == Backend::Local {
            problems.push(
                "secret_id: is empty; write the id of a secret, for instance rsqlflow/warehouse".into(),
            );
        }
        let listen = &self.local.listen;
        if !listen.parse().is_ok_and(|at: SocketAddr| at.ip().is_loopback()) {
            problems.push(format!(
                "local.listen: `{listen}` is not a loopback address with a port; write for instance 127.0.0.1:4566, or \
                 127.0.0.1:0 for any free port"
            ));
        }
        let listen = &self.agent.listen;
        if !listen.is_empty() && !self.agent.listen_address().is_some_and(|at| at.ip().is_loopback()) {
            problems.push(format!(
                "agent.listen: `{listen}` is not a loopback address with a port; write for instance 127.0.0.1:9464"
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(SettingsError::Problems(problems)) }
    }

    /// What parameters may be called.
    pub fn parameter_names(&self) -> ParameterNames {
        ParameterNames::listing(self.parameter_names.iter().cloned())
            .but_not(self.agent.environment.keys().cloned())
    }

    /// Whether the deployed state machines are named. For those who start or stop runs: an agent needs none, and has no
    /// right to any.
    ///
    /// # Errors
    /// [`SettingsError::NotDeployed`], with every setting that is missing.
    pub fn check_state_machines(&self) -> Result<(), SettingsError> {
        if self.backend != Backend::Aws {
            return Ok(());
        }
        let arns = [
            ("state_machines.master", &self.state_machines.master),
            ("state_machines.sequential", &self.state_machines.sequential),
            ("state_machines.parallel", &self.state_machines.parallel),
        ];
        let missing: Vec<_> =
            arns.iter().filter(|(_, arn)| !arn.starts_with("arn:")).map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(()) } else { Err(SettingsError::NotDeployed(missing)) }
    }

    /// Whether there is a setting of this name, a table's name and a dot before it.
    pub fn has_key(path: &str) -> bool {
        let Ok(table) = defaults() else { return false };
        let mut parts = path.split('.');
        let first = parts.next().and_then(|name| table.get(name));
        parts.fold(first, |value, name| value.and_then(|value| value.get(name))).is_some()
    }
}

fn defaults() -> Result<Table, SettingsError> {
    parse(DEFAULTS, "the embedded defaults")
}

fn parse(text: &str, origin: &str) -> Result<Table, SettingsError> {
    text.parse::<Table>().map_err(|error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        SettingsError::Syntax { origin: origin.into(), message: format!("line {line}: {}", error.message()) }
    })
}

fn lay_over(base: &mut Table, over: Table, path: &str, origin: &str, problems: &mut Vec<String>) {
    for (name, value) in over {
        let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let open = OPEN_TABLES.contains(&path);
        match (base.get_mut(&name), value) {
            (None, value) if open => {
                base.insert(name, value);
            }
            (None, _) => {
                let known: Vec<&str> = base.keys().map(String::as_str).collect();
                problems.push(format!("{origin}: {here}: {}", unknown_key(&name, &known)));
            }
            (Some(Value::Table(below)), Value::Table(value)) => {
                lay_over(below, value, &here, origin, problems)
            }
            (Some(known), value) if open || known.same_type(&value) => *known = value,
            (Some(known), value) => problems.push(format!(
                "{origin}: {here}: must be {}, is {}",
                known.type_str(),
                value.type_str()
            )),
        }
    }
}

/// The keys of secrets are ours even though their names are the operator's.
fn unknown_secret_keys(table: &Table, problems: &mut Vec<String>) {
    const KNOWN: [&str; 5] = ["host", "port", "username", "password", "dbname"];
    let secrets = table.get("local").and_then(|local| local.get("secrets")).and_then(Value::as_table);
    for (name, secret) in secrets.into_iter().flatten() {
        for key in
            secret.as_table().into_iter().flat_map(Table::keys).filter(|key| !KNOWN.contains(&key.as_str()))
        {
            problems.push(format!("local.secrets.{name}.{key}: {}", unknown_key(key, &KNOWN)));
        }
    }
}

/// Counts out of their range, told here because serde's word for it does not say where.
fn wrong_counts(table: &Table, problems: &mut Vec<String>) {
    /// Largest number of mebibytes whose bytes can still be counted.
    const MEBIBYTES_MAX: i64 = i64::MAX >> 20;
    let Some(agent) = table.get("agent").and_then(Value::as_table) else { return };
    let mut check = |path: String, value: &Value, min: i64, max: i64| {
        if !value.as_integer().is_some_and(|number| (min..=max).contains(&number)) {
            problems.push(format!("{path}: is {value}, must be a whole number from {min} to {max}"));
        }
    };
    let counts = [
        ("grace_seconds", 0, 24 * 60 * 60),
        ("log_limit_bytes", 0, i64::MAX),
        // None at all would forget a job before its command is delivered again; a century is for ever.
        ("log_retention_days", 1, 36_500),
        ("log_retention_mib", 0, MEBIBYTES_MAX),
        ("max_running_jobs", 0, 100_000),
        ("min_free_mib", 0, MEBIBYTES_MAX),
    ];
    for (name, min, max) in counts {
        if let Some(value) = agent.get(name) {
            check(format!("agent.{name}"), value, min, max);
        }
    }
    for (name, value) in agent.get("pools").and_then(Value::as_table).into_iter().flatten() {
        check(format!("agent.pools.{name}"), value, 1, 100_000);
    }
}

/// Lists of secrets that are none.
fn wrong_lists(table: &Table, problems: &mut Vec<String>) {
    for name in table.get("parameter_names").and_then(Value::as_array).into_iter().flatten() {
        if !name.is_str() {
            problems.push(format!("parameter_names: must be a list of texts, has {name}"));
        }
    }
    let lists = table.get("agent").and_then(|agent| agent.get("secrets")).and_then(Value::as_table);
    for (workflow, list) in lists.into_iter().flatten() {
        let words = list.as_array().is_some_and(|list| list.iter().all(Value::is_str));
        if !words {
            problems.push(format!(
                "agent.secrets.{workflow}: is {list}, must be a list of secrets, for instance [\"rsqlflow/team-a/*\"]"
            ));
        }
    }
}

/// Finds the setting whose path in capitals with `_` between is `key`. Variables that name no setting are left alone:
/// jobs carry `RSQLFLOW_...` variables that are not settings.
fn set_from_environment(
    table: &mut Table,
    variable: &str,
    key: &str,
    text: &str,
    problems: &mut Vec<String>,
) {
    for (name, value) in table.iter_mut() {
        let capital = name.to_ascii_uppercase();
        match value {
            Value::Table(below) => {
                if let Some(rest) = key.strip_prefix(&capital).and_then(|rest| rest.strip_prefix('_')) {
                    set_from_environment(below, variable, rest, text, problems);
                }
            }
            _ if capital != key => {}
            Value::String(setting) => *setting = text.to_string(),
            Value::Integer(setting) => match text.trim().parse() {
                Ok(number) => *setting = number,
                Err(_) => problems.push(format!("{variable}: must be a whole number")),
            },
            Value::Boolean(setting) => match text.trim().parse() {
                Ok(flag) => *setting = flag,
                Err(_) => problems.push(format!("{variable}: must be true or false")),
            },
            // Words, with blanks or commas between.
            Value::Array(setting) => {
                let words =
                    text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
                *setting = words.map(|word| Value::String(word.into())).collect();
            }
            _ => problems.push(format!("{variable}: cannot be set from the environment")),
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
