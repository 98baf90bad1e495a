//! What every job's task needs, made once per agent.

use std::path::PathBuf;
use std::sync::Arc;

use rsqlflow_config::job::JobRequest;
use tokio::sync::watch;

use crate::config::{AgentConfig, Clients};
use crate::dispatcher::Handle;
use crate::metrics::Metrics;
use crate::secrets::Secrets;

pub(crate) struct Context {
    pub config: AgentConfig,
    pub clients: Clients,
    pub secrets: Secrets,
    pub dispatcher: Handle,
    pub metrics: Arc<Metrics>,
    /// `$1` of every script.
    pub lib_dir: PathBuf,
    pub jobs_dir: PathBuf,
    pub socket: PathBuf,
    /// True once the agent is to stop.
    pub stopping: watch::Receiver<bool>,
}

impl Context {
    /// The file that an attempt prints to.
    pub(crate) fn log_path(&self, job_id: &str, attempt: u32) -> PathBuf {
        self.jobs_dir.join(format!("{job_id}.{attempt}.log"))
    }

    /// A script's whole environment: nothing of the agent's own reaches it unless it is named here.
    pub(crate) fn environment(
        &self,
        job_id: &str,
        request: &JobRequest,
        attempt: u32,
    ) -> Vec<(String, String)> {
        let mut all = std::collections::BTreeMap::new();
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
        set(crate::process::JOB_VARIABLE, job_id);
        all.into_iter().collect()
    }
}
