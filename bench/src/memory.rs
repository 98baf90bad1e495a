//! Start-up time and resident memory: of `rsqlflow up` idle and under load, of `rsqlflow-agent` alone.

mod agent;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::site::{Site, Up};
use crate::{ROUNDS, proc, round};

/// From exec to an endpoint that others find: with a new data directory, and with one that is there.
pub(crate) fn start() -> Result<()> {
    let (mut new, mut again) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let site = Site::new()?;
        for best in [&mut new, &mut again] {
            let up = Up::start(&site, None)?;
            *best = best.min(up.start_seconds);
            up.stop()?;
        }
    }
    println!("{}", json!({"bench": "start", "new_seconds": round(new), "again_seconds": round(again)}));
    Ok(())
}

/// Memory, idle and while 200 jobs at concurrency 16 run.
pub(crate) fn memory() -> Result<()> {
    let site = Site::new()?;
    site.workflow(200, 16)?;
    let up = Up::start(&site, None)?;
    let idle = proc::memory(up.pid())?.rss;
    let done = AtomicBool::new(false);
    let (peak, outcome) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak: f64 = 0.0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(proc::memory(up.pid()).map_or(0.0, |memory| memory.rss));
                std::thread::park_timeout(Duration::from_millis(5));
            }
            peak
        });
        let outcome = site.run(&up);
        done.store(true, Ordering::Relaxed);
        (watch.join().unwrap_or(0.0), outcome)
    });
    outcome?;
    println!(
        "{}",
        json!({"bench": "memory", "process": "rsqlflow up", "idle_mib": idle, "peak_mib": peak, "jobs": 200, "concurrency": 16})
    );
    up.stop()?;
    agent::memory()
}
