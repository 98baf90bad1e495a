//! One thread owns the journal's connection and turns whatever is waiting into one transaction.
//!
//! A flush costs milliseconds and everything else microseconds, so jobs that are accepted or end together share one.
//! A transaction is flushed when anything in it asked for that ([`Need::Durable`]); the rest rides along.
//!
//! Each failure is told to whoever asked, who knows what to do about it. Only where the file itself turns out not to be
//! sound does the thread end: what it would write could not be read again, and the next start repairs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

/// Why the journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("the journal's file cannot be opened")]
    Io(#[from] std::io::Error),
    #[error("the journal's database failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error(
        "it was written by a newer version of the agent (schema {found}, this one knows {known}): install that version"
    )]
    Newer { found: u32, known: u32 },
    #[error("the journal's database is corrupt: {0}")]
    Corrupt(String),
    #[error("the journal could not commit: {0}")]
    Commit(String),
    #[error("the journal is closed")]
    Closed,
    #[error("a job cannot be written as JSON")]
    Encoding(#[source] serde_json::Error),
}

impl JournalError {
    /// Whether the file is not a sound database, whatever was asked of it.
    pub(crate) fn is_corruption(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Corrupt(_) => true,
            Self::Sqlite(error) => matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)),
            _ => false,
        }
    }
}

/// How safe a write must be before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// From the end of this process.
    Relaxed,
    /// From a power cut.
    Durable,
}

/// What runs once the transaction is committed, or lost.
type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;

/// A transaction, or why there is none.
type Transaction<'a> = Result<&'a Connection, &'a str>;

struct Write {
    need: Need,
    work: Box<dyn FnOnce(Transaction<'_>) -> Answer + Send>,
}

/// Most writes of one transaction, so that the first never waits long for the last.
const BATCH: usize = 512;

#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Write>,
    flushed: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
    /// Set where a write found the file unsound.
    unsound: Arc<AtomicBool>,
    /// Its other end goes with the thread.
    runs: watch::Receiver<()>,
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> Result<Self, JournalError> {
        let (queue, waiting) = mpsc::channel();
        let (flushed, all) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let unsound = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            connection,
            mode: None,
            flushed: Arc::clone(&flushed),
            all: Arc::clone(&all),
            unsound: Arc::clone(&unsound),
        };
        let (alive, runs) = watch::channel(());
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            thread.run(&waiting);
            drop(alive);
        })?;
        Ok(Self { queue, flushed, all, unsound, runs })
    }

    /// Ready once the thread has ended.
    pub(crate) async fn ended(&self) {
        let mut runs = self.runs.clone();
        while runs.changed().await.is_ok() {}
    }

    pub(crate) fn commits(&self) -> (u64, u64) {
        (self.flushed.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }

    /// Runs `work` in a transaction and answers once it is as safe as needed.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        need: Need,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let unsound = Arc::clone(&self.unsound);
        let work = Box::new(move |tx: Transaction<'_>| -> Answer {
            let result = in_savepoint(tx, work).inspect_err(|error| note_corruption(error, &unsound));
            Box::new(move |committed: Result<(), String>| {
                let answer = committed.map_err(JournalError::Commit).and(result);
                // Whoever asked may have gone; the write stands.
                let _ = reply.send(answer);
            })
        });
        self.queue.send(Write { need, work }).map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Runs `work` in some later transaction; its failure is only logged, since what it says can be found out again.
    pub(crate) fn tell<T: 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) {
        let unsound = Arc::clone(&self.unsound);
        let work = Box::new(move |tx: Transaction<'_>| -> Answer {
            let result = in_savepoint(tx, work).inspect_err(|error| note_corruption(error, &unsound));
            let failed = result.err().map(|error| error.to_string());
            Box::new(move |committed: Result<(), String>| {
                if let Some(error) = failed.or(committed.err()) {
                    tracing::warn!(error, "a note in the journal was not written");
                }
            })
        });
        // A closed journal means that the process is ending.
        let _ = self.queue.send(Write { need: Need::Relaxed, work });
    }
}

fn note_corruption(error: &JournalError, unsound: &AtomicBool) {
    if error.is_corruption() {
        unsound.store(true, Ordering::Relaxed);
    }
}

/// One write's failure leaves the others of its transaction alone.
fn in_savepoint<T>(
    tx: Transaction<'_>,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, JournalError> {
    let tx = tx.map_err(|error| JournalError::Commit(error.to_owned()))?;
    tx.prepare_cached("savepoint one")?.execute([])?;
    let result = work(tx);
    if result.is_err() && !tx.is_autocommit() {
        tx.prepare_cached("rollback to one")?.execute([])?;
    }
    if !tx.is_autocommit() {
        tx.prepare_cached("release one")?.execute([])?;
    }
    Ok(result?)
}

struct Thread {
    connection: Connection,
    /// What the connection was last told of flushing.
    mode: Option<Need>,
    flushed: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
    unsound: Arc<AtomicBool>,
}

impl Thread {
    fn run(mut self, waiting: &mpsc::Receiver<Write>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            self.transact(batch);
            if self.unsound.load(Ordering::Relaxed) {
                tracing::error!(
                    "the journal's file is not sound; it takes nothing until the agent is started again"
                );
                return;
            }
        }
    }

    fn transact(&mut self, batch: Vec<Write>) {
        let need = batch.iter().map(|write| write.need).max().unwrap_or(Need::Durable);
        let mut answers = Vec::with_capacity(batch.len());
        let mut state = self.begin(need);
        for write in batch {
            answers.push((write.work)(state.as_ref().map(|()| &self.connection).map_err(String::as_str)));
            // Some failures, of the disk or of memory, end the whole transaction.
            if state.is_ok() && self.connection.is_autocommit() {
                state = Err("the transaction was rolled back".into());
            }
        }
        let committed = state.and_then(|()| self.commit());
        if committed.is_ok() {
            self.all.fetch_add(1, Ordering::Relaxed);
            if need == Need::Durable {
                self.flushed.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            // Ends the transaction if the failure left it open; there may be none.
            let _ = self.connection.execute_batch("rollback");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }

    fn begin(&mut self, need: Need) -> Result<(), String> {
        let begun = (|| {
            if self.mode != Some(need) {
                // <https://sqlite.org/pragma.html#pragma_synchronous>: in WAL mode FULL flushes every commit, NORMAL
                // only checkpoints. It can be changed only between transactions.
                self.mode = None;
                let mode = if need == Need::Durable { "FULL" } else { "NORMAL" };
                self.connection.pragma_update(None, "synchronous", mode)?;
                self.mode = Some(need);
            }
            self.connection.prepare_cached("begin immediate")?.execute([])?;
            Ok(())
        })();
        begun.map_err(|error| self.told(error))
    }

    fn commit(&self) -> Result<(), String> {
        let committed = self.connection.prepare_cached("commit").and_then(|mut commit| commit.execute([]));
        committed.map(|_| ()).map_err(|error| self.told(error))
    }

    fn told(&self, error: rusqlite::Error) -> String {
        let error = JournalError::from(error);
        note_corruption(&error, &self.unsound);
        crate::socket::sources(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(path: &std::path::Path) -> Writer {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("create table if not exists t (n integer)").unwrap();
        Writer::start(connection).unwrap()
    }

    #[tokio::test]
    async fn a_journal_that_is_found_unsound_takes_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(&dir.path().join("journal.db"));
        let corrupt = || {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            rusqlite::Error::SqliteFailure(code, None)
        };
        let told = writer.write::<()>(Need::Relaxed, move |_| Err(corrupt())).await;
        assert!(told.unwrap_err().is_corruption());
        writer.ended().await;
        let closed = writer.write(Need::Relaxed, |_| Ok(())).await;
        assert!(matches!(closed, Err(JournalError::Closed)));
    }

    #[tokio::test]
    async fn a_transaction_that_cannot_begin_is_told_to_everybody_and_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let writer = writer(&path);
        let other = Connection::open(&path).unwrap();
        other.execute_batch("begin exclusive").unwrap();
        let add = |tx: &Connection| tx.execute("insert into t values (1)", []);
        let told = writer.write(Need::Durable, add).await;
        assert!(matches!(told, Err(JournalError::Commit(_))), "{told:?}");
        other.execute_batch("rollback").unwrap();
        assert_eq!(writer.write(Need::Durable, add).await.unwrap(), 1);
        let count = |tx: &Connection| tx.query_row("select count(*) from t", [], |row| row.get::<_, u32>(0));
        assert_eq!(writer.write(Need::Relaxed, count).await.unwrap(), 1);
    }
}
