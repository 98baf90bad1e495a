//! The one SQLite database of the embedded default (DynamoDB keeps its own, see `dynamodb.rs`).
//!
//! A commit costs a disk flush, and flushes are what a job waits for. So one thread owns the connection and turns
//! everything that is waiting into one transaction (group commit): forty parallel jobs that finish together share
//! one flush. Callers say how much they need:
//!
//! * [`Store::durable`] replies after the flush: the write survives a power cut.
//! * [`Store::relaxed`] replies after the write: it survives `kill -9`, and the next flush takes it along. For what
//!   can be had again (log events whose shipper retries, a command record the state machine would send again).
//! * [`Store::read`] sees everything replied to before.
//!
//! What it does not do: know any table. Each service creates its own in [`Store::migrate`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the local store failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The commit that carried this write failed, so nothing of it is kept.
    #[error("the local store could not commit: {0}")]
    Commit(String),
    /// The store's thread has ended (the process is stopping).
    #[error("the local store is closed")]
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Read,
    Relaxed,
    Durable,
}

/// Runs inside the transaction, or not at all when there is none; returns what to do once it is committed (`Ok`) or
/// lost (`Err`).
type Job = Box<dyn FnOnce(Option<&Transaction<'_>>) -> AfterCommit + Send>;
type AfterCommit = Box<dyn FnOnce(Result<(), String>) + Send>;

/// A handle to the store; clones share the one connection.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::UnboundedSender<(Need, Job)>,
    flushes: Arc<AtomicU64>,
}

/// At most this many jobs share one transaction, so that the first never waits long for the last.
const BATCH: usize = 256;

impl Store {
    /// Opens or creates the database file.
    ///
    /// # Errors
    /// SQLite's, when the file cannot be opened or is not a database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_observed(path, |_| {})
    }

    /// The same, and `committed` sees the database after every transaction that may have written: how tests take a
    /// picture of each instant at which the process could die.
    pub(crate) fn open_observed(
        path: &Path,
        committed: impl FnMut(&Connection) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let (jobs, queue) = mpsc::unbounded_channel();
        let flushes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&flushes);
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || run(connection, queue, &counter, committed))
            .map_err(|error| StoreError::Commit(error.to_string()))?;
        Ok(Self { jobs, flushes })
    }

    /// Creates a service's tables; `sql` must be safe to run again.
    ///
    /// # Errors
    /// SQLite's.
    pub async fn migrate(&self, sql: &'static str) -> Result<(), StoreError> {
        self.durable(move |tx| tx.execute_batch(sql)).await
    }

    /// Writes, and replies once the write would survive a power cut.
    ///
    /// # Errors
    /// What `work` returned, or the commit's failure.
    pub async fn durable<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(Need::Durable, work).await
    }

    /// Writes, and replies once the write would survive the end of this process.
    ///
    /// # Errors
    /// What `work` returned, or the commit's failure.
    pub async fn relaxed<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(Need::Relaxed, work).await
    }

    /// Reads.
    ///
    /// # Errors
    /// What `work` returned.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(Need::Read, work).await
    }

    /// How many transactions have been flushed to disk: what benchmarks count.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    async fn submit<T, F>(&self, need: Need, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let Some(tx) = tx else {
                return Box::new(move |committed| {
                    let why = committed.err().unwrap_or_else(|| "there was no transaction".into());
                    let _ = reply.send(Err(StoreError::Commit(why)));
                });
            };
            // A savepoint keeps one job's failure from taking its neighbours in the batch along.
            let result = if need == Need::Read {
                work(tx)
            } else {
                tx.execute_batch("SAVEPOINT job").and_then(|()| work(tx)).and_then(|value| {
                    tx.execute_batch("RELEASE job")?;
                    Ok(value)
                })
            };
            if result.is_err() && need != Need::Read {
                // Nothing was kept, so there is nothing to undo when the savepoint itself could not be made.
                let _ = tx.execute_batch("ROLLBACK TO job; RELEASE job");
            }
            Box::new(move |committed| {
                let outcome = match committed {
                    Ok(()) => result.map_err(StoreError::from),
                    Err(why) => Err(StoreError::Commit(why)),
                };
                // The caller may have given up waiting; the write stands all the same.
                let _ = reply.send(outcome);
            })
        });
        self.jobs.send((need, job)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

fn run(
    mut connection: Connection,
    mut queue: mpsc::UnboundedReceiver<(Need, Job)>,
    flushes: &AtomicU64,
    mut observer: impl FnMut(&Connection),
) {
    let mut full = None;
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            match queue.try_recv() {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        let need = batch.iter().map(|(need, _)| *need).max().unwrap_or(Need::Read);
        let want_full = need == Need::Durable;
        if full != Some(want_full) {
            let mode = if want_full { "FULL" } else { "NORMAL" };
            if connection.pragma_update(None, "synchronous", mode).is_ok() {
                full = Some(want_full);
            }
        }
        let mut after = Vec::with_capacity(batch.len());
        let committed = match connection.transaction() {
            Ok(tx) => {
                for (_, job) in batch {
                    // On some errors, a full disk above all, SQLite rolls everything back by itself. What ran
                    // after that would be in a transaction of its own, and kept while its caller hears otherwise.
                    let open = !tx.is_autocommit();
                    after.push(job(open.then_some(&tx)));
                }
                if tx.is_autocommit() {
                    Err("the transaction was rolled back".to_owned())
                } else {
                    tx.commit().map_err(|error| error.to_string())
                }
            }
            Err(error) => {
                after.extend(batch.into_iter().map(|(_, job)| job(None)));
                Err(error.to_string())
            }
        };
        if want_full && committed.is_ok() {
            flushes.fetch_add(1, Ordering::Relaxed);
        }
        if need > Need::Read && committed.is_ok() {
            observer(&connection);
        }
        for done in after {
            done(committed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_job_leaves_its_neighbours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        store.migrate("create table if not exists t (v integer primary key)").await.unwrap();
        let good = store.durable(|tx| tx.execute("insert into t values (1)", []));
        let bad = store.durable(|tx| {
            tx.execute("insert into t values (2)", [])?;
            tx.execute("insert into t values (1)", [])
        });
        let also_good = store.relaxed(|tx| tx.execute("insert into t values (3)", []));
        let (good, bad, also_good) = tokio::join!(good, bad, also_good);
        assert!(good.is_ok() && also_good.is_ok());
        assert!(matches!(bad, Err(StoreError::Sqlite(_))));
        let rows: i64 =
            store.read(|tx| tx.query_row("select sum(v) from t", [], |row| row.get(0))).await.unwrap();
        assert_eq!(rows, 4);
    }

    #[tokio::test]
    async fn a_full_disk_keeps_nothing_whose_caller_hears_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        store.migrate("create table if not exists t (v integer primary key, b blob)").await.unwrap();
        store.durable(|tx| tx.pragma_update(None, "max_page_count", 20)).await.unwrap();
        // The three wait behind a fourth, so that they share a transaction.
        let (started, running) = oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let busy = store.clone();
        let busy = tokio::spawn(async move {
            busy.read(move |_| {
                let _ = started.send(());
                Ok(wait.recv().is_ok())
            })
            .await
        });
        running.await.unwrap();
        let insert = |v: i64, size: i64| {
            store.durable(move |tx| tx.execute("insert into t values (?1, zeroblob(?2))", [v, size]))
        };
        let (one, two, three, ()) =
            tokio::join!(insert(1, 1), insert(2, 1_000_000), insert(3, 1), async { go.send(()).unwrap() });
        assert!(busy.await.unwrap().unwrap());
        assert!(two.is_err());
        for (v, outcome) in [(1, one), (3, three)] {
            let kept: bool = store
                .read(move |tx| tx.query_row("select count(*) from t where v = ?1", [v], |row| row.get(0)))
                .await
                .unwrap();
            assert_eq!(kept, outcome.is_ok(), "{v}: {outcome:?}");
        }
        store.durable(|tx| tx.execute("insert into t values (4, null)", [])).await.unwrap();
    }

    #[tokio::test]
    async fn waiting_writes_share_one_flush() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        store.migrate("create table if not exists t (v integer)").await.unwrap();
        let before = store.flushes();
        let mut all = tokio::task::JoinSet::new();
        for v in 0..100 {
            let store = store.clone();
            all.spawn(
                async move { store.durable(move |tx| tx.execute("insert into t values (?1)", [v])).await },
            );
        }
        while let Some(done) = all.join_next().await {
            done.unwrap().unwrap();
        }
        assert!(store.flushes() - before < 100, "no two of 100 waiting writes shared a flush");
    }
}
