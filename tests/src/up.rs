//! An `rsqlflow up` that ends with its test.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::endpoint::Endpoint;
use crate::site::{Ran, Site, run};
use crate::wait_for;

/// A running `rsqlflow up`.
pub struct Up<'a> {
    site: &'a Site,
    child: Child,
}

impl<'a> Up<'a> {
    /// Starts it and waits until other commands find it.
    ///
    /// # Panics
    /// When it ends first; what it printed is shown.
    pub fn start(site: &'a Site) -> Self {
        Self::start_with(site, &[])
    }

    /// Starts it with further arguments, and waits until other commands find it.
    ///
    /// # Panics
    /// When it ends first; what it printed is shown.
    pub fn start_with(site: &'a Site, arguments: &[&str]) -> Self {
        Self::start_in(site, arguments, &[])
    }

    /// Starts it with further arguments and environment variables, and waits until other commands find it.
    ///
    /// # Panics
    /// When it ends first; what it printed is shown.
    pub fn start_in(site: &'a Site, arguments: &[&str], environment: &[(&str, &Path)]) -> Self {
        let log = site.path("up.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = site
            .command(&[&["up"], arguments].concat())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("rsqlflow up starts");
        let mut up = Self { site, child };
        let endpoint = site.data_dir().join("endpoint.json");
        let pid = up.child.id();
        wait_for("rsqlflow up", || {
            if let Ok(Some(status)) = up.child.try_wait() {
                panic!("rsqlflow up ended: {status}\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            let text = fs::read_to_string(&endpoint).ok()?;
            let value: serde_json::Value = serde_json::from_str(&text).ok()?;
            (value["pid"] == pid).then_some(())
        });
        up
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens and with which key.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::of(&self.site.data_dir())
    }

    /// Everything it has printed, and earlier ones of the site with it.
    pub fn log(&self) -> String {
        fs::read_to_string(self.site.path("up.log")).unwrap_or_default()
    }

    /// `kill -STOP`: it stands still, and what it started goes on.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// `kill -CONT`.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill_9(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("it was ours to wait for");
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("it was ours to wait for");
        assert!(status.success(), "rsqlflow up ended with {status}\n{}", self.log());
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // It may have ended by itself; waiting for it tells.
        let _ = kill_process(pid, signal);
    }

    /// Runs a shell command with the exports of `rsqlflow env`, as an operator would.
    pub fn shell(&self, command: &str) -> Ran {
        let binary = crate::site::binaries().join("rsqlflow");
        let script = format!("eval \"$('{}' env)\" || exit 99\n{command}", binary.display());
        let mut bash = std::process::Command::new("bash");
        bash.arg("-c").arg(script).current_dir(self.site.path(""));
        for (name, _) in std::env::vars() {
            if name.starts_with("RSQLFLOW_") || name.starts_with("AWS_") {
                bash.env_remove(name);
            }
        }
        run(bash.env("AWS_PAGER", "").env("AWS_MAX_ATTEMPTS", "2"))
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            self.signal(Signal::CONT);
            // Whatever happens to the wait, the test is over.
            let _ = self.child.wait();
        }
    }
}
