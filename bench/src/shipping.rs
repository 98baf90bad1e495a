//! Log shipping: how quickly a file's lines are with CloudWatch Logs, what a line costs, and how old it is by then.
//!
//! The script is `cat FILE`, its output goes to the attempt's log file and from there to the sink. Beside it the same
//! `cat` into another file, which is the part of the way that the script itself goes. Cost is the daemon's CPU time per
//! line; the smaller files are shipped several times so that it can be read off the kernel's clock.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use crate::daemon::{Daemon, Endpoint};
use crate::figures::Times;
use crate::sink::Sink;
use crate::site::{Site, Up};
use crate::{peer, print, proc, round};

/// Bytes of a line with its end.
const LINE: usize = 100;

const MB: usize = 1_000_000;

/// Files in MB, and how often each is shipped.
const FILES: [(usize, usize); 4] = [(1, 40), (10, 8), (100, 3), (1000, 1)];

/// Seconds that the lag is watched for.
const SECONDS: usize = 20;

/// Measures throughput and cost, then the lag.
pub(crate) fn run() -> Result<()> {
    throughput()?;
    own_endpoint()?;
    lag(1, 100 * LINE * SECONDS)?;
    lag(40, 100 * LINE * SECONDS)
}

fn throughput() -> Result<()> {
    let site = Site::new()?;
    site.script("cat.sh", "exec cat \"$3\"")?;
    let sink = Sink::start()?;
    let daemon = Daemon::start(&site, &Endpoint::from(&sink), 40, None)?;
    let mut costs = Vec::new();
    let warm = file(&site, 1)?;
    ship(&daemon, &sink, &warm, "warm", MB / LINE)?;
    for (size, times) in FILES {
        let file = file(&site, size)?;
        let lines = size * MB / LINE;
        let (mut cat, mut ours) = (f64::MAX, f64::MAX);
        let before = (proc::cpu_seconds(daemon.pid)?, proc::cpu_seconds(std::process::id())?);
        for number in 0..times {
            cat = cat.min(copy(&file)?);
            ours = ours.min(ship(&daemon, &sink, &file, &format!("ship{size}-{number}"), lines)?);
        }
        let per_line = |seconds: f64| round(seconds * 1e6 / (lines * times) as f64);
        let cost = per_line(proc::cpu_seconds(daemon.pid)? - before.0);
        costs.push(cost);
        println!(
            "{}",
            json!({
                "bench": "shipping", "mb": size, "lines": lines, "rounds": times,
                "cat_seconds": round(cat), "rsqlflow_seconds": round(ours), "ratio": round(ours / cat),
                "cat_mb_per_second": round(size as f64 / cat), "mb_per_second": round(size as f64 / ours),
                "cpu_us_per_line": cost,
                "sink_cpu_us_per_line": per_line(proc::cpu_seconds(std::process::id())? - before.1),
            })
        );
        if let Some((seconds, cpu)) = peer::ship(site.dir(), &sink, &file, lines)? {
            println!(
                "{}",
                json!({
                    "bench": "shipping", "what": "syslog-ng", "mb": size, "seconds": round(seconds),
                    "mb_per_second": round(size as f64 / seconds), "cpu_us_per_line": round(cpu * 1e6 / lines as f64),
                })
            );
        }
        std::fs::remove_file(file)?;
    }
    if let (Some(first), Some(last)) = (costs.first(), costs.last()) {
        println!(
            "{}",
            json!({"bench": "shipping", "what": "cost per line of the largest file over that of the smallest", "ratio": round(last / first)})
        );
    }
    daemon.stop(Signal::TERM)
}

fn file(site: &Site, size: usize) -> Result<std::path::PathBuf> {
    let path = site.dir().join(format!("{size}.txt"));
    let mut out = BufWriter::new(File::create(&path)?);
    print::write(&mut out, size * MB, LINE)?;
    Ok(path)
}

/// Seconds of `cat FILE > OTHER`.
fn copy(file: &Path) -> Result<f64> {
    let other = file.with_extension("copy");
    let start = Instant::now();
    let status = Command::new("cat").arg(file).stdin(Stdio::null()).stdout(File::create(&other)?).status()?;
    ensure!(status.success(), "cat failed");
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(other)?;
    Ok(seconds)
}

/// Seconds from the request to the last of so many lines in the sink.
fn ship(daemon: &Daemon, sink: &Sink, file: &Path, job: &str, lines: usize) -> Result<f64> {
    sink.take();
    let start = Instant::now();
    daemon.submit(job, "cat.sh", &[file.to_str().context("a path that is not UTF-8")?])?;
    let last = sink.wait("the lines", |seen| (seen.events >= lines).then_some(seen.last_put))?;
    sink.callback(job)?;
    daemon.settled()?;
    ensure!(sink.take().events == lines, "there are more events than lines");
    Ok(last.context("no lines")?.duration_since(start).as_secs_f64())
}

/// The same into the endpoint of `rsqlflow up`, which keeps what it gets; until all of it is acknowledged.
fn own_endpoint() -> Result<()> {
    let site = Site::new()?;
    site.script("cat.sh", "exec cat \"$3\"")?;
    let up = Up::start(&site, None)?;
    let daemon = Daemon::start(&site, &up.endpoint(&site)?, 40, None)?;
    for size in [10, 100] {
        let file = file(&site, size)?;
        let path = file.to_str().context("a path that is not UTF-8")?;
        let start = Instant::now();
        daemon.submit(&format!("up{size}"), "cat.sh", &[path])?;
        daemon.settled()?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{}",
            json!({"bench": "shipping", "what": "into `rsqlflow up`", "mb": size, "seconds": round(seconds), "mb_per_second": round(size as f64 / seconds)})
        );
    }
    daemon.stop(Signal::TERM)?;
    up.stop()
}

/// How old lines are when they arrive: of `jobs` that print `bytes` each over the time.
fn lag(jobs: usize, bytes: usize) -> Result<()> {
    let site = Site::new()?;
    site.printer("print.sh")?;
    let sink = Sink::start()?;
    let daemon = Daemon::start(&site, &Endpoint::from(&sink), 0, None)?;
    let cpu = proc::cpu_seconds(daemon.pid)?;
    let arguments = [bytes.to_string(), LINE.to_string(), SECONDS.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for job in 0..jobs {
        daemon.submit(&format!("job{job:02}"), "print.sh", &arguments)?;
    }
    sink.wait("callbacks", |seen| (seen.callbacks.len() == jobs).then_some(()))?;
    daemon.settled()?;
    let cpu = proc::cpu_seconds(daemon.pid)? - cpu;
    daemon.stop(Signal::TERM)?;
    let seen = sink.take();
    ensure!(seen.events == jobs * bytes / LINE, "{} events came", seen.events);
    println!(
        "{}",
        json!({
            "bench": "shipping", "what": "from line written to event in the sink", "jobs": jobs,
            "lines_per_second_each": bytes / LINE / SECONDS, "seconds": SECONDS,
            "lag_ms": Times::from(seen.lags.clone()).milliseconds(), "lines_timed": seen.lags.len(),
            "calls": seen.calls("PutLogEvents"), "cpu_share": round(cpu / SECONDS as f64),
        })
    );
    Ok(())
}
