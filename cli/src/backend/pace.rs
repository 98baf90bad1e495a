//! How often to look at a run that goes on.
//!
//! Looking costs a query of each audit table. In this process the engine tells when an execution begins or ends, so
//! that the look that matters comes at once; everywhere else there is only time.

use std::time::Duration;

use rsqlflow_local::stepfunctions::StatusChange;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// The pauses between looks.
pub(crate) struct Pace {
    first: Duration,
    most: Duration,
    next: Duration,
    changes: Option<Receiver<StatusChange>>,
    /// How long the backend may be out of reach before that ends the wait.
    pub(crate) patience: Duration,
}

impl Pace {
    /// AWS throttles per account, and the network may go away for a while.
    pub(super) fn aws() -> Self {
        Self::new(2_000, 2_000, 600)
    }

    /// An `rsqlflow up` may be started anew.
    pub(super) fn up() -> Self {
        Self::new(20, 500, 30)
    }

    /// This process.
    pub(super) fn here(changes: Option<Receiver<StatusChange>>) -> Self {
        Self { changes, ..Self::new(20, 250, 0) }
    }

    fn new(first: u64, most: u64, patience_seconds: u64) -> Self {
        let first = Duration::from_millis(first);
        let most = Duration::from_millis(most);
        Self { first, most, next: first, changes: None, patience: Duration::from_secs(patience_seconds) }
    }

    /// Something has happened, so more may follow soon.
    pub(crate) fn quicken(&mut self) {
        self.next = self.first;
    }

    /// Pauses, each time for longer, but not past the beginning or end of an execution.
    pub(crate) async fn pause(&mut self) {
        let pause = self.next;
        self.next = self.next.mul_f64(1.3).min(self.most);
        self.wait(pause).await;
    }

    /// The longest pause.
    pub(crate) async fn long_pause(&mut self) {
        self.wait(self.most).await;
    }

    async fn wait(&mut self, pause: Duration) {
        let Some(changes) = &mut self.changes else { return tokio::time::sleep(pause).await };
        match tokio::time::timeout(pause, changes.recv()).await {
            // Some were missed, so there is something to see.
            Ok(Ok(_) | Err(RecvError::Lagged(_))) | Err(_) => {}
            Ok(Err(RecvError::Closed)) => {
                self.changes = None;
                tokio::time::sleep(pause).await;
            }
        }
    }
}
