//! `drain` and `undrain`: whether the agent takes jobs.
//!
//! Who waits for the last job waits for as long as that takes, restarts and upgrades of the agent included: a drain lasts
//! through them.

use std::time::{Duration, Instant};

use rsqlflow_agent::JobInfo;
use rsqlflow_agent::client;
use rsqlflow_agent::protocol::{AgentStatus, Reply, Request};

use super::{Cli, Failure, ask, ask_patiently, print, tell, unexpected};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// So many jobs that are waited for are named.
const NAMED: usize = 5;

pub(crate) fn drain(cli: &Cli, wait: bool, timeout: Option<Duration>) -> Result<(), Failure> {
    let began = Instant::now();
    let status = set(cli, true)?;
    print("drained: the host takes no jobs until `rsqlflow-agent undrain`\n")?;
    if !wait {
        let left = status.running + status.queued + status.reporting;
        if left > 0 {
            let jobs = if left == 1 { "job" } else { "jobs" };
            print(&format!("still in hand: {left} {jobs}; `rsqlflow-agent jobs` lists them\n"))?;
        }
        return Ok(());
    }
    let mut said = String::new();
    loop {
        let Some(left) = left(&jobs(cli)?) else { break };
        if !status_now(cli)?.drained {
            return Err(Failure::Refused("somebody has undrained the host meanwhile".into()));
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            return Err(Failure::Refused(format!("not done in time: {left}; the host stays drained")));
        }
        if said != left {
            tell(&format!("waiting for {left}"));
            said = left;
        }
        std::thread::sleep(LOOK);
    }
    print("every job is done and reported\n")
}

pub(crate) fn undrain(cli: &Cli) -> Result<(), Failure> {
    set(cli, false)?;
    print("the host takes jobs\n")
}

fn set(cli: &Cli, drained: bool) -> Result<AgentStatus, Failure> {
    match ask(cli, &Request::Drain { drained })? {
        Reply::Status(status) => Ok(status),
        _ => Err(unexpected()),
    }
}

fn status_now(cli: &Cli) -> Result<AgentStatus, Failure> {
    match ask_patiently(cli, &Request::Status {}, client::SUBMIT_PATIENCE)? {
        Reply::Status(status) => Ok(status),
        _ => Err(unexpected()),
    }
}

fn jobs(cli: &Cli) -> Result<Vec<JobInfo>, Failure> {
    match ask_patiently(cli, &Request::Jobs {}, client::SUBMIT_PATIENCE)? {
        Reply::Jobs(jobs) => Ok(jobs),
        _ => Err(unexpected()),
    }
}

/// What is not done yet.
fn left(jobs: &[JobInfo]) -> Option<String> {
    if jobs.is_empty() {
        return None;
    }
    let named = jobs.iter().take(NAMED).map(|job| {
        let waits = job.waits_for.as_ref().map(|what| format!(": {what}")).unwrap_or_default();
        format!("{}/{} ({}{waits})", job.workflow_execution_id, job.job_name, job.state)
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    if jobs.len() > NAMED {
        text.push_str(&format!(" and {} more", jobs.len() - NAMED));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_waited_for_are_named() {
        let job = |name: &str, state: &str, waits_for: Option<&str>| JobInfo {
            job_id: name.into(),
            workflow_execution_id: "nightly-7".into(),
            job_name: name.into(),
            accepted_at: String::new(),
            attempt: 1,
            pid: None,
            state: state.into(),
            since: String::new(),
            pool: None,
            waits_for: waits_for.map(str::to_owned),
        };
        let mut jobs = vec![job("load", "running", None), job("copy", "reporting", Some("logs"))];
        let both = "nightly-7/load (running), nightly-7/copy (reporting: logs)";
        assert_eq!(left(&jobs).as_deref(), Some(both));
        jobs.extend((0..9).map(|_| job("more", "queued", None)));
        assert!(left(&jobs).unwrap().ends_with("(queued) and 6 more"));
        assert_eq!(left(&[]), None);
    }
}
