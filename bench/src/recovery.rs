//! 1,000 jobs whose agent was killed while their scripts ran, and whose scripts ended without it: how long the next
//! agent takes, from its start, until everybody was told everything about all of them.
//!
//! The scripts wait at a pipe, so every job is accepted, started and known to the journal when the agent is killed;
//! each prints a line, so there are logs to ship. The limit is one client that makes as many calls as the agent made,
//! one after the other over one connection to the same sink, and a durable commit per job, for each outcome is put on
//! disk before anybody is told. The agent overlaps calls and shares flushes, signs its calls and reads the jobs' files.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use crate::daemon::{Daemon, Endpoint};
use crate::sink::{self, Sink};
use crate::site::Site;
use crate::{limit, proc, round};

const JOBS: usize = 1000;

/// About what an audit record takes as a call, with the headers that a signed call has.
const BODY: usize = 1500;

/// Measures it once; it takes long to set up.
pub(crate) fn run() -> Result<()> {
    let site = Site::new()?;
    let gate = site.pipe("gate")?;
    // Both ends, so that no script waits for more than its line.
    let mut gate_opener = std::fs::OpenOptions::new().read(true).write(true).open(&gate)?;
    site.script("wait.sh", &format!("read line < {}\necho done", gate.display()))?;
    let sink = Sink::start()?;
    let endpoint = Endpoint::from(&sink);
    let first = Daemon::start(&site, &endpoint, 0, None)?;
    let begun = Instant::now();
    for job in 0..JOBS {
        first.submit(&format!("job{job:04}"), "wait.sh", &[])?;
    }
    first.wait("busy with all", |status| status.running == JOBS)?;
    let taken = begun.elapsed().as_secs_f64();
    let supervisors = proc::children(first.pid, "rsqlflow-supervisor");
    ensure!(supervisors.len() == JOBS, "{} supervisors run", supervisors.len());
    first.stop(Signal::KILL)?;
    gate_opener.write_all(&[b'\n'; JOBS])?;
    let begun = Instant::now();
    while supervisors.iter().any(|pid| std::path::Path::new(&format!("/proc/{pid}/stat")).exists()) {
        ensure!(begun.elapsed() < Duration::from_secs(60), "scripts did not end");
        std::thread::park_timeout(Duration::from_millis(5));
    }

    sink.take();
    let start = Instant::now();
    let next = Daemon::start(&site, &endpoint, 0, None)?;
    let listening = start.elapsed().as_secs_f64();
    let called = sink.wait("callbacks", |seen| {
        (seen.callbacks.len() == JOBS).then(|| seen.callbacks.values().max().copied())
    })?;
    next.settled()?;
    let settled = start.elapsed().as_secs_f64();
    let peak = proc::peak(next.pid)?;
    let cpu = proc::cpu_seconds(next.pid)?;
    next.stop(Signal::TERM)?;
    let seen = sink.take();
    ensure!(seen.events == JOBS, "{} lines of {JOBS} are there", seen.events);
    let calls: usize = seen.calls.values().sum();

    let (stream, database) = (sink.connect()?, limit::open(site.dir())?);
    let body = format!("{{\"body\":\"{}\"}}", "x".repeat(BODY));
    let begun = Instant::now();
    for job in 0..JOBS {
        limit::commit(&database, "insert into job (state) values ('ended')", [])?;
        for _ in calls * job / JOBS..calls * (job + 1) / JOBS {
            sink::call(&stream, "Nothing", &body)?;
        }
    }
    let limit = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({
            "bench": "recovery", "jobs": JOBS, "limit_seconds": round(limit), "rsqlflow_seconds": round(settled),
            "ratio": round(settled / limit), "listening_seconds": round(listening),
            "called_back_seconds": called.map(|at| round(at.duration_since(start).as_secs_f64())),
            "ms_per_job": round(settled * 1000.0 / JOBS as f64), "cpu_seconds": round(cpu), "peak_mib": peak,
            "calls": seen.calls, "taking_them_seconds": round(taken),
        })
    );
    Ok(())
}
