//! An agent with a scripts directory, on a fake AWS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rsqlflow_agent::{Accepted, Agent, AgentConfig, Scripts, SecretRules};
use rsqlflow_config::job::{JobFailure, JobRequest, JobSuccess, VERSION};
use rsqlflow_config::names::ParameterNames;
use rsqlflow_supervisor::run_file::RunFile;
use serde_json::Value;

use crate::fake_aws::{DEADLINE, FakeAws};

pub(crate) const TOKEN: &str = "AAAAKgAAAAIAAAAA-token-of-the-task";

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) aws: FakeAws,
    pub(crate) config: AgentConfig,
    agent: Option<Agent>,
}

/// How a job was reported.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    Success(JobSuccess),
    Failure(String, JobFailure),
}

impl World {
    pub(crate) async fn new() -> Self {
        let mut world = Self::stopped();
        world.start().await;
        world
    }

    /// Without a running agent yet.
    pub(crate) fn stopped() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scripts_dir = dir.path().join("scripts");
        std::fs::create_dir(&scripts_dir).unwrap();
        let own = Path::new(env!("CARGO_BIN_EXE_rsqlflow-agent")).parent().unwrap().to_owned();
        let config = AgentConfig {
            instance_id: "i-test".into(),
            data_dir: dir.path().join("data"),
            socket: None,
            scripts_dir,
            supervisor: env!("CARGO_BIN_EXE_rsqlflow-supervisor").into(),
            job_audit_table: "audit".into(),
            hosts_table: String::new(),
            tags: String::new(),
            audit_days: 0,
            log_group: "/ops/logs".into(),
            grace: Duration::from_millis(300),
            log_limit_bytes: 0,
            log_retention: Duration::from_secs(1000),
            log_retention_bytes: 0,
            max_running_jobs: 0,
            pools: BTreeMap::new(),
            min_free_bytes: 0,
            path: format!("{}:/usr/local/bin:/usr/bin:/bin", own.display()),
            environment: BTreeMap::new(),
            parameter_names: ParameterNames::default(),
            listen: None,
            strict_modes: true,
            secrets: SecretRules::All,
        };
        Self { dir, aws: FakeAws::new(), config, agent: None }
    }

    pub(crate) async fn start(&mut self) {
        // With several threads a dropped agent is gone a moment later.
        let socket = self.config.socket_path();
        while std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            tokio::task::yield_now().await;
        }
        self.agent = Some(Agent::start(self.config.clone(), &self.aws.clients()).await.unwrap());
    }

    /// As if the process were killed: its scripts go on.
    pub(crate) fn kill(&mut self) {
        self.agent = None;
    }

    pub(crate) fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    /// Stops the agent as its service does: scripts go on.
    pub(crate) async fn shutdown(&mut self) {
        self.agent.take().unwrap().shutdown(Scripts::GoOn).await;
    }

    /// Stops the agent and its scripts.
    pub(crate) async fn shutdown_all(&mut self) {
        self.agent.take().unwrap().shutdown(Scripts::End).await;
    }

    /// Writes a script; without a first line of its own it runs with `sh`.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.config.scripts_dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn request(&self, script: &str) -> JobRequest {
        JobRequest {
            version: VERSION,
            // Tests run side by side, and a token names a job on the whole host.
            task_token: format!("{TOKEN}-{}", self.dir.path().display()),
            workflow_id: "nightly".into(),
            workflow_execution_id: "nightly-1".into(),
            job_name: script.into(),
            script: script.into(),
            arguments: Vec::new(),
            parameters: BTreeMap::new(),
            timeout_seconds: None,
            stall_seconds: None,
            retry: None,
            success_exit_codes: Vec::new(),
            pool: None,
            priority: 0,
            sent_at: None,
            first_attempt: 1,
            secret_id: "warehouse".into(),
            heartbeat_seconds: 30,
        }
    }

    pub(crate) async fn submit(&self, request: &JobRequest) -> Accepted {
        self.agent().submit(&request.encode(), Some("cmd-1".into())).await.unwrap()
    }

    /// Writes a script, runs it, answers how it was reported.
    pub(crate) async fn run(&self, text: &str) -> Told {
        self.script("job.sh", text);
        self.submit(&self.request("job.sh")).await;
        self.told().await
    }

    /// How the first job that was reported was reported.
    pub(crate) async fn told(&self) -> Told {
        self.aws.wait("the callback", |aws| told(aws).into_iter().next()).await
    }

    /// The last audit record that was written, once it is final.
    pub(crate) async fn final_audit(&self) -> BTreeMap<String, Value> {
        self.aws
            .wait("the final audit record", |aws| {
                aws.calls("UpdateItem").iter().map(attributes).find(|item| {
                    !["triggered", "running"].contains(&item["execution_status"].as_str().unwrap())
                })
            })
            .await
    }

    /// Waits until everyone has been told everything.
    pub(crate) async fn settled(&self) {
        let settled = async {
            while !self.agent().jobs().await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, settled).await.expect("jobs that never settle");
    }

    /// The log events of all streams, in order.
    pub(crate) fn events(&self) -> Vec<String> {
        self.aws.events().into_iter().map(|event| event.message).collect()
    }
}

impl Drop for World {
    /// Scripts outlive their agents; none outlives its test.
    fn drop(&mut self) {
        self.agent = None;
        let Ok(jobs) = std::fs::read_dir(self.config.data_dir.join("jobs")) else { return };
        for file in jobs.flatten().filter_map(|job| std::fs::read_dir(job.path()).ok()).flatten().flatten() {
            let run = file.path().extension().is_some_and(|extension| extension == "run");
            let supervisor =
                run.then(|| RunFile::open(&file.path()).ok()?.mark()).flatten().map(|mark| mark.supervisor);
            if let Some(handle) = supervisor.and_then(|supervisor| supervisor.open().unwrap()) {
                // One that has ended by now is what is wanted.
                let _ = rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::TERM);
                let _ = rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::CONT);
            }
        }
    }
}

/// Every report that was made.
pub(crate) fn told(aws: &FakeAws) -> Vec<Told> {
    let text = |call: &Value, name: &str| call[name].as_str().unwrap().to_owned();
    aws.all_calls()
        .iter()
        .filter_map(|call| match call.action.as_str() {
            "SendTaskSuccess" => {
                Some(Told::Success(serde_json::from_str(&text(&call.body, "output")).unwrap()))
            }
            "SendTaskFailure" => Some(Told::Failure(
                text(&call.body, "error"),
                serde_json::from_str(&text(&call.body, "cause")).unwrap(),
            )),
            _ => None,
        })
        .collect()
}

/// The attributes that an UpdateItem call sets, with plain values.
pub(crate) fn attributes(call: &Value) -> BTreeMap<String, Value> {
    let plain = |value: &Value| {
        let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
        if kind == "N" { serde_json::from_str(value.as_str().unwrap()).unwrap() } else { value.clone() }
    };
    let names = call["ExpressionAttributeNames"].as_object().unwrap();
    let mut all: BTreeMap<String, Value> = names
        .iter()
        .filter(|(key, _)| key.starts_with("#a"))
        .map(|(key, name)| {
            let value = &call["ExpressionAttributeValues"][key.replace('#', ":")];
            (name.as_str().unwrap().to_owned(), plain(value))
        })
        .collect();
    for (name, value) in call["Key"].as_object().unwrap() {
        all.insert(name.clone(), plain(value));
    }
    all
}

/// Waits for a condition that no call announces: a file, a process.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        let mut timer = tokio::time::interval(Duration::from_millis(5));
        loop {
            timer.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    };
    match tokio::time::timeout(DEADLINE, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit_once(") ").unwrap().1.starts_with(['Z', 'X'])
}

/// Reads pids that a script wrote, once there are `count`.
pub(crate) async fn pids(path: &Path, count: usize) -> Vec<u32> {
    until("the script's pids", || {
        let text = std::fs::read_to_string(path).ok()?;
        let whole = text.ends_with('\n') && text.lines().count() >= count;
        whole.then(|| text.lines().map(|line| line.trim().parse().unwrap()).collect())
    })
    .await
}
