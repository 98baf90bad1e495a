//! 200 jobs of 100 ms, 40 at once: what 40 places could do at best, and how far the agent is from it.
//!
//! The ideal needs no machine: 200 jobs in 40 places are five rounds of 100 ms. The limit is the same script spawned
//! bare with two durable commits per job. Requests come over the socket, and once by a process each, as the Systems
//! Manager document brings them. Flushes are counted by strace in a run of their own, which it slows.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use crate::daemon::{Daemon, Endpoint};
use crate::sink::Sink;
use crate::site::Site;
use crate::{ROUNDS, limit, round};

const JOBS: usize = 200;
const PLACES: usize = 40;
const JOB_SECONDS: f64 = 0.1;

/// So many hand jobs over at once.
const SENDERS: usize = 8;

/// Measures throughput, commits and flushes.
pub(crate) fn run() -> Result<()> {
    let ideal = JOBS as f64 * JOB_SECONDS / PLACES as f64;
    let site = Site::new()?;
    let script = site.script("pause.sh", &format!("exec sleep {JOB_SECONDS}"))?;
    let sink = Sink::start()?;
    let daemon = Daemon::start(&site, &Endpoint::from(&sink), PLACES, None)?;
    let count = |name: &str| daemon.counter(&format!("rsqlflow_agent_journal_{name}_total"));
    burst(&daemon, &sink, "warm", false)?;
    let (mut bare, mut ours, mut by_process) = (f64::MAX, f64::MAX, f64::MAX);
    let (mut commits, mut flushes) = (f64::MAX, f64::MAX);
    for number in 0..ROUNDS {
        bare = bare.min(limit::run(site.dir(), &script, JOBS, PLACES)?);
        let before = (count("commits")?, count("flushes")?);
        ours = ours.min(burst(&daemon, &sink, &format!("s{number}"), false)?);
        commits = commits.min((count("commits")? - before.0) / JOBS as f64);
        flushes = flushes.min((count("flushes")? - before.1) / JOBS as f64);
        by_process = by_process.min(burst(&daemon, &sink, &format!("p{number}"), true)?);
    }
    daemon.stop(Signal::TERM)?;
    println!(
        "{}",
        json!({
            "bench": "burst", "jobs": JOBS, "concurrency": PLACES, "ideal_seconds": ideal,
            "limit_seconds": round(bare), "rsqlflow_seconds": round(ours),
            "rsqlflow_by_processes_seconds": round(by_process),
            "jobs_per_second": round(JOBS as f64 / ours), "ratio_to_limit": round(ours / bare),
            "ratio_to_ideal": round(ours / ideal),
            "commits_per_job": round(commits), "journal_flushes_per_job": round(flushes),
        })
    );
    traced(&site)
}

/// Seconds from the first request to the last callback; returns once the agent is idle.
fn burst(daemon: &Daemon, sink: &Sink, name: &str, by_process: bool) -> Result<f64> {
    sink.take();
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let send = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= JOBS {
                    return Ok(());
                }
                let job = format!("{name}-{number:03}");
                if by_process {
                    ensure!(daemon.submit_process(&job, "pause.sh", &[])?.wait()?.success(), "submit failed");
                } else {
                    daemon.submit(&job, "pause.sh", &[])?;
                }
            }
        };
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        for sender in senders {
            sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        Ok(())
    })?;
    let last = sink.wait("callbacks", |seen| {
        (seen.callbacks.len() == JOBS).then(|| seen.callbacks.values().max().copied())
    })?;
    daemon.settled()?;
    Ok(last.context("no callback")?.duration_since(start).as_secs_f64())
}

fn traced(site: &Site) -> Result<()> {
    let trace = site.dir().join("flushes");
    let sink = Sink::start()?;
    let daemon = match Daemon::start(site, &Endpoint::from(&sink), PLACES, Some(&trace)) {
        Ok(daemon) => daemon,
        Err(error) => {
            println!("{}", json!({"bench": "burst", "skipped": format!("{error:#}")}));
            return Ok(());
        }
    };
    let before = flushes(&trace)?;
    burst(&daemon, &sink, "traced", false)?;
    let flushes = (flushes(&trace)? - before) as f64;
    daemon.stop(Signal::TERM)?;
    println!(
        "{}",
        json!({
            "bench": "burst", "what": "disk flushes, counted by strace", "flushes": flushes,
            "flushes_per_job": round(flushes / JOBS as f64),
        })
    );
    Ok(())
}

/// How many are in the trace.
pub(crate) fn flushes(trace: &Path) -> Result<usize> {
    Ok(std::fs::read_to_string(trace)?.lines().filter(|line| line.contains("sync(")).count())
}
