//! Rows of jobs that are not settled, as far as they can be read.
//!
//! A value that no agent wrote (a disk's fault, a hand's edit) costs that value and no other: the row is read without
//! it, says what was wrong, and [`Row::job`] puts in its place what the job's own file says. How attempts ended is left
//! to their run files. Only a row without a request, of a job without a file, is no job any more ([`Unreadable`]).

use rusqlite::types::FromSql;
use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;

use rsqlflow_config::job::JobRequest;

use super::{StoredAttempt, StoredJob, json};
use crate::logs::mark::{LogMark, Sending};
use crate::outcome::Outcome;
use crate::salvage::{self, Addressee};

const JOBS: &str = "select job_id, request, ssm_command_id, accepted_at, outcome, callback_done, audit_done, logs_done, \
                    boot_id from jobs where settled_at is null order by accepted_at";

const ATTEMPTS: &str = "select attempt, started_at, ended, log_position, log_last_at, log_sending_to, log_sending_at \
                        from attempts where job_id = ?1 order by attempt";

/// A row of a job that is not settled.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub job_id: String,
    request: Option<JobRequest>,
    /// The text that is no request.
    request_text: Option<String>,
    ssm_command_id: Option<String>,
    accepted_at: Option<String>,
    boot_id: Option<String>,
    outcome: Option<Outcome>,
    callback_done: bool,
    audit_done: bool,
    logs_done: bool,
    attempts: Vec<StoredAttempt>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// A row without a request, of a job without a file.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub job_id: String,
    /// Who waits for the job, as far as that can be made out.
    pub addressee: Option<Addressee>,
    /// What could not be read, and why.
    pub problems: String,
}

impl Row {
    /// The job; `file` is what its own file says of it.
    pub(crate) fn job(self, file: Option<StoredJob>) -> Result<StoredJob, Unreadable> {
        let Some(request) = self.request.or_else(|| file.as_ref().map(|file| file.request.clone())) else {
            let text = self.request_text.as_deref().unwrap_or_default();
            return Err(Unreadable {
                addressee: salvage::addressee_of(text, &self.job_id),
                job_id: self.job_id,
                problems: self.problems.join("; "),
            });
        };
        Ok(StoredJob {
            job_id: self.job_id,
            request,
            ssm_command_id: self
                .ssm_command_id
                .or_else(|| file.as_ref().and_then(|file| file.ssm_command_id.clone())),
            accepted_at: self
                .accepted_at
                .or_else(|| file.as_ref().map(|file| file.accepted_at.clone()))
                .unwrap_or_else(rsqlflow_config::time::now),
            // Of no boot that is known: its script is taken for one that may have run.
            boot_id: self
                .boot_id
                .or_else(|| file.as_ref().map(|file| file.boot_id.clone()))
                .unwrap_or_default(),
            attempts: self.attempts,
            outcome: self.outcome,
            callback_done: self.callback_done,
            audit_done: self.audit_done,
            logs_done: self.logs_done,
        })
    }

    /// A value; none, and a word about it, where it is of no such kind.
    fn take<T: FromSql + Default>(&mut self, row: &rusqlite::Row<'_>, column: &str) -> T {
        row.get(column).unwrap_or_else(|error| {
            self.problems.push(format!("{column}: {error}"));
            T::default()
        })
    }

    fn parse<T: DeserializeOwned>(&mut self, column: &str, text: &str) -> Option<T> {
        // The parser's words may quote the text, which holds a token; its place does not.
        serde_json::from_str(text)
            .map_err(|error| {
                let kind = format!("{:?}", error.classify()).to_lowercase();
                self.problems.push(format!("{column}: {kind} error at column {}", error.column()));
            })
            .ok()
    }
}

/// Whether the tables have what is read of them.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare(JOBS).and_then(|_| connection.prepare(ATTEMPTS)).map(|_| ())
}

/// All of them, oldest first.
pub(super) fn unsettled(tx: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut all =
        tx.prepare(JOBS)?.query_map([], |row| Ok(read(row)))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut attempts = tx.prepare(ATTEMPTS)?;
    for row in &mut all {
        let mut found = attempts.query([&row.job_id])?;
        while let Some(attempt) = found.next()? {
            read_attempt(row, attempt);
        }
    }
    Ok(all)
}

fn read(row: &rusqlite::Row<'_>) -> Row {
    let mut all = Row::default();
    all.job_id = all.take(row, "job_id");
    match all.take::<Option<String>>(row, "request") {
        Some(text) => {
            all.request = all.parse("request", &text);
            all.request_text = Some(text);
        }
        None => all.problems.push("request: there is none".into()),
    }
    all.ssm_command_id = all.take(row, "ssm_command_id");
    all.accepted_at = all.take(row, "accepted_at");
    all.boot_id = all.take(row, "boot_id");
    if let Some(text) = all.take::<Option<String>>(row, "outcome") {
        all.outcome = all.parse("outcome", &text);
    }
    all.callback_done = all.take(row, "callback_done");
    all.audit_done = all.take(row, "audit_done");
    all.logs_done = all.take(row, "logs_done");
    all
}

fn read_attempt(job: &mut Row, row: &rusqlite::Row<'_>) {
    // One without a number is known by its run file.
    let Some(attempt) = job.take::<Option<u32>>(row, "attempt") else { return };
    let started_at = job.take::<Option<String>>(row, "started_at").unwrap_or_else(rsqlflow_config::time::now);
    let ended = job.take::<Option<String>>(row, "ended").and_then(|text| job.parse("ended", &text));
    let position = job.take(row, "log_position");
    let last_at = job.take(row, "log_last_at");
    let sending = match (job.take(row, "log_sending_to"), job.take(row, "log_sending_at")) {
        (Some(to), Some(at)) => Some(Sending { to, at }),
        _ => None,
    };
    job.attempts.push(StoredAttempt {
        attempt,
        started_at,
        ended,
        log: LogMark { position, last_at, sending },
    });
}

/// Replaces what is there of a job by what is known of it.
pub(super) fn rewrite(tx: &Connection, job: &StoredJob) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "update jobs set request = ?2, ssm_command_id = ?3, accepted_at = ?4, boot_id = ?5, outcome = ?6, \
         callback_done = ?7, audit_done = ?8, logs_done = ?9 where job_id = ?1",
    )?
    .execute(params![
        job.job_id,
        json(&job.request),
        job.ssm_command_id,
        job.accepted_at,
        job.boot_id,
        job.outcome.as_ref().map(json),
        job.callback_done,
        job.audit_done,
        job.logs_done
    ])?;
    tx.prepare_cached("delete from attempts where job_id = ?1")?.execute([&job.job_id])?;
    for attempt in &job.attempts {
        tx.prepare_cached(
            "insert into attempts (job_id, attempt, started_at, ended) values (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            job.job_id,
            attempt.attempt,
            attempt.started_at,
            attempt.ended.as_ref().map(json)
        ])?;
    }
    Ok(())
}
