//! Start-up time and resident memory: of `rsqlflow up` idle and under load, of `rsqlflow-agent` alone.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::site::{Site, Up};
use crate::{ROUNDS, binary, resident, round};

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
    let idle = resident(up.pid())?;
    let done = AtomicBool::new(false);
    let (peak, outcome) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak: f64 = 0.0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(resident(up.pid()).unwrap_or(0.0));
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

    let endpoint: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(site.dir().join(".rsqlflow/endpoint.json"))?)?;
    let text = |name: &str| endpoint[name].as_str().map(str::to_string).with_context(|| format!("no {name}"));
    let socket = site.dir().join("agent/agent.sock");
    let mut agent = Command::new(binary("rsqlflow-agent")?)
        .args(["serve", "--data-dir"])
        .arg(site.dir().join("agent"))
        .current_dir(site.dir())
        .env("AWS_ENDPOINT_URL", text("url")?)
        .env("AWS_REGION", text("region")?)
        .env("AWS_ACCESS_KEY_ID", text("access_key_id")?)
        .env("AWS_SECRET_ACCESS_KEY", text("secret_access_key")?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    while !socket.exists() {
        ensure!(agent.try_wait()?.is_none(), "rsqlflow-agent ended");
        ensure!(start.elapsed() < Duration::from_secs(60), "rsqlflow-agent did not start");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    println!(
        "{}",
        json!({"bench": "memory", "process": "rsqlflow-agent", "idle_mib": resident(agent.id())?})
    );
    agent.kill()?;
    agent.wait()?;
    up.stop()
}
