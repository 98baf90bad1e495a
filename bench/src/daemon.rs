//! A running `rsqlflow-agent serve`, and jobs for it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::binary;
use crate::site::Site;

/// Where its AWS API is.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl From<&crate::sink::Sink> for Endpoint {
    fn from(sink: &crate::sink::Sink) -> Self {
        Self { url: sink.url(), key: "bench".into(), secret: "bench".into() }
    }
}

/// The process.
pub(crate) struct Daemon {
    child: Child,
    /// The process to measure: not the tracer around it.
    pub(crate) pid: u32,
    socket: PathBuf,
    pages: String,
}

impl Daemon {
    /// Starts it in the site, with room for `running` jobs at once (0: any number), every disk flush written to
    /// `trace` where one is given. Returns once it listens.
    pub(crate) fn start(site: &Site, at: &Endpoint, running: usize, trace: Option<&Path>) -> Result<Self> {
        // Free now, and hardly taken before the agent has it.
        let pages = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let settings = format!(
            "scripts_dir = \"scripts\"\n[agent]\nmax_running_jobs = {running}\nlog_limit_bytes = 0\nlisten = \"{pages}\"\n"
        );
        fs::write(site.dir().join("agent.toml"), settings)?;
        let socket = site.dir().join("agent/agent.sock");
        let agent = binary("rsqlflow-agent")?;
        let mut command = match trace {
            None => Command::new(&agent),
            Some(file) => {
                let mut traced = Command::new("strace");
                traced.args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-o"]).arg(file).arg(&agent);
                traced
            }
        };
        let log = fs::File::options().create(true).append(true).open(site.dir().join("agent.log"))?;
        // One that was killed leaves its socket.
        drop(fs::remove_file(&socket));
        let mut child = command
            .args(["serve", "--settings", "agent.toml", "--data-dir"])
            .arg(site.dir().join("agent"))
            .current_dir(site.dir())
            .env("AWS_ENDPOINT_URL", &at.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", &at.key)
            .env("AWS_SECRET_ACCESS_KEY", &at.secret)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start (for counting flushes: apt-get install strace)")?;
        let start = Instant::now();
        let pid = loop {
            if let Ok(status) = status(&socket) {
                break status.pid;
            }
            if let Some(status) = child.try_wait()? {
                bail!("rsqlflow-agent: {status}; {}", fs::read_to_string(site.dir().join("agent.log"))?);
            }
            ensure!(start.elapsed() < Duration::from_secs(60), "rsqlflow-agent did not start");
            std::thread::park_timeout(Duration::from_millis(1));
        };
        Ok(Self { child, pid, socket, pages })
    }

    /// Hands a job over, by the socket and without a process.
    pub(crate) fn submit(&self, job: &str, script: &str, arguments: &[&str]) -> Result<()> {
        let word = request(job, script, arguments);
        ask(&self.socket, "submit", &json!({"request": word, "ssm_command_id": null}), "accepted").map(drop)
    }

    /// Hands a job over as the Systems Manager document does: a process that ends once the job is on disk.
    pub(crate) fn submit_process(&self, job: &str, script: &str, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(binary("rsqlflow-agent")?);
        command.arg("submit").env("RSQLFLOW_AGENT_SOCKET", &self.socket);
        let mut submit = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut stdin = submit.stdin.take().context("its standard input is a pipe")?;
        stdin.write_all(request(job, script, arguments).as_bytes())?;
        Ok(submit)
    }

    /// Waits until the agent says so about itself.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Result<()> {
        let start = Instant::now();
        while !holds(&status(&self.socket)?) {
            ensure!(start.elapsed() < Duration::from_secs(300), "the agent did not become {what}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until everybody was told everything.
    pub(crate) fn settled(&self) -> Result<()> {
        self.wait("idle", |status| status.running + status.queued + status.reporting == 0)
    }

    /// A counter of its metrics page.
    pub(crate) fn counter(&self, name: &str) -> Result<f64> {
        let mut page = String::new();
        let mut stream = TcpStream::connect(&self.pages)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut page)?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.with_context(|| format!("the agent does not count {name}"))
    }

    /// Ends it; scripts would go on.
    pub(crate) fn stop(mut self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    /// A benchmark that fails leaves none behind.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may end by itself this moment.
            let _ = kill_process(pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// How it says it is: the members that benchmarks wait for.
#[derive(Debug)]
pub(crate) struct Status {
    pid: u32,
    pub(crate) running: usize,
    pub(crate) queued: usize,
    pub(crate) reporting: usize,
}

fn status(socket: &Path) -> Result<Status> {
    let answer = ask(socket, "status", &json!({}), "status")?;
    let count = |name: &str| -> Result<usize> {
        Ok(answer[name].as_u64().with_context(|| format!("no {name}"))?.try_into()?)
    };
    Ok(Status {
        pid: count("pid")?.try_into()?,
        running: count("running")?,
        queued: count("queued")?,
        reporting: count("reporting")?,
    })
}

/// One line each way; gives the member of the answer that is expected.
fn ask(socket: &Path, what: &str, about: &Value, expected: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("at {}", socket.display()))?;
    stream.write_all(format!("{}\n", json!({what: about})).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line).context("the agent's answer is no JSON")?;
    ensure!(answer.get(expected).is_some(), "the agent answers {what} with {line}");
    Ok(answer[expected].take())
}

/// A job request as it travels; its task token is the job's name. Percent-encoding would change nothing in it.
fn request(job: &str, script: &str, arguments: &[&str]) -> String {
    let request = json!({
        "version": 1, "task_token": job, "workflow_id": "bench", "workflow_execution_id": "bench-1",
        "job_name": job, "script": script, "arguments": arguments, "secret_id": "bench",
        "heartbeat_seconds": 30,
    });
    URL_SAFE.encode(request.to_string())
}
