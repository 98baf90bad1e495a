//! One thread owns the journal's connection and turns whatever is waiting into one transaction.
//!
//! A flush costs milliseconds and everything else microseconds, so jobs that are accepted or end together share one.
//! A transaction is flushed when anything in it asked for that ([`Need::Durable`]); the rest rides along.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use rusqlite::Connection;
use tokio::sync::oneshot;

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

struct Write {
    need: Need,
    work: Box<dyn FnOnce(&Connection) -> Answer + Send>,
}

/// Most writes of one transaction, so that the first never waits long for the last.
const BATCH: usize = 512;

#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Write>,
    flushed: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> Result<Self, JournalError> {
        let (queue, waiting) = mpsc::channel();
        let (flushed, all) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (Arc::clone(&flushed), Arc::clone(&all));
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(&connection, &waiting, &counters.0, &counters.1))?;
        Ok(Self { queue, flushed, all })
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
        let work = Box::new(move |tx: &Connection| -> Answer {
            let result = in_savepoint(tx, work);
            Box::new(move |committed: Result<(), String>| {
                let answer = committed.map_err(JournalError::Commit).and_then(|()| Ok(result?));
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
        let work = Box::new(move |tx: &Connection| -> Answer {
            let failed = in_savepoint(tx, work).err().map(|error| error.to_string());
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

/// One write's failure leaves the others of its transaction alone.
fn in_savepoint<T>(
    tx: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    tx.prepare_cached("savepoint one")?.execute([])?;
    let result = work(tx);
    if result.is_err() {
        tx.prepare_cached("rollback to one")?.execute([])?;
    }
    tx.prepare_cached("release one")?.execute([])?;
    result
}

fn run(connection: &Connection, waiting: &mpsc::Receiver<Write>, flushed: &AtomicU64, all: &AtomicU64) {
    let mut mode = None;
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let need = batch.iter().map(|write| write.need).max().unwrap_or(Need::Durable);
        let mut answers = Vec::with_capacity(batch.len());
        let committed = commit(connection, need, &mut mode, batch, &mut answers);
        if committed.is_ok() {
            all.fetch_add(1, Ordering::Relaxed);
            if need == Need::Durable {
                flushed.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            // Ends the transaction if the failure left it open; there may be none.
            let _ = connection.execute_batch("rollback");
        }
        let committed = committed.map_err(|error| error.to_string());
        for answer in answers {
            answer(committed.clone());
        }
    }
}

fn commit(
    connection: &Connection,
    need: Need,
    mode: &mut Option<Need>,
    batch: Vec<Write>,
    answers: &mut Vec<Answer>,
) -> rusqlite::Result<()> {
    if *mode != Some(need) {
        // <https://sqlite.org/pragma.html#pragma_synchronous>: in WAL mode FULL flushes every commit, NORMAL only
        // checkpoints. It can be changed only between transactions.
        *mode = None;
        connection.pragma_update(
            None,
            "synchronous",
            if need == Need::Durable { "FULL" } else { "NORMAL" },
        )?;
        *mode = Some(need);
    }
    connection.prepare_cached("begin immediate")?.execute([])?;
    for write in batch {
        answers.push((write.work)(connection));
    }
    connection.prepare_cached("commit")?.execute([])?;
    Ok(())
}
