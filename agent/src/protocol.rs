//! What is said over the agent's socket: one line of JSON each way, then the connection ends.

use serde::{Deserialize, Serialize};

/// Longest request line: a job request as large as they may be, and its frame.
pub const LINE_MAX: usize = rsqlflow_config::job::REQUEST_MAX + 4096;

/// What a client asks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Take a job.
    Submit {
        /// The job request as it travels.
        request: String,
        /// The Systems Manager command that brought it.
        ssm_command_id: Option<String>,
    },
    /// Give a script the credentials of its job's secret.
    Credentials {
        /// The secret's id.
        secret_id: String,
    },
    /// List the jobs that are not settled.
    Jobs {},
    /// End a job's processes, and the job with them.
    Kill {
        /// Its id.
        job: String,
    },
    /// Take no more jobs, or take them again.
    Drain {
        /// Which of the two.
        drained: bool,
    },
    /// Tell how the agent is.
    Status {},
}

/// What the agent answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The job is on disk and will run, or did.
    Accepted(Accepted),
    /// Here they are.
    Credentials(Credentials),
    /// The jobs that are not settled.
    Jobs(Vec<JobInfo>),
    /// The job is being ended; as it was when that was asked for.
    Killing(JobInfo),
    /// How the agent is; also the answer to a drain.
    Status(AgentStatus),
    /// No, and why.
    Refused {
        /// For people.
        message: String,
    },
}

/// A job that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Names the job on this host.
    pub job_id: String,
    /// The same command came before; this time changed nothing.
    pub duplicate: bool,
}

/// A job that is not settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Names the job on this host.
    pub job_id: String,
    /// The run.
    pub workflow_execution_id: String,
    /// The job.
    pub job_name: String,
    /// When the agent took it.
    pub accepted_at: String,
    /// Number of the attempt that runs or ran last; 0 before the first.
    pub attempt: u32,
    /// Process id of the attempt that runs.
    pub pid: Option<u32>,
    /// `queued` (for its first attempt), `running`, `waiting` (for its next attempt) or `reporting`.
    pub state: String,
    /// Since when it is in that state.
    #[serde(default)]
    pub since: String,
    /// The resource pool it takes a place in.
    #[serde(default)]
    pub pool: Option<String>,
    /// What a job that does not run waits for, for people.
    #[serde(default)]
    pub waits_for: Option<String>,
}

impl JobInfo {
    /// Notes that the job came into a state.
    pub(crate) fn enter(&mut self, state: &str, since: &str) {
        if self.state != state {
            self.state = state.into();
            self.since = since.into();
            self.waits_for = None;
        }
    }
}

/// How an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The version that runs.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub since: String,
    /// Whether it takes no jobs, as an operator asked.
    pub drained: bool,
    /// Jobs whose script runs.
    pub running: usize,
    /// Jobs that wait for their turn or their next attempt.
    pub queued: usize,
    /// Jobs that have ended and are being reported.
    pub reporting: usize,
    /// Most jobs that run at once; 0 for no limit.
    pub max_running_jobs: usize,
    /// Bytes that are free where its data is.
    pub free_bytes: u64,
    /// Bytes that must be free for a job to be taken.
    pub min_free_bytes: u64,
    /// Below it every script gets a control group of its own; none where the host lets it have none.
    pub cgroup: Option<String>,
}

/// How to reach the warehouse.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database.
    pub database: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("host", &self.host)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Assignments for a shell's `eval`, every value in single quotes.
    pub fn to_shell(&self) -> String {
        let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        format!(
            "HOST={} PORT={} USER={} PASSWORD={} DB={}\nRSPASSWORD=\"$PASSWORD\" RSPORT=\"$PORT\"\n\
             export RSPASSWORD RSPORT\n",
            quote(&self.host),
            quote(&self.port),
            quote(&self.user),
            quote(&self.password),
            quote(&self.database),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_becomes_shell() {
        let nasty = Credentials {
            host: "h".into(),
            port: "5439".into(),
            user: "o'neil; echo $(id)".into(),
            password: "a'b\"c$d`e\\f g\n".into(),
            database: "d".into(),
        };
        let script = format!("{}printf '%s|%s|' \"$USER\" \"$RSPASSWORD\"", nasty.to_shell());
        let shown = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), format!("{}|{}|", nasty.user, nasty.password));
    }
}
