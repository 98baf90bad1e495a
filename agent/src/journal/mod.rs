//! The journal: what the agent must still know after any end of its process or its host.
//!
//! Two writes of a job's life are flushed to disk before anyone hears of them: that it was accepted, and how it ended.
//! Everything between and after (that an attempt started, what has been reported) survives the end of the process without
//! a flush; after a power cut it may be forgotten, and is then done again. How far logs are shipped is in files of marks
//! beside them.
//!
//! The journal holds tokens, so its file is readable by its owner only, and a job's request is forgotten once the job
//! is settled. The key stays, so that a command delivered twice is known for what it is.

mod rows;
mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rsqlflow_config::job::JobRequest;
use rusqlite::{Connection, params};

pub(crate) use rows::Row;
pub(crate) use writer::{JournalError, Need};

use crate::logs::mark::LogMark;
use crate::outcome::{AttemptEnd, Outcome};
use writer::Writer;

/// How far a log is shipped is in a file beside it; the columns `log_...` hold what earlier versions of the agent wrote.
/// There is no index: what one says may differ from its table, and SQLite's quick check does not look.
const SCHEMA: &str = "
create table if not exists jobs (
    job_id text primary key,
    workflow_execution_id text not null,
    job_name text not null,
    ssm_command_id text,
    accepted_at text not null,
    boot_id text not null,
    request text,
    outcome text,
    callback_done integer not null default 0,
    audit_done integer not null default 0,
    logs_done integer not null default 0,
    settled_at text
) without rowid;
drop index if exists unsettled;
create table if not exists attempts (
    job_id text not null,
    attempt integer not null,
    started_at text not null,
    ended text,
    log_position integer not null default 0,
    log_last_at integer not null default 0,
    log_sending_to integer,
    log_sending_at integer,
    primary key (job_id, attempt)
) without rowid;
";

/// Version of the schema. A journal of an earlier one does not exist; one of a later is not touched.
pub const VERSION: u32 = 1;

/// How the names begin of journals that were moved aside.
pub(crate) const ASIDE: &str = "journal.db.corrupt-";

/// The journal's file and those that belong to it.
fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", path.display()).into())
}

/// Moves a journal aside, with the files that belong to it; answers its new name.
pub(crate) fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let at = chrono::Utc::now().format("%Y%m%dT%H%M%S%3f");
    let renamed = |suffix: &str| path.with_file_name(format!("{ASIDE}{at}{suffix}"));
    for (file, suffix) in files(path).iter().zip(["", "-wal", "-shm"]) {
        match std::fs::rename(file, renamed(suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(renamed(""))
}

/// One thing that is told about an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Callback,
    Audit,
    Logs,
}

impl Entry {
    /// Its name for operators and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Audit => "audit",
            Self::Logs => "logs",
        }
    }
}

/// A job as the journal knows it.
#[derive(Debug, Clone)]
pub(crate) struct StoredJob {
    pub job_id: String,
    pub request: JobRequest,
    pub ssm_command_id: Option<String>,
    pub accepted_at: String,
    /// The boot of the host that it was accepted in.
    pub boot_id: String,
    pub attempts: Vec<StoredAttempt>,
    pub outcome: Option<Outcome>,
    pub callback_done: bool,
    pub audit_done: bool,
    pub logs_done: bool,
}

/// An attempt whose process started.
#[derive(Debug, Clone)]
pub(crate) struct StoredAttempt {
    pub attempt: u32,
    pub started_at: String,
    pub ended: Option<AttemptEnd>,
    pub log: LogMark,
}

/// The journal's handle.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    writer: Writer,
}

impl Journal {
    /// Opens or creates the journal, readable by its owner only.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        use std::os::unix::fs::OpenOptionsExt;
        for file in files(path) {
            if std::fs::metadata(&file).is_ok_and(|data| !data.is_file()) {
                return Err(JournalError::Corrupt(format!("{} is no file", file.display())));
            }
        }
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let connection = Connection::open(path)?;
        connection.busy_timeout(writer::BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Tokens that are forgotten are overwritten.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.set_prepared_statement_cache_capacity(32);
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err(JournalError::Newer { found: version, known: VERSION });
        }
        let checked: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if checked != "ok" {
            return Err(JournalError::Corrupt(checked));
        }
        connection.execute_batch(SCHEMA)?;
        rows::check(&connection).map_err(|error| JournalError::Corrupt(error.to_string()))?;
        connection.pragma_update(None, "user_version", VERSION)?;
        Ok(Self { writer: Writer::start(connection, files(path))? })
    }

    /// Flushed transactions, and all of them: what benchmarks count.
    pub(crate) fn commits(&self) -> (u64, u64) {
        self.writer.commits()
    }

    /// Durable. False when the job is known already.
    pub(crate) async fn accept(&self, job: &StoredJob) -> Result<bool, JournalError> {
        let request = serde_json::to_string(&job.request).map_err(JournalError::Encoding)?;
        let job = job.clone();
        self.writer
            .write(Need::Durable, move |tx| {
                let added = tx
                    .prepare_cached(
                        "insert into jobs (job_id, workflow_execution_id, job_name, ssm_command_id, accepted_at, \
                         boot_id, request) values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict do nothing",
                    )?
                    .execute(params![
                        job.job_id,
                        job.request.workflow_execution_id,
                        job.request.job_name,
                        job.ssm_command_id,
                        job.accepted_at,
                        job.boot_id,
                        request
                    ])?;
                Ok(added == 1)
            })
            .await
    }

    /// Relaxed, not waited for.
    pub(crate) fn started(&self, job_id: &str, attempt: u32, at: String) {
        let job_id = job_id.to_owned();
        self.writer.tell(move |tx| {
            tx.prepare_cached(
                "insert into attempts (job_id, attempt, started_at) values (?1, ?2, ?3) \
                 on conflict (job_id, attempt) do update set started_at = ?3",
            )?
            .execute(params![job_id, attempt, at])
        });
    }

    /// Durable: the job belongs to this boot of the host from now on.
    pub(crate) async fn booted(&self, job_id: &str, boot_id: String) -> Result<(), JournalError> {
        let job_id = job_id.to_owned();
        self.writer
            .write(Need::Durable, move |tx| {
                tx.prepare_cached("update jobs set boot_id = ?2 where job_id = ?1")?
                    .execute(params![job_id, boot_id])?;
                Ok(())
            })
            .await
    }

    /// Relaxed, not waited for.
    pub(crate) fn attempt_ended(&self, job_id: &str, attempt: u32, end: &AttemptEnd) {
        let (job_id, end) = (job_id.to_owned(), json(end));
        self.writer.tell(move |tx| {
            tx.prepare_cached("update attempts set ended = ?3 where job_id = ?1 and attempt = ?2")?
                .execute(params![job_id, attempt, end])
        });
    }

    /// Durable. An outcome that is there stays.
    pub(crate) async fn outcome(&self, job_id: &str, outcome: &Outcome) -> Result<(), JournalError> {
        let (job_id, attempt, end) = (job_id.to_owned(), outcome.attempt, json(&outcome.end));
        let outcome = json(outcome);
        self.writer
            .write(Need::Durable, move |tx| {
                tx.prepare_cached("update jobs set outcome = ?2 where job_id = ?1 and outcome is null")?
                    .execute(params![job_id, outcome])?;
                tx.prepare_cached(
                    "update attempts set ended = ?3 where job_id = ?1 and attempt = ?2 and ended is null",
                )?
                .execute(params![job_id, attempt, end])?;
                Ok(())
            })
            .await
    }

    /// Relaxed. With the last entry the job is settled and its request forgotten.
    pub(crate) async fn acknowledged(&self, job_id: &str, entry: Entry) -> Result<(), JournalError> {
        let (job_id, forgets) = (job_id.to_owned(), self.writer.forgets());
        let write = self.writer.write(Need::Relaxed, move |tx| {
            tx.prepare_cached(
                "update jobs set callback_done = callback_done or ?2, audit_done = audit_done or ?3, \
                 logs_done = logs_done or ?4 where job_id = ?1",
            )?
            .execute(params![
                job_id,
                entry == Entry::Callback,
                entry == Entry::Audit,
                entry == Entry::Logs
            ])?;
            let settled = tx
                .prepare_cached(
                    "update jobs set settled_at = ?2, request = null \
                     where job_id = ?1 and callback_done and audit_done and logs_done",
                )?
                .execute(params![job_id, rsqlflow_config::time::now()])?;
            if settled > 0 {
                forgets.note();
            }
            Ok(())
        });
        write.await
    }

    /// Ready once the journal takes nothing any more, with the reason: only a start can repair it.
    pub(crate) async fn failed(&self) -> &'static str {
        self.writer.ended().await
    }

    /// Whether it has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.writer.has_failed()
    }

    /// Leaves nothing in its files that was forgotten. Answers once that is done, or could not be.
    pub(crate) async fn scrub(&self) {
        self.writer.scrub().await;
    }

    /// Answers once everything told so far is written.
    pub(crate) async fn settle(&self) -> Result<(), JournalError> {
        self.writer.write(Need::Relaxed, |_| Ok(())).await
    }

    /// Every job that is not settled, oldest first, where its row can be read.
    pub(crate) async fn unsettled(&self) -> Result<Vec<StoredJob>, JournalError> {
        let rows = self.rows().await?;
        Ok(rows.into_iter().filter_map(|row| row.job(None).ok()).collect())
    }

    /// The rows of jobs that are not settled, oldest first, as far as they can be read.
    pub(crate) async fn rows(&self) -> Result<Vec<Row>, JournalError> {
        self.writer.write(Need::Relaxed, rows::unsettled).await
    }

    /// Durable: what could not be read of a job's row is replaced.
    pub(crate) async fn repair(&self, job: &StoredJob) -> Result<(), JournalError> {
        let job = job.clone();
        self.writer.write(Need::Durable, move |tx| rows::rewrite(tx, &job)).await
    }

    /// Relaxed: nothing is left to be told of these jobs, which the journal need not know. Their commands are known for
    /// what they are should they be delivered again.
    pub(crate) async fn close(&self, job_ids: Vec<String>) -> Result<(), JournalError> {
        let forgets = self.writer.forgets();
        let write = self.writer.write(Need::Relaxed, move |tx| {
            for job_id in job_ids {
                tx.prepare_cached(
                    "insert into jobs (job_id, workflow_execution_id, job_name, accepted_at, boot_id, settled_at) \
                     values (?1, '', '', ?2, '', ?2) on conflict do update set settled_at = ?2, request = null",
                )?
                .execute(params![job_id, rsqlflow_config::time::now()])?;
            }
            forgets.note();
            Ok(())
        });
        write.await
    }

    /// The jobs that are settled, the one settled first first.
    pub(crate) async fn settled(&self) -> Result<Vec<String>, JournalError> {
        self.writer
            .write(Need::Relaxed, |tx| {
                tx.prepare("select job_id from jobs where settled_at is not null order by settled_at")?
                    .query_map([], |row| row.get(0))?
                    .collect()
            })
            .await
    }

    /// Every job that is known, settled or not.
    pub(crate) async fn known(&self) -> Result<HashSet<String>, JournalError> {
        let read = |tx: &Connection| {
            tx.prepare("select job_id from jobs")?.query_map([], |row| row.get(0))?.collect()
        };
        self.writer.write(Need::Relaxed, read).await
    }

    /// Forgets jobs that were settled before `before`; answers their ids.
    pub(crate) async fn prune(&self, before: String) -> Result<Vec<String>, JournalError> {
        self.writer
            .write(Need::Relaxed, move |tx| {
                let gone = tx
                    .prepare("delete from jobs where settled_at < ?1 returning job_id")?
                    .query_map([&before], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<String>>>()?;
                for job_id in &gone {
                    tx.prepare_cached("delete from attempts where job_id = ?1")?.execute([job_id])?;
                }
                Ok(gone)
            })
            .await
    }
}

fn json(value: &impl serde::Serialize) -> String {
    // Plain structs with strings and numbers always serialize.
    serde_json::to_string(value).unwrap_or_default()
}
