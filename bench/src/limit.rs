//! The physical limit: the same script spawned bare, with two durable commits per job.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use rusqlite::Connection;

/// Seconds for `jobs` spawns at `concurrency`, each between two commits.
pub(crate) fn run(dir: &Path, script: &Path, jobs: usize, concurrency: usize) -> Result<f64> {
    let database = open(dir)?;
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..concurrency)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while next.fetch_add(1, Ordering::Relaxed) < jobs {
                        let id = commit(&database, "insert into job (state) values ('accepted')", [])?;
                        let status =
                            Command::new(script).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
                        ensure!(status.success(), "the bare script failed");
                        commit(&database, "update job set state = 'ended' where id = ?1", [id])?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        Ok(())
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// A database whose every commit is flushed.
pub(crate) fn open(dir: &Path) -> Result<Mutex<Connection>> {
    let database = Connection::open(dir.join("limit.db"))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch("create table if not exists job (id integer primary key, state text)")?;
    Ok(Mutex::new(database))
}

pub(crate) fn commit(
    database: &Mutex<Connection>,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<i64> {
    let database = database.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
    database.execute(sql, parameters)?;
    Ok(database.last_insert_rowid())
}
