//! A real `rsqlflow-agent serve` as a process of its own, to be killed, stopped, replaced and started again.
//!
//! Its data, its socket and its log are in the site unless told. What it prints through all of its lives is in one
//! file.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::site::{Ran, Site, binaries, run};
use crate::wait_for;

/// A daemon that ends with its test.
pub struct Daemon<'a> {
    site: &'a Site,
    endpoint: Endpoint,
    program: PathBuf,
    data_dir: PathBuf,
    socket: PathBuf,
    settings: Vec<(&'static str, String)>,
    child: Option<Child>,
}

/// Where the socket of a site's daemon is: what `local.agent_socket` is set to.
pub fn socket(site: &Site) -> PathBuf {
    site.path("agent.sock")
}

impl<'a> Daemon<'a> {
    /// Starts one that works for `endpoint`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not come up; its log is shown.
    pub fn start(site: &'a Site, endpoint: &Endpoint) -> Self {
        Self::start_in(site, endpoint, Vec::new())
    }

    /// Starts one with further environment variables.
    ///
    /// # Panics
    /// When it does not come up; its log is shown.
    pub fn start_in(site: &'a Site, endpoint: &Endpoint, environment: Vec<(&'static str, String)>) -> Self {
        Self {
            site,
            endpoint: endpoint.clone(),
            program: binaries().join("rsqlflow-agent"),
            data_dir: site.path("agent"),
            socket: socket(site),
            settings: environment,
            child: None,
        }
        .started()
    }

    /// Starts `program` as one that keeps its data in `data_dir`.
    ///
    /// # Panics
    /// When it does not come up; its log is shown.
    pub fn start_as(site: &'a Site, endpoint: &Endpoint, program: &Path, data_dir: &Path) -> Self {
        Self {
            site,
            endpoint: endpoint.clone(),
            program: program.into(),
            data_dir: data_dir.into(),
            socket: socket(site),
            settings: Vec::new(),
            child: None,
        }
        .started()
    }

    /// Starts one of several, as the host `instance_id` with `tags`: data, socket and log bear its name.
    ///
    /// # Panics
    /// When it does not come up; its log is shown.
    pub fn start_host(site: &'a Site, endpoint: &Endpoint, instance_id: &str, tags: &str) -> Self {
        Self {
            site,
            endpoint: endpoint.clone(),
            program: binaries().join("rsqlflow-agent"),
            data_dir: site.path(instance_id),
            socket: site.path(&format!("{instance_id}.sock")),
            settings: vec![("RSQLFLOW_HOST", instance_id.into()), ("RSQLFLOW_AGENT_TAGS", tags.into())],
            child: None,
        }
        .started()
    }

    fn started(mut self) -> Self {
        self.restart();
        self.wait_until_it_listens();
        self
    }

    /// Starts it again; it need not listen yet.
    ///
    /// # Panics
    /// When it runs.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the daemon runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut serve = self.command(&["serve"]);
        serve.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(serve.spawn().expect("the daemon starts"));
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// When it ends first; its log is shown.
    pub fn wait_until_it_listens(&mut self) {
        let (socket, log) = (self.socket.clone(), self.log_path());
        let child = self.child.as_mut().expect("the daemon was started");
        wait_for("the daemon to listen", || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the daemon ended: {status}\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            UnixStream::connect(&socket).ok().map(drop)
        });
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it ended by itself before; its log is shown.
    pub fn kill_9(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        if let Ok(Some(status)) = child.try_wait() {
            panic!("the daemon ended by itself: {status}\n{}", self.log());
        }
        child.kill().expect("it was ours to kill");
        child.wait().expect("it was ours to wait for");
    }

    /// Waits until it ends by itself, and not well.
    ///
    /// # Panics
    /// When it does not; its log is shown.
    pub fn wait_until_it_fails(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        let status = wait_for("the daemon to end", || child.try_wait().expect("it is ours to wait for"));
        assert!(!status.success(), "the daemon ended with {status}\n{}", self.log());
    }

    /// TERM, as a service manager stops it, and waits for its end.
    ///
    /// # Panics
    /// When it does not end well; its log is shown.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it was ours to signal");
        let status = child.wait().expect("it was ours to wait for");
        assert!(status.success(), "the daemon ended with {status}\n{}", self.log());
    }

    /// The jobs that are not settled.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn jobs(&self) -> Vec<Value> {
        let listed = self.ask(&["jobs", "--json"]).expect(0).json();
        listed.as_array().expect("a list").clone()
    }

    /// Runs `rsqlflow-agent` with these arguments against it.
    pub fn ask(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Everything it has printed in all of its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--data-dir").arg(&self.data_dir).arg("--socket").arg(&self.socket);
        command.current_dir(self.site.path(""));
        for (name, _) in std::env::vars() {
            if name.starts_with("RSQLFLOW_") || name.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        // Nothing of this machine's own AWS configuration.
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.endpoint.environment());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        // Scripts outlive a daemon; a test that failed must not leave them to the machine.
        if std::thread::panicking() {
            for process in self.site.processes(&[]) {
                if process.command.contains("rsqlflow up") {
                    continue;
                }
                let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}
