//! `jobs`: what the agent has in hand.

use std::io::IsTerminal;

use anyhow::Context;
use chrono::{DateTime, Utc};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use rsqlflow_agent::JobInfo;
use rsqlflow_agent::protocol::{Reply, Request};
use rsqlflow_config::visible;

use super::{Cli, Failure, ask, print, print_as_is, tell, unexpected};

/// So much of an id is shown; more than is needed to tell the jobs of a host apart.
const ID_SHOWN: usize = 12;

pub(crate) fn jobs(cli: &Cli, json: bool) -> Result<(), Failure> {
    let jobs = list(cli)?;
    if json {
        let text = serde_json::to_string_pretty(&jobs)
            .context("the jobs cannot be written as JSON")
            .map_err(Failure::Unreached)?;
        return print_as_is(&format!("{}\n", visible::json(&text)));
    }
    let terminal = std::io::stdout().is_terminal();
    if jobs.is_empty() && terminal {
        tell("no jobs");
        return Ok(());
    }
    print(&table(&jobs, Utc::now(), terminal))
}

pub(super) fn list(cli: &Cli) -> Result<Vec<JobInfo>, Failure> {
    match ask(cli, &Request::Jobs {})? {
        Reply::Jobs(jobs) => Ok(jobs),
        _ => Err(unexpected()),
    }
}

/// On a terminal long cells are wrapped to its width; in a pipe every job is one line.
fn table(jobs: &[JobInfo], now: DateTime<Utc>, terminal: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.force_no_tty();
    table.set_content_arrangement(ContentArrangement::Disabled);
    if terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = columns() {
            table.set_width(width);
        }
    }
    let some_wait = jobs.iter().any(|job| job.waits_for.is_some());
    let mut heading = vec!["STATE", "SINCE", "FOR", "ATTEMPT", "PID", "POOL", "RUN/JOB", "ID"];
    if some_wait {
        heading.push("WAITS FOR");
    }
    table.set_header(heading);
    for job in jobs {
        let shown = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let mut row = vec![
            job.state.clone(),
            to_the_second(&job.since),
            age(&job.since, now),
            job.attempt.to_string(),
            shown(job.pid.map(|pid| pid.to_string())),
            shown(job.pool.clone()),
            visible::shown_on_a_line(&format!("{}/{}", job.workflow_execution_id, job.job_name)),
            job.job_id.chars().take(ID_SHOWN).collect(),
        ];
        if some_wait {
            row.push(shown(job.waits_for.clone()));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Width of the terminal; `force_no_tty`, which keeps styles out, also keeps the table from asking.
fn columns() -> Option<u16> {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col).filter(|width| *width > 0)
}

/// A record's time without its fraction.
fn to_the_second(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// The two largest units of the time since then.
fn age(since: &str, now: DateTime<Utc>) -> String {
    let Ok(since) = DateTime::parse_from_rfc3339(since) else { return "-".into() };
    let seconds = (now - since.to_utc()).num_seconds().max(0);
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(units.len() - 1);
    let mut left = seconds;
    let mut text = String::new();
    for (name, length) in units.iter().skip(first).take(2) {
        text.push_str(&format!("{}{name}", left / length));
        left %= length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, state: &str, since: &str) -> JobInfo {
        JobInfo {
            job_id: format!("{id}0123456789abcdef"),
            workflow_execution_id: "nightly-7".into(),
            job_name: format!("load_{id}.sh"),
            accepted_at: "2026-11-21T00:00:00.000Z".into(),
            attempt: 1,
            pid: (state == "running").then_some(4711),
            state: state.into(),
            since: since.into(),
            pool: Some("etl".into()),
            waits_for: None,
        }
    }

    #[test]
    fn jobs_are_a_table() {
        let now = "2026-11-21T03:00:05Z".parse().unwrap();
        let queued = JobInfo {
            attempt: 0,
            pool: None,
            waits_for: Some("a place in pool etl (4 of 4 taken)".into()),
            ..job("c", "queued", "2026-11-21T02:59:59.000Z")
        };
        let jobs = [
            job("a", "running", "2026-11-21T00:58:00.120Z"),
            job("b", "reporting", "2026-11-20T02:59:00.000Z"),
            queued,
        ];
        let both = [table(&jobs, now, false), table(&jobs[..2], now, false), table(&[], now, false)];
        insta::assert_snapshot!(both.join("\n"));
    }

    #[test]
    fn ages_keep_two_units() {
        let now = "2026-11-21T03:00:00Z".parse().unwrap();
        let of = |since| age(since, now);
        assert_eq!(of("2026-11-21T03:00:09Z"), "0s", "clocks that were set back");
        assert_eq!(of("2026-11-21T02:59:01.5Z"), "58s");
        assert_eq!(of("2026-11-21T02:00:00Z"), "1h0m");
        assert_eq!(of("2026-11-18T01:59:59Z"), "3d1h");
        assert_eq!(of(""), "-");
    }
}
