//! What must hold after a night, of every job and of the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rsqlflow_tests::daemon::Daemon;
use rsqlflow_tests::endpoint::Endpoint;
use rsqlflow_tests::proxy::callbacks::Book;
use rsqlflow_tests::site::Site;
use rsqlflow_tests::up::Up;
use rsqlflow_tests::wait_for;
use serde_json::Value;

use super::night::Job;

/// How a remark of the agent on the host's clock begins.
const OF_THE_CLOCK: &str = "[rsqlflow: CloudWatch Logs does not take the times of this host's clock";

/// Of the run and each of its jobs: one start of each attempt, one record with the true exit code, one accepted
/// callback, and the logs complete, in order and once.
pub(super) fn of_run(site: &Site, endpoint: &Endpoint, id: &str, jobs: &[Job], book: &Book) {
    let status = site.status(id);
    assert_eq!(status["execution_status"], "failed", "{status}");
    let failing: Vec<&Job> = jobs.iter().filter(|job| !job.completes()).collect();
    let message = status["error_message"].as_str().unwrap_or_default();
    let named = |job: &&Job| message.contains(&job.name);
    assert!(failing.iter().all(named), "a failed job is not named: {message}");

    let mut wrong = Vec::new();
    let mut check = |job: &Job, what: &str, found: String, expected: String| {
        if found != expected {
            wrong.push(format!("{}: {what}: found {found}, expected {expected}", job.name));
        }
    };
    let mut records: BTreeMap<&str, &Value> = BTreeMap::new();
    for record in status["jobs"].as_array().unwrap() {
        let before = records.insert(record["job_name"].as_str().unwrap(), record);
        assert!(before.is_none(), "two records of one job: {record}");
    }
    assert_eq!(records.len(), jobs.len(), "{:?}", records.keys());
    let accepted = book.accepted_by_job();
    assert_eq!(accepted.len(), jobs.len(), "callbacks: {accepted:?}");
    assert!(!book.any_token_twice(), "a task token was accepted twice");

    for job in jobs {
        let (record, attempts) = (records[job.name.as_str()], job.attempts());
        let last = attempts.last().unwrap();
        let ended = if job.completes() { "completed" } else { "failed" };
        check(job, "status", record["execution_status"].to_string(), format!("\"{ended}\""));
        check(job, "exit code", record["exit_code"].to_string(), last.code.to_string());
        check(job, "last attempt", record["attempt"].to_string(), last.number.to_string());
        check(
            job,
            "accepted callbacks",
            accepted.get(&job.name).copied().unwrap_or(0).to_string(),
            "1".into(),
        );
        let error = if job.completes() { vec![] } else { vec!["Rsql.ExitCode".to_owned()] };
        check(job, "error codes", format!("{:?}", book.errors(&job.name)), format!("{error:?}"));
        let earlier: Vec<_> = attempts.iter().rev().skip(1).rev().map(|one| (one.number, one.code)).collect();
        let recorded: Vec<_> = record["attempts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| (one["attempt"].as_u64().unwrap_or(0), one["exit_code"].as_u64().unwrap_or(999)))
            .collect();
        check(job, "earlier attempts", format!("{recorded:?}"), format!("{earlier:?}"));

        for attempt in &attempts {
            let starts = site.lines(&format!("scripts/starts/{}.{}", job.name, attempt.number)).len();
            check(job, &format!("starts of attempt {}", attempt.number), starts.to_string(), "1".into());
            let stream = format!("{id}/{}/{}", job.name, attempt.number);
            let mut shipped = endpoint.log_stream(&stream).unwrap_or_default();
            // Where the clock was set, the agent says so between the lines.
            shipped.retain(|line| !line.starts_with(OF_THE_CLOCK));
            check(
                job,
                &format!("log of attempt {}", attempt.number),
                differs(&shipped, &attempt.output),
                String::new(),
            );
        }
        let next = attempts.len() + 1;
        let starts = site.lines(&format!("scripts/starts/{}.{next}", job.name)).len();
        check(job, "attempts too many", starts.to_string(), "0".into());
    }
    assert!(wrong.is_empty(), "{id}:\n{}", wrong.join("\n"));
}

/// Where two texts part, in words; nothing where they do not.
fn differs(shipped: &[String], printed: &[String]) -> String {
    if shipped == printed {
        return String::new();
    }
    let at = shipped.iter().zip(printed).take_while(|(a, b)| a == b).count();
    format!(
        "{} events of {} lines, the first difference at {at}: {:?} instead of {:?}",
        shipped.len(),
        printed.len(),
        shipped.get(at),
        printed.get(at)
    )
}

/// Of the machine: no process of a job is left, no log tells a token or a panic.
pub(super) fn of_places(site: &Site, up: &Up<'_>, daemon: &Daemon<'_>, book: &Book) {
    let left = site.processes(&[up.pid(), daemon.pid()]);
    assert!(left.is_empty(), "processes are left: {left:?}");
    for (whose, log) in [("the daemon", daemon.log()), ("up", up.log())] {
        assert!(!log.contains("panicked"), "{whose} panicked:\n{log}");
        assert!(!book.tokens().is_empty(), "the test must know the tokens that it looks for");
        assert!(!book.tokens().iter().any(|token| log.contains(token)), "{whose} logs a task token");
    }
}

/// Of the daemon's directory: nothing of it holds a task token once every job is settled. Journals that were moved aside
/// are kept as they were.
pub(super) fn of_the_disk(data_dir: &Path, book: &Book) {
    wait_for("tokens of settled jobs to leave the disk", || holding(data_dir, book).is_empty().then_some(()));
}

fn holding(directory: &Path, book: &Book) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("journal.db.corrupt-") {
            continue;
        }
        if entry.path().is_dir() {
            found.extend(holding(&entry.path(), book));
            continue;
        }
        // Files come and go while the daemon works.
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if book.tokens().iter().any(|token| text.contains(token.as_str())) {
            found.push(entry.path());
        }
    }
    found
}
