//! What every job's task needs, made once per agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rsqlflow_config::job::JobRequest;
use rsqlflow_supervisor::tree::JOB_VARIABLE;
use tokio::sync::watch;

use crate::attempt::Began;
use crate::config::{AgentConfig, Clients};
use crate::dispatcher::Handle;
use crate::interrupt::Interrupt;
use crate::metrics::Metrics;
use crate::redact::Redactor;
use crate::secrets::Secrets;
use crate::started::Started;
use crate::undelivered::Undelivered;

/// How long an outcome waits for the password that must not be in its message.
const WARM_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Context {
    pub config: AgentConfig,
    /// This run of an agent, told from every other: when it started, and its process.
    pub run_id: String,
    pub clients: Clients,
    pub secrets: Secrets,
    pub dispatcher: Handle,
    pub metrics: Arc<Metrics>,
    /// What AWS does not take.
    pub undelivered: Arc<Undelivered>,
    /// The key of the host's own entry in the table of hosts, once it is known.
    pub host_key: OnceLock<String>,
    /// `$1` of every script.
    pub lib_dir: PathBuf,
    pub jobs_dir: PathBuf,
    pub socket: PathBuf,
    /// Which attempts were started in this boot.
    pub started: Started,
    /// Below it every attempt gets a control group of its own, where the host lets us.
    pub cgroup: Option<PathBuf>,
    /// Told when what others see of the host has changed.
    pub host_changed: tokio::sync::Notify,
    /// Set once the agent is to stop.
    pub stop: watch::Receiver<Option<Interrupt>>,
}

impl Context {
    /// Where a job's files are.
    pub(crate) fn job_dir(&self, job_id: &str) -> PathBuf {
        self.jobs_dir.join(job_id)
    }

    /// The file that an attempt prints to.
    pub(crate) fn log_path(&self, job_id: &str, attempt: u32) -> PathBuf {
        self.job_dir(job_id).join(format!("{attempt}.log"))
    }

    /// The file through which daemon and supervisor speak.
    pub(crate) fn run_path(&self, job_id: &str, attempt: u32) -> PathBuf {
        self.job_dir(job_id).join(format!("{attempt}.run"))
    }

    /// The file that says how far that is shipped.
    pub(crate) fn mark_path(&self, job_id: &str, attempt: u32) -> PathBuf {
        self.job_dir(job_id).join(format!("{attempt}.shipped"))
    }

    /// The control group of an attempt, where the host lets us have one.
    pub(crate) fn cgroup_of(&self, job_id: &str, attempt: u32) -> Option<PathBuf> {
        self.cgroup.as_ref().map(|all| all.join(format!("job-{job_id}-{attempt}")))
    }

    /// What must not be shown of a job.
    pub(crate) fn redactor(&self, request: &JobRequest) -> Redactor {
        self.secrets.redactor(&request.task_token, &request.secret_id)
    }

    /// What must not be shown of an attempt's output; nothing where that cannot be known soon. The process that began the
    /// attempt handed the password out itself, a later one has to ask for it.
    pub(crate) async fn redactor_of(
        &self,
        job_id: &str,
        request: &JobRequest,
        began: Began,
    ) -> Option<Redactor> {
        let id = &request.secret_id;
        if began == Began::Earlier {
            let versions = crate::handed_out::versions(&self.job_dir(job_id)).ok()?;
            if versions.is_empty() {
                // Nothing of ours can be in it; a script that got the password elsewhere is not our concern.
                let _ = tokio::time::timeout(WARM_PATIENCE, self.secrets.warm(id)).await;
            } else {
                tokio::time::timeout(WARM_PATIENCE, self.secrets.recall(id, &versions)).await.ok()?.ok()?;
            }
        }
        Some(self.redactor(request))
    }

    /// A script's whole environment: nothing of the agent's own reaches it unless it is named here.
    pub(crate) fn environment(
        &self,
        job_id: &str,
        request: &JobRequest,
        attempt: u32,
    ) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut set = |name: &str, value: &str| {
            all.insert(name.to_owned(), value.to_owned());
        };
        set("HOME", &std::env::home_dir().unwrap_or_else(|| "/".into()).to_string_lossy());
        set("LANG", "C.UTF-8");
        if let Ok(zone) = std::env::var("TZ") {
            set("TZ", &zone);
        }
        for (name, value) in self.config.environment.iter().chain(&request.parameters) {
            set(name, value);
        }
        set("PATH", &self.config.path);
        set("WORKFLOW_ID", &request.workflow_id);
        set("WORKFLOW_EXECUTION_ID", &request.workflow_execution_id);
        set("JOB_NAME", &request.job_name);
        set("ATTEMPT", &attempt.to_string());
        set("RSQLFLOW_AGENT_SOCKET", &self.socket.to_string_lossy());
        set("RSQLFLOW_SECRET_ID", &request.secret_id);
        set(JOB_VARIABLE, job_id);
        all
    }
}
