//! One thread owns the journal's connection and turns whatever is waiting into one transaction.
//!
//! A flush costs milliseconds and everything else microseconds, so jobs that are accepted or end together share one.
//! A transaction is flushed when anything in it asked for that ([`Need::Durable`]); the rest rides along.
//!
//! Each failure is told to whoever asked, who knows what to do about it. Only where the file itself turns out not to be
//! sound, or is no longer where it was, does the thread end: what it would write could not be read again, and the next
//! start repairs it. Whether it is there is looked at after every transaction, before anyone is answered, and now and
//! then while there is nothing to write.
//!
//! What is forgotten is overwritten in the database, and stands in its write-ahead log until that is emptied. That is
//! done when the journal has had nothing to do for a moment, and under steady load once a minute.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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

enum Ask {
    Write(Write),
    /// Empty the write-ahead log, and answer.
    Scrub(oneshot::Sender<()>),
}

/// Most writes of one transaction, so that the first never waits long for the last.
const BATCH: usize = 512;

/// How long a write waits for another process that has the database.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// With nothing to write for so long, the journal looks after itself.
const IDLE: Duration = Duration::from_secs(2);

/// What is forgotten leaves the write-ahead log after so long at the latest.
const FORGOTTEN_MAX: Duration = Duration::from_secs(60);

/// Says that a write forgot something that must not stay on disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Forgets(Arc<AtomicBool>);

impl Forgets {
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why the journal takes nothing any more, once it does not.
type Unsound = Arc<OnceLock<&'static str>>;

const CORRUPT: &str = "is corrupt";
const GONE: &str = "was removed or replaced while the agent worked with it";

#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Ask>,
    flushed: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
    unsound: Unsound,
    forgets: Forgets,
    /// Its other end goes with the thread.
    runs: watch::Receiver<()>,
}

/// The journal's files, and which they were when it was opened.
struct Place(Vec<(PathBuf, (u64, u64))>);

impl Place {
    fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        // The index of the write-ahead log may be missing: it is made again.
        let known = |file: PathBuf| Some((identity(&file).ok()?, file));
        Self(files.into_iter().take(2).filter_map(known).map(|(which, file)| (file, which)).collect())
    }

    /// Whether one of them is gone, or another by now. A disk that does not answer is no proof.
    fn is_lost(&self) -> bool {
        self.0.iter().any(|(file, which)| match identity(file) {
            Ok(now) => now != *which,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        })
    }
}

fn identity(file: &std::path::Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(file).map(|data| (data.dev(), data.ino()))
}

impl Writer {
    /// Starts the thread. `files` are the database and its write-ahead log.
    pub(crate) fn start(
        connection: Connection,
        files: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Self, JournalError> {
        let (queue, waiting) = mpsc::channel();
        let (flushed, all) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let unsound = Unsound::default();
        let forgets = Forgets::default();
        let mut thread = Thread {
            connection,
            mode: None,
            flushed: Arc::clone(&flushed),
            all: Arc::clone(&all),
            unsound: Arc::clone(&unsound),
            place: Place::of(files),
            forgets: forgets.clone(),
            forgot: None,
        };
        // An earlier process may have ended before it did.
        thread.scrub();
        let (alive, runs) = watch::channel(());
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            thread.run(&waiting);
            drop(alive);
        })?;
        Ok(Self { queue, flushed, all, unsound, forgets, runs })
    }

    /// Ready once the thread has ended; why it has.
    pub(crate) async fn ended(&self) -> &'static str {
        let mut runs = self.runs.clone();
        while runs.changed().await.is_ok() {}
        self.unsound.get().copied().unwrap_or(CORRUPT)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.unsound.get().is_some()
    }

    pub(super) fn forgets(&self) -> Forgets {
        self.forgets.clone()
    }

    /// Empties the write-ahead log. Answers once that is done, or could not be.
    pub(crate) async fn scrub(&self) {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Ask::Scrub(reply)).is_ok() {
            // A thread that ends has nothing left to say.
            let _ = answer.await;
        }
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
        self.queue.send(Ask::Write(Write { need, work })).map_err(|_| JournalError::Closed)?;
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
        let _ = self.queue.send(Ask::Write(Write { need: Need::Relaxed, work }));
    }
}

fn note_corruption(error: &JournalError, unsound: &Unsound) {
    if error.is_corruption() {
        // The first reason stands.
        let _ = unsound.set(CORRUPT);
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
    unsound: Unsound,
    place: Place,
    forgets: Forgets,
    /// Since when the write-ahead log may hold what was forgotten.
    forgot: Option<Instant>,
}

impl Thread {
    fn run(mut self, waiting: &mpsc::Receiver<Ask>) {
        loop {
            let mut batch = Vec::new();
            let mut scrubbed = None;
            match waiting.recv_timeout(IDLE) {
                Ok(Ask::Write(first)) => batch.push(first),
                Ok(Ask::Scrub(reply)) => scrubbed = Some(reply),
                Err(RecvTimeoutError::Timeout) => {
                    self.look_after();
                    if self.forgot.is_some() {
                        self.scrub();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while scrubbed.is_none()
                && batch.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                match next {
                    Ask::Write(next) => batch.push(next),
                    Ask::Scrub(reply) => scrubbed = Some(reply),
                }
            }
            if !batch.is_empty() {
                self.transact(batch);
            }
            let overdue = self.forgot.is_some_and(|forgot| forgot.elapsed() >= FORGOTTEN_MAX);
            if scrubbed.is_some() || overdue {
                self.scrub();
            }
            if let Some(reply) = scrubbed {
                // Whoever asked may have gone.
                let _ = reply.send(());
            }
            if let Some(why) = self.unsound.get() {
                tracing::error!("the journal {why}; it takes nothing until the agent is started again");
                return;
            }
        }
    }

    /// What is written to files that nobody finds is lost with this process.
    fn look_after(&self) -> bool {
        let lost = self.place.is_lost();
        if lost {
            // The first reason stands.
            let _ = self.unsound.set(GONE);
        }
        lost
    }

    /// Empties the write-ahead log: what it holds goes to the database, where what was forgotten is overwritten. Where
    /// somebody reads the journal it is done later.
    /// <https://sqlite.org/pragma.html#pragma_wal_checkpoint>
    fn scrub(&mut self) {
        let emptied = (|| {
            // A reader must not hold up the writes.
            self.connection.busy_timeout(Duration::ZERO)?;
            let busy =
                self.connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0));
            self.connection.busy_timeout(BUSY_TIMEOUT)?;
            busy
        })();
        self.forgot = match emptied {
            Ok(0) => None,
            Ok(_) => self.forgot.or_else(|| Some(Instant::now())),
            Err(error) => {
                tracing::debug!(%error, "the journal's log could not be emptied; it is tried again");
                self.forgot.or_else(|| Some(Instant::now()))
            }
        };
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
        let committed = committed.and_then(|()| match self.look_after() {
            true => Err(format!("the journal {GONE}")),
            false => Ok(()),
        });
        if self.forgets.0.swap(false, Ordering::Relaxed) {
            self.forgot.get_or_insert_with(Instant::now);
        }
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
        Writer::start(connection, [path.to_owned()]).unwrap()
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
