//! Time, from outside.
//!
//! Deadlines live on disk as wall-clock instants, because they must outlive the process. Waiting for one therefore
//! asks the wall clock again at intervals: a laptop that slept, or a clock that was set, is noticed within
//! [`RECHECK`]. Tests bring their own clock, so nothing ever waits for real time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a sleeper waits on.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Ends no earlier than `deadline_ms`. `idle` says that the sleeper has nothing else under way, so that only
    /// time or someone from outside can move it on; a test's clock may jump then.
    fn sleep_until(&self, deadline_ms: i64, idle: bool) -> Sleep;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// Longest uninterrupted sleep.
const RECHECK: Duration = Duration::from_secs(30);

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        chrono::Utc::now().timestamp_millis()
    }

    fn sleep_until(&self, deadline_ms: i64, _idle: bool) -> Sleep {
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = deadline_ms.saturating_sub(clock.now_ms());
                let Ok(left) = u64::try_from(left) else { return };
                if left == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(left).min(RECHECK)).await;
            }
        })
    }
}

/// `2025-01-31T12:00:00.000Z`, as the context object writes instants.
pub(crate) fn iso(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
