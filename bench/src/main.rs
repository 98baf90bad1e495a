//! Benchmarks, as JSON lines: each figure beside the physical limit measured in the same run.
//!
//! The limit is what no orchestrator of durable jobs can beat on this machine: the same command spawned bare, with two
//! durable SQLite commits per job (one before it is accepted, one before its end is told). Ratios travel between
//! machines, seconds do not. The two are taken in turn, so that a busy disk is busy for both.
//!
//! `make bench` builds the release binaries and runs this. Arguments name the benchmarks to run; none runs all.

mod burst;
mod daemon;
mod figures;
mod handoff;
mod limit;
mod memory;
mod peer;
mod print;
mod proc;
mod recovery;
mod shipping;
mod sink;
mod site;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::site::{Site, Up};

/// How often each figure is taken; the best of each side is compared, the rest is noise of the machine.
const ROUNDS: usize = 5;

/// What can be named.
const BENCHMARKS: [&str; 10] =
    ["size", "start", "chain", "stage", "commits", "memory", "handoff", "burst", "shipping", "recovery"];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, arguments)) = wanted.split_first()
        && first == "print"
    {
        return print::run(arguments);
    }
    for name in &wanted {
        ensure!(
            BENCHMARKS.contains(&name.as_str()),
            "no benchmark is {name}; there are {}",
            BENCHMARKS.join(", ")
        );
    }
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if runs("size") {
        for name in ["rsqlflow", "rsqlflow-agent", "rsqlflow-supervisor", "rsql"] {
            let bytes = std::fs::metadata(binary(name)?)?.len();
            println!("{}", json!({"bench": "size", "binary": name, "mib": mib(bytes)}));
        }
    }
    if runs("start") {
        memory::start()?;
    }
    if runs("chain") {
        let short = flow("chain", 40, 1)?;
        let long = flow("chain", 400, 1)?;
        println!(
            "{}",
            json!({"bench": "chain", "what": "cost per job of 400 over that of 40", "ratio": round(long / short)})
        );
    }
    if runs("stage") {
        flow("stage", 200, 16)?;
    }
    if runs("commits") {
        commits("chain", 40, 1)?;
        commits("stage", 200, 16)?;
    }
    if runs("memory") {
        memory::memory()?;
    }
    if runs("handoff") {
        handoff::run()?;
    }
    if runs("burst") {
        burst::run()?;
    }
    if runs("shipping") {
        shipping::run()?;
    }
    if runs("recovery") {
        recovery::run()?;
    }
    Ok(())
}

/// Times `jobs` scripts that only `exit 0` beside the limit; gives the seconds per job.
fn flow(bench: &str, jobs: usize, concurrency: usize) -> Result<f64> {
    let site = Site::new()?;
    site.workflow(jobs, concurrency)?;
    let up = Up::start(&site, None)?;
    site.run(&up)?; // warm
    let (mut limit, mut ours, mut command) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        limit = limit.min(limit::run(site.dir(), &site.dir().join("scripts/nothing.sh"), jobs, concurrency)?);
        let run = site.run(&up)?;
        ours = ours.min(run.recorded_seconds);
        command = command.min(run.command_seconds);
    }
    up.stop()?;
    println!(
        "{}",
        json!({
            "bench": bench, "jobs": jobs, "concurrency": concurrency,
            "limit_seconds": round(limit), "rsqlflow_seconds": round(ours), "ratio": round(ours / limit),
            "ms_per_job": round(ours * 1000.0 / jobs as f64), "command_seconds": round(command),
        })
    );
    Ok(ours / jobs as f64)
}

/// Counts the disk flushes of a run with strace: what is counted is the system's word, not ours.
fn commits(bench: &str, jobs: usize, concurrency: usize) -> Result<()> {
    let site = Site::new()?;
    site.workflow(jobs, concurrency)?;
    let trace = site.dir().join("flushes");
    let up = match Up::start(&site, Some(&trace)) {
        Ok(up) => up,
        Err(error) => {
            println!("{}", json!({"bench": bench, "skipped": format!("{error:#}")}));
            return Ok(());
        }
    };
    site.run(&up)?;
    let before = burst::flushes(&trace)?;
    site.run(&up)?;
    let after = burst::flushes(&trace)?;
    up.stop()?;
    let per_job = (after - before) as f64 / jobs as f64;
    println!(
        "{}",
        json!({"bench": bench, "jobs": jobs, "concurrency": concurrency, "flushes": after - before, "flushes_per_job": round(per_job)})
    );
    Ok(())
}

/// A release binary beside this one.
fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is not built: run `make bench`", path.display());
    Ok(path)
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn mib(bytes: u64) -> f64 {
    round(bytes as f64 / (1024.0 * 1024.0))
}
