//! SIGTERM and SIGINT: the warehouse is told to stop before this process does.
//!
//! A client that simply dies leaves its statement running until the server has something to send.
//! So a thread of its own waits for the signal, sends a cancel request over a second connection,
//! and gives the script's task a moment to print the server's answer and leave. No further
//! statement is sent. The thread leaves in its stead where the task cannot, being held up by a
//! read or a shell command. Status: 128 and the signal's number, as shells have it.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::ExitCode;
use crate::target::Target;
use crate::wire::{Connection, cancel};

/// How long the cancel request, and then the script's task, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells whether a signal has come.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The signal's number, 0 while there was none.
    signal: AtomicU8,
    /// What a cancel request needs; nothing while there is no connection.
    key: OnceLock<(i32, i32)>,
}

impl Interrupt {
    /// Begins to watch for signals. To be called outside of an asynchronous runtime.
    pub fn watch(target: &Target) -> io::Result<Self> {
        let interrupt = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interactive) = {
            // The handlers are in place before anything is sent, not just when the thread gets to run.
            let _context = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let (state, target) = (interrupt.0.clone(), target.clone());
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let code = runtime.block_on(async {
                let number = tokio::select! {
                    _ = terminate.recv() => 15,
                    _ = interactive.recv() => 2,
                };
                state.signal.store(number, Ordering::Release);
                if let Some(key) = state.key.get() {
                    let _ = tokio::time::timeout(PATIENCE, cancel(&target, *key)).await;
                    tokio::time::sleep(PATIENCE).await;
                }
                ExitCode::Interrupted(number)
            });
            std::process::exit(code.status().into());
        })?;
        Ok(interrupt)
    }

    /// From now on a signal cancels what `connection` does.
    pub fn guard(&self, connection: &Connection) {
        if let Some(key) = connection.cancel_key() {
            let _ = self.0.key.set(key);
        }
    }

    /// How to leave, if a signal has come.
    pub fn code(&self) -> Option<ExitCode> {
        let number = self.0.signal.load(Ordering::Acquire);
        (number > 0).then_some(ExitCode::Interrupted(number))
    }
}
