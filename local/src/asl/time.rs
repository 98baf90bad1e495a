//! Waiting for a moment.
//!
//! Deadlines live on disk as wall-clock instants, because they must outlive the process. Waiting for one therefore
//! asks the clock again at intervals: a laptop that slept, or a clock that was set, is noticed within [`RECHECK`].
//! Tests bring their own time, so nothing ever waits for the real one.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::clock::{Clock, Millis};

/// What a sleeper waits on.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A clock that can be waited on.
pub trait Time: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;

    /// Ends no earlier than `deadline`. `idle` says that the sleeper has nothing else under way, so that only time
    /// or someone from outside can move it on; a test's time may jump then.
    fn sleep_until(&self, deadline: Millis, idle: bool) -> Sleep;
}

/// Longest uninterrupted sleep.
const RECHECK: Duration = Duration::from_secs(30);

impl Time for Clock {
    fn now(&self) -> Millis {
        Clock::now(self)
    }

    fn sleep_until(&self, deadline: Millis, _idle: bool) -> Sleep {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = deadline.saturating_sub(clock.now());
                match u64::try_from(left) {
                    Ok(left) if left > 0 => {
                        tokio::time::sleep(Duration::from_millis(left).min(RECHECK)).await
                    }
                    _ => return,
                }
            }
        })
    }
}
