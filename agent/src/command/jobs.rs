//! `jobs`: what the agent has in hand.

use anyhow::Context;
use rsqlflow_agent::protocol::{Reply, Request};

use super::{Cli, Failure, ask, print, unexpected};

pub(crate) fn jobs(cli: &Cli, json: bool) -> Result<(), Failure> {
    let Reply::Jobs(jobs) = ask(cli, &Request::Jobs {})? else { return Err(unexpected()) };
    if json {
        let text = serde_json::to_string_pretty(&jobs)
            .context("the jobs cannot be written as JSON")
            .map_err(Failure::Unreached)?;
        return print(&format!("{text}\n"));
    }
    let mut text = format!("{:<10} {:<8} {:<8} {:<25} RUN/JOB\n", "STATE", "ATTEMPT", "PID", "ACCEPTED");
    for job in jobs {
        let pid = job.pid.map(|pid| pid.to_string()).unwrap_or_default();
        text.push_str(&format!(
            "{:<10} {:<8} {:<8} {:<25} {}/{}\n",
            job.state, job.attempt, pid, job.accepted_at, job.workflow_execution_id, job.job_name
        ));
    }
    print(&text)
}
