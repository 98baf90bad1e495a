//! Waiting for a moment.
//!
//! Deadlines live on disk as wall-clock instants, because they must outlive the process. Waiting for one therefore
//! asks the clock again at intervals ([`RECHECK`]), and ends early where time has passed unseen, see [`crate::clock`]:
//! then the execution moves its deadlines before it looks whether one has come.
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

    /// How much time has passed unseen so far, see [`Clock::unseen`]; to be asked after [`Time::now`].
    fn unseen(&self) -> Millis {
        0
    }

    /// Ends no earlier than `deadline`, or once [`Time::unseen`] is no longer `unseen`. `idle` says that the sleeper has
    /// nothing else under way, so that only time or someone from outside can move it on; a test's time may jump then.
    fn sleep_until(&self, deadline: Millis, idle: bool, unseen: Millis) -> Sleep;
}

/// Longest uninterrupted sleep.
const RECHECK: Duration = Duration::from_secs(30);

impl Time for Clock {
    fn now(&self) -> Millis {
        Clock::now(self)
    }

    fn unseen(&self) -> Millis {
        Clock::unseen(self)
    }

    fn sleep_until(&self, deadline: Millis, _idle: bool, unseen: Millis) -> Sleep {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = deadline.saturating_sub(clock.now());
                match u64::try_from(left) {
                    Ok(left) if left > 0 && clock.unseen() == unseen => {
                        tokio::time::sleep(Duration::from_millis(left).min(RECHECK)).await
                    }
                    _ => return,
                }
            }
        })
    }
}
