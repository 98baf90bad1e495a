//! Memory of `rsqlflow-agent`: idle, per job that runs, and while scripts print much.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Endpoint};
use crate::sink::Sink;
use crate::site::Site;
use crate::{proc, round};

/// Jobs that sleep at once.
const SLEEPERS: usize = 100;

/// What one job prints at once, and what 40 print each in so many seconds.
const MUCH: usize = 1_000_000_000;
const EACH: usize = 20_000_000;
const SECONDS: usize = 20;
const JOBS: usize = 40;

/// Bytes of a line.
const LINE: usize = 100;

/// Every figure with an agent of its own.
pub(crate) fn memory() -> Result<()> {
    idle_and_busy()?;
    printing("one job prints 1 GB", 1, MUCH, 0)?;
    printing("40 jobs print 1 MB/s each", JOBS, EACH, SECONDS)
}

fn idle_and_busy() -> Result<()> {
    let site = Site::new()?;
    let gate = site.pipe("gate")?;
    let gate_opener = std::fs::OpenOptions::new().read(true).write(true).open(&gate)?;
    site.script("wait.sh", &format!("read line < {}", gate.display()))?;
    let sink = Sink::start()?;
    let daemon = Daemon::start(&site, &Endpoint::from(&sink), 0, None)?;
    let idle = proc::memory(daemon.pid)?;
    for job in 0..SLEEPERS {
        daemon.submit(&format!("job{job:03}"), "wait.sh", &[])?;
    }
    // With the first heartbeat of each job made, which comes within a second, nothing more happens soon.
    daemon.wait("busy with all", |status| status.running == SLEEPERS)?;
    sink.wait("heartbeats", |seen| (seen.calls("SendTaskHeartbeat") >= SLEEPERS).then_some(()))?;
    let busy = proc::memory(daemon.pid)?;
    let supervisors = proc::children(daemon.pid, "rsqlflow-supervisor");
    ensure!(supervisors.len() == SLEEPERS, "{} supervisors run", supervisors.len());
    let mut each = proc::Memory::default();
    for pid in supervisors {
        let one = proc::memory(pid)?;
        each.rss += one.rss / SLEEPERS as f64;
        each.pss += one.pss / SLEEPERS as f64;
        each.private += one.private / SLEEPERS as f64;
        each.anonymous += one.anonymous / SLEEPERS as f64;
    }
    std::io::Write::write_all(&mut &gate_opener, &[b'\n'; SLEEPERS])?;
    sink.wait("callbacks", |seen| (seen.callbacks.len() == SLEEPERS).then_some(()))?;
    daemon.settled()?;
    let after = proc::memory(daemon.pid)?;
    daemon.stop(Signal::TERM)?;
    let grown = (busy.pss - idle.pss) / SLEEPERS as f64;
    println!(
        "{}",
        json!({
            "bench": "memory", "process": "rsqlflow-agent", "idle_mib": idle.rss, "idle": mib(idle),
            "after_100_jobs": mib(after),
        })
    );
    println!(
        "{}",
        json!({
            "bench": "memory", "process": "rsqlflow-agent", "what": "per running job, supervisor included",
            "jobs": SLEEPERS, "mib_per_job": round(grown + each.pss), "daemon_mib_per_job": round(grown),
            "supervisor": mib(each), "daemon": mib(busy),
        })
    );
    Ok(())
}

/// Peak of the daemon while `jobs` print `bytes` each, and what is left after.
fn printing(what: &str, jobs: usize, bytes: usize, seconds: usize) -> Result<()> {
    let site = Site::new()?;
    site.printer("print.sh")?;
    let sink = Sink::start()?;
    let daemon = Daemon::start(&site, &Endpoint::from(&sink), 0, None)?;
    proc::forget_peak(daemon.pid)?;
    let cpu = proc::cpu_seconds(daemon.pid)?;
    let arguments = [bytes.to_string(), LINE.to_string(), seconds.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let start = std::time::Instant::now();
    for job in 0..jobs {
        daemon.submit(&format!("job{job:02}"), "print.sh", &arguments)?;
    }
    sink.wait("callbacks", |seen| (seen.callbacks.len() == jobs).then_some(()))?;
    let called = start.elapsed();
    daemon.settled()?;
    let took = start.elapsed();
    let peak = proc::peak(daemon.pid)?;
    let cpu = proc::cpu_seconds(daemon.pid)? - cpu;
    let after = proc::memory(daemon.pid)?;
    daemon.stop(Signal::TERM)?;
    let seen = sink.take();
    ensure!(seen.events == jobs * bytes / LINE, "{} events came", seen.events);
    println!(
        "{}",
        json!({
            "bench": "memory", "process": "rsqlflow-agent", "what": what, "peak_mib": peak, "after": mib(after),
            "called_back_seconds": seconds_of(called), "shipped_seconds": seconds_of(took), "cpu_seconds": round(cpu),
            "lag_ms": crate::figures::Times::from(seen.lags).milliseconds(),
        })
    );
    Ok(())
}

fn seconds_of(time: Duration) -> f64 {
    round(time.as_secs_f64())
}

fn mib(memory: proc::Memory) -> Value {
    let proc::Memory { rss, pss, private, anonymous } = memory;
    json!({
        "rss_mib": round(rss), "pss_mib": round(pss), "private_mib": round(private), "anonymous_mib": round(anonymous),
    })
}
