//! Sharing disk flushes between writes.
//!
//! With `synchronous = FULL` SQLite flushes its log inside every commit, one after the other: forty jobs that end
//! together wait for forty flushes. So commits are left unflushed (`NORMAL`, which keeps the database consistent
//! whatever happens), and every write flushes the log itself before it is acknowledged. A flush covers all commits
//! made before it began, so those who wait for one under way share the next.
//!
//! The promise is that of `FULL`: what was acknowledged survives a power cut. A checkpoint may move commits from the
//! log to the database meanwhile, but in `NORMAL` it flushes both before it reuses the log. And nobody is shown what a
//! power cut could still take back: a read that overlaps with a write waits for that write's flush, too.
//!
//! A flush that fails cannot be repeated, because the kernel may have dropped what it could not write; from then on
//! nothing is acknowledged any more.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Flushes on behalf of whoever waits.
pub(super) struct Flusher<F> {
    sync: F,
    /// Writes begun and not yet flushed.
    under_way: AtomicUsize,
    /// The number of the last ticket; one is drawn after each commit.
    drawn: AtomicU64,
    done: Mutex<Done>,
    flushes: AtomicU64,
}

#[derive(Default)]
struct Done {
    /// All tickets up to this one are on disk.
    up_to: u64,
    failed: Option<String>,
}

impl<F: Fn() -> io::Result<()>> Flusher<F> {
    pub(super) fn new(sync: F) -> Self {
        Self {
            sync,
            under_way: AtomicUsize::new(0),
            drawn: AtomicU64::new(0),
            done: Mutex::default(),
            flushes: AtomicU64::new(0),
        }
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Runs a write and flushes what it committed, even when it says it failed: its failure may tell of what another
    /// committed. Blocks.
    pub(super) fn write<T>(&self, commit: impl FnOnce() -> T) -> Result<T, String> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let committed = commit();
        let flushed = self.flush();
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        flushed.map(|()| committed)
    }

    /// Runs a read; waits for a flush only where a write is under way.
    pub(super) fn read<T>(&self, look: impl FnOnce() -> T) -> Result<T, String> {
        let seen = look();
        if self.under_way.load(Ordering::SeqCst) > 0 {
            self.flush()?;
        }
        Ok(seen)
    }

    fn flush(&self) -> Result<(), String> {
        let ticket = self.drawn.fetch_add(1, Ordering::SeqCst) + 1;
        // Whoever holds the lock is flushing; those who come meanwhile queue here and share the next.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = &done.failed {
            return Err(failed.clone());
        }
        if done.up_to >= ticket {
            return Ok(());
        }
        let up_to = self.drawn.load(Ordering::SeqCst);
        match (self.sync)() {
            Ok(()) => {
                done.up_to = up_to;
                self.flushes.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let text = format!("the disk failed and writes cannot be trusted until a restart: {error}");
                done.failed = Some(text.clone());
                Err(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn those_who_wait_share_one_flush() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let flusher = Arc::new(Flusher::new(move || {
            gate.lock().unwrap().recv().unwrap();
            Ok(())
        }));
        let writers: Vec<_> = (0..20)
            .map(|_| {
                let flusher = Arc::clone(&flusher);
                std::thread::spawn(move || flusher.write(|| ()).unwrap())
            })
            .collect();
        while flusher.drawn.load(Ordering::SeqCst) < 20 {
            std::thread::yield_now();
        }
        // The first one's flush may have begun before the others drew; the second covers them all.
        release.send(()).unwrap();
        release.send(()).unwrap();
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(flusher.flushes() <= 2, "{} flushes", flusher.flushes());
    }

    #[test]
    fn a_read_waits_only_for_a_write_under_way() {
        let flusher = Flusher::new(|| Ok(()));
        flusher.read(|| ()).unwrap();
        assert_eq!(flusher.flushes(), 0);
        flusher.write(|| flusher.read(|| ()).unwrap()).unwrap();
        assert_eq!(flusher.flushes(), 2);
        flusher.read(|| ()).unwrap();
        assert_eq!(flusher.flushes(), 2);
    }

    #[test]
    fn after_a_failed_flush_nothing_is_acknowledged() {
        let fail = std::sync::atomic::AtomicBool::new(true);
        let flusher = Flusher::new(|| {
            if fail.swap(false, Ordering::SeqCst) { Err(io::Error::other("lost")) } else { Ok(()) }
        });
        assert!(flusher.write(|| ()).unwrap_err().contains("lost"));
        assert!(flusher.write(|| ()).is_err());
    }
}
