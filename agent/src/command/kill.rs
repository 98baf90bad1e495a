//! `kill`: which jobs are meant, whether they are really meant, and that they end.
//!
//! Every name is looked up before anything is ended, so a mistyped one ends nothing.

use std::io::{BufRead, IsTerminal, Write};

use rsqlflow_agent::JobInfo;
use rsqlflow_agent::protocol::{Reply, Request};

use super::{Cli, Failure, ask, jobs, print, unexpected};

pub(crate) fn kill(cli: &Cli, names: &[String], yes: bool) -> Result<(), Failure> {
    let listed = jobs::list(cli)?;
    let mut meant: Vec<&JobInfo> = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        match find(&listed, name) {
            Ok(job) if meant.iter().any(|known| known.job_id == job.job_id) => {}
            Ok(job) => meant.push(job),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Refused(problems.join("\n")));
    }
    if !yes && std::io::stdin().is_terminal() && !confirmed(&meant)? {
        return Err(Failure::Refused("nothing was ended".into()));
    }
    let mut refused = Vec::new();
    for job in meant {
        match ask(cli, &Request::Kill { job: job.job_id.clone() }) {
            Ok(Reply::Killing(job)) => print(&format!("{}\n", told(&job)))?,
            Ok(_) => return Err(unexpected()),
            // It may have ended by itself meanwhile; the others are still meant.
            Err(Failure::Refused(message)) => refused.push(message),
            Err(failure) => return Err(failure),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::Refused(refused.join("\n"))) }
}

/// The job that is meant: by its id, the beginning of its id, or RUN/JOB.
fn find<'a>(jobs: &'a [JobInfo], name: &str) -> Result<&'a JobInfo, String> {
    let exact = |job: &&JobInfo| job.job_id == name || full_name(job) == name;
    let prefix = |job: &&JobInfo| !name.is_empty() && job.job_id.starts_with(name);
    let mut found: Vec<&JobInfo> = jobs.iter().filter(exact).collect();
    if found.is_empty() {
        found = jobs.iter().filter(prefix).collect();
    }
    match found[..] {
        [job] => Ok(job),
        [] => Err(format!("no job {name}; `rsqlflow-agent jobs` lists them")),
        _ => {
            let ids: Vec<&str> = found.iter().map(|job| job.job_id.as_str()).collect();
            Err(format!("{name} may be any of {}; name one by its id", ids.join(", ")))
        }
    }
}

fn full_name(job: &JobInfo) -> String {
    format!("{}/{}", job.workflow_execution_id, job.job_name)
}

fn told(job: &JobInfo) -> String {
    let what = match (job.state.as_str(), job.pid) {
        ("running", Some(pid)) => format!("process {pid} and all it started are being ended"),
        ("running", None) => "its processes are being ended".into(),
        _ => "it will not start".into(),
    };
    format!("{}: {what} (attempt {}, job {})", full_name(job), job.attempt, job.job_id)
}

fn confirmed(jobs: &[&JobInfo]) -> Result<bool, Failure> {
    let mut text = String::new();
    for job in jobs {
        let pid = job.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        text.push_str(&format!("  {} ({}, attempt {}{pid})\n", full_name(job), job.state, job.attempt));
    }
    let mut answer = String::new();
    let text = rsqlflow_config::visible::shown(&text);
    write!(std::io::stderr(), "{text}End {}? [y/N] ", if jobs.len() == 1 { "it" } else { "them" })
        .and_then(|()| std::io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Failure::Usage(anyhow::Error::new(error).context("cannot ask; use --yes")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, name: &str) -> JobInfo {
        JobInfo {
            job_id: id.into(),
            workflow_execution_id: "run".into(),
            job_name: name.into(),
            accepted_at: String::new(),
            attempt: 1,
            pid: None,
            state: "running".into(),
            since: String::new(),
            pool: None,
            waits_for: None,
        }
    }

    #[test]
    fn a_job_has_several_names() {
        let jobs = [job("ab12", "one"), job("ab34", "two"), job("cd", "cd")];
        let found = |name| find(&jobs, name).map(|job| job.job_id.as_str());
        assert_eq!(found("ab12"), Ok("ab12"));
        assert_eq!(found("ab3"), Ok("ab34"));
        assert_eq!(found("run/two"), Ok("ab34"));
        assert_eq!(found("c"), Ok("cd"));
        for nobody in ["", "x", "two", "run/", "run/tw"] {
            assert!(found(nobody).unwrap_err().starts_with("no job "), "{nobody}");
        }
        assert_eq!(found("ab").unwrap_err(), "ab may be any of ab12, ab34; name one by its id");
    }

    #[test]
    fn what_was_done_is_told() {
        let running = JobInfo { pid: Some(7), ..job("ab12", "one") };
        let queued = JobInfo { state: "queued".into(), attempt: 0, ..job("ab34", "two") };
        assert_eq!(
            told(&running),
            "run/one: process 7 and all it started are being ended (attempt 1, job ab12)"
        );
        assert_eq!(told(&queued), "run/two: it will not start (attempt 0, job ab34)");
    }
}
