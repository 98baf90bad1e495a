//! What time it is, in one place, so that tests of expiry need not wait.

use std::sync::Arc;

/// Milliseconds since 1970, UTC: what AWS calls an epoch timestamp, times a thousand.
pub type Millis = i64;

/// A clock; clones tell the same time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(Arc::new(|| chrono::Utc::now().timestamp_millis()))
    }

    /// One that a test moves.
    pub fn from_fn(now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now.
    pub fn now(&self) -> Millis {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// A timestamp as the JSON protocols write it: seconds, with the milliseconds as a fraction.
pub(crate) fn epoch_seconds(at: Millis) -> serde_json::Value {
    // Milliseconds of this era fit a double exactly.
    serde_json::json!(at as f64 / 1000.0)
}

/// A timestamp as RFC 3339 text with milliseconds.
pub(crate) fn rfc3339(at: Millis) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}
