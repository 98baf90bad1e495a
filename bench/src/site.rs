//! A directory with one script that does nothing, and `rsqlflow up` in it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::binary;
use crate::daemon::Endpoint;

/// The directory.
pub(crate) struct Site {
    dir: tempfile::TempDir,
}

/// How long a run took.
pub(crate) struct Run {
    /// From the execution's start to its end, as its own service recorded them.
    pub(crate) recorded_seconds: f64,
    /// From the start of `rsqlflow run --wait` to its exit.
    pub(crate) command_seconds: f64,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        // Beside the build, not in a temporary directory that may be memory: the disk is part of the figure.
        let base = std::env::current_exe()?.with_file_name("bench-sites");
        fs::create_dir_all(&base)?;
        let dir = tempfile::Builder::new().prefix("site-").tempdir_in(base)?;
        fs::create_dir(dir.path().join("scripts"))?;
        fs::write(dir.path().join("rsqlflow.toml"), "scripts_dir = \"scripts\"\n")?;
        let site = Self { dir };
        site.script("nothing.sh", "exit 0")?;
        Ok(site)
    }

    /// One more script, in the shell's language. Its own arguments begin with the third.
    pub(crate) fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let script = self.dir().join("scripts").join(name);
        fs::write(&script, format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(script)
    }

    /// A script that prints as [`crate::print`] does.
    pub(crate) fn printer(&self, name: &str) -> Result<PathBuf> {
        self.script(name, &format!("shift 2; exec '{}' print \"$@\"", std::env::current_exe()?.display()))
    }

    /// A named pipe.
    pub(crate) fn pipe(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        let made = Command::new("mkfifo").arg(&path).status()?;
        ensure!(made.success(), "mkfifo {} failed", path.display());
        Ok(path)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn rsqlflow(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("rsqlflow")?);
        command.args(arguments).current_dir(self.dir()).stdin(Stdio::null());
        Ok(command)
    }

    /// One stage of `jobs` scripts that do nothing.
    pub(crate) fn workflow(&self, jobs: usize, concurrency: usize) -> Result<()> {
        let scripts: Vec<Value> =
            (0..jobs).map(|n| json!({"script": "nothing.sh", "job_name": format!("job{n:03}")})).collect();
        let stage = if concurrency == 1 {
            json!({"execution_type": "sequential", "execution_flag": "y", "scripts": scripts})
        } else {
            json!({"execution_type": "parallel", "execution_flag": "y", "max_concurrency": concurrency, "scripts": scripts})
        };
        fs::write(
            self.dir().join("item.json"),
            json!({"workflow_id": "bench", "workflow_stages": [stage]}).to_string(),
        )?;
        Ok(())
    }

    /// Stores the item and runs it once.
    pub(crate) fn run(&self, _up: &Up) -> Result<Run> {
        self.finish(&["config", "put", "item.json"])?;
        let start = Instant::now();
        let id =
            self.finish(&["run", "bench", "--wait"])?.lines().next().context("no run id")?.trim().to_string();
        let command_seconds = start.elapsed().as_secs_f64();
        let status: Value = serde_json::from_str(&self.finish(&["status", &id, "--json"])?)?;
        let at = |name: &str| -> Result<f64> {
            let text = status[name].as_str().with_context(|| format!("no {name}"))?;
            seconds(text).with_context(|| format!("{text} is not a time"))
        };
        ensure!(status["execution_status"] == "completed", "the run ended {}", status["execution_status"]);
        Ok(Run { recorded_seconds: at("execution_end_ts")? - at("execution_start_ts")?, command_seconds })
    }

    fn finish(&self, arguments: &[&str]) -> Result<String> {
        let output = self.rsqlflow(arguments)?.output()?;
        if !output.status.success() {
            bail!("rsqlflow {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Seconds of the day of an RFC 3339 time in UTC; runs here do not pass midnight unnoticed: a negative difference
/// would show.
fn seconds(text: &str) -> Option<f64> {
    let clock = text.split('T').nth(1)?.trim_end_matches('Z');
    clock.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

/// A running `rsqlflow up`.
pub(crate) struct Up {
    child: Child,
    /// The process to measure and to end: not the tracer around it.
    pid: u32,
    /// Seconds until it was found.
    pub(crate) start_seconds: f64,
}

impl Up {
    /// Starts it, with every disk flush written to `trace` where one is given.
    pub(crate) fn start(site: &Site, trace: Option<&Path>) -> Result<Self> {
        let log = File::create(site.dir().join("up.log"))?;
        let plain = site.rsqlflow(&["up"])?;
        let mut command = match trace {
            None => plain,
            Some(file) => {
                let mut traced = Command::new("strace");
                traced
                    .args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-o"])
                    .arg(file)
                    .arg(plain.get_program());
                traced.args(plain.get_args()).current_dir(site.dir()).stdin(Stdio::null());
                traced
            }
        };
        let start = Instant::now();
        let mut child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start (for counting flushes: apt-get install strace)")?;
        let endpoint = site.dir().join(".rsqlflow/endpoint.json");
        loop {
            let found =
                fs::read_to_string(&endpoint).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if let Some(pid) =
                found.as_ref().and_then(|found| found["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok())
                && (trace.is_some() || pid == child.id())
            {
                return Ok(Self { child, pid, start_seconds: start.elapsed().as_secs_f64() });
            }
            if let Some(status) = child.try_wait()? {
                bail!("rsqlflow up ended: {status}; {}", fs::read_to_string(site.dir().join("up.log"))?);
            }
            ensure!(start.elapsed() < Duration::from_secs(60), "rsqlflow up did not start");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How others reach it.
    pub(crate) fn endpoint(&self, site: &Site) -> Result<Endpoint> {
        let text = fs::read_to_string(site.dir().join(".rsqlflow/endpoint.json"))?;
        let found: Value = serde_json::from_str(&text)?;
        let text = |name: &str| found[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        Ok(Endpoint { url: text("url")?, key: text("access_key_id")?, secret: text("secret_access_key")? })
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}
