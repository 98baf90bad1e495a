//! The two moments that a job waits for its agent: from `submit` to the script's first act, and from the script's end
//! to its callback.
//!
//! Beside each job of the agent one of the limit: the same script spawned bare, one durable commit before it and one
//! after its end, which is as many as the agent makes (its own counter is shown). The job's request comes by a process
//! of `rsqlflow-agent submit`, as the Systems Manager document brings it; what that process takes by itself is shown.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use crate::daemon::{Daemon, Endpoint};
use crate::figures::Times;
use crate::limit;
use crate::sink::Sink;
use crate::site::Site;
use crate::{binary, round};

const JOBS: usize = 300;

/// Jobs before the first that counts.
const WARM: usize = 20;

/// Measures both moments, job by job in turn with the limit.
pub(crate) fn run() -> Result<()> {
    let site = Site::new()?;
    let bell = Bell::new(&site)?;
    let script = site.script("ring.sh", &format!("echo \"$3\" > {}", bell.path.display()))?;
    let sink = Sink::start()?;
    let daemon = Daemon::start(&site, &Endpoint::from(&sink), 40, None)?;
    let database = limit::open(site.dir())?;
    let (mut start, mut end, mut exec) = (Times::default(), Times::default(), Times::default());
    let (mut bare_start, mut bare_end) = (Times::default(), Times::default());
    let mut flushes = 0.0;
    for number in 0..WARM + JOBS {
        if number == WARM {
            flushes = daemon.counter("rsqlflow_agent_journal_flushes_total")?;
        }
        let name = format!("job{number:04}");
        let begun = Instant::now();
        let mut submit = daemon.submit_process(&name, "ring.sh", &[&name])?;
        let rung = bell.wait(&name)?;
        let called = sink.callback(&name)?;
        ensure!(submit.wait()?.success(), "submit failed");
        // The limit must not be disturbed by what the agent does after the callback.
        daemon.settled()?;

        let bare_begun = Instant::now();
        let id = limit::commit(&database, "insert into job (state) values ('accepted')", [])?;
        let mut child = Command::new(&script).args(["lib", "secret", &name]).stdin(Stdio::null()).spawn()?;
        let bare_rung = bell.wait(&name)?;
        ensure!(child.wait()?.success(), "the bare script failed");
        limit::commit(&database, "update job set state = 'ended' where id = ?1", [id])?;
        let bare_done = Instant::now();

        let nothing = Instant::now();
        Command::new(binary("rsqlflow-agent")?).arg("--version").stdout(Stdio::null()).status()?;
        if number >= WARM {
            start.add(rung - begun);
            end.add(called.saturating_duration_since(rung));
            bare_start.add(bare_rung - bare_begun);
            bare_end.add(bare_done - bare_rung);
            exec.add(nothing.elapsed());
        }
    }
    let flushes = daemon.counter("rsqlflow_agent_journal_flushes_total")? - flushes;
    for (what, ours, bare) in
        [("submit to script started", &start, &bare_start), ("job end to callback sent", &end, &bare_end)]
    {
        let ratio = |share| round(ours.quantile(share) / bare.quantile(share));
        println!(
            "{}",
            json!({
                "bench": "handoff", "what": what, "jobs": JOBS, "limit_ms": bare.milliseconds(),
                "rsqlflow_ms": ours.milliseconds(), "ratio_p50": ratio(0.5), "ratio_p99": ratio(0.99),
            })
        );
    }
    println!(
        "{}",
        json!({
            "bench": "handoff", "what": "a process of rsqlflow-agent that does nothing", "ms": exec.milliseconds(),
            "journal_flushes_per_job": round(flushes / JOBS as f64),
        })
    );
    daemon.stop(Signal::TERM)
}

/// Where scripts say that they run.
struct Bell {
    path: std::path::PathBuf,
    rung: mpsc::Receiver<(String, Instant)>,
}

impl Bell {
    fn new(site: &Site) -> Result<Self> {
        let path = site.pipe("bell")?;
        let listener = open(&path)?;
        let (ring, rung) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(listener).lines().map_while(Result::ok) {
                if ring.send((line, Instant::now())).is_err() {
                    break;
                }
            }
        });
        Ok(Self { path, rung })
    }

    fn wait(&self, name: &str) -> Result<Instant> {
        let (line, at) = self.rung.recv_timeout(Duration::from_secs(60)).context("a script did not start")?;
        ensure!(line == name, "{line} rang, not {name}");
        Ok(at)
    }
}

/// Both ends, so that nobody who opens it waits.
fn open(path: &Path) -> Result<File> {
    Ok(fs::OpenOptions::new().read(true).write(true).open(path)?)
}
