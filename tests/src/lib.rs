//! What the end-to-end tests need: a directory of their own, the real binaries, an `rsqlflow up` that ends with the
//! test, a daemon that can be killed, a proxy that makes calls fail, the plain `aws` command line, waiting for
//! conditions; and AWS-compatible servers that others wrote ([`peers`]), with a bridge that plays the SSM agent
//! ([`bridge`]) and everything wired together in front of any of them ([`world`]).
//!
//! A failed expectation panics: this is test code, only kept in a library so that it is compiled once.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "test code")]

pub mod answers;
pub mod aws;
pub mod bridge;
pub mod daemon;
pub mod endpoint;
pub mod peers;
pub mod processes;
pub mod proxy;
pub mod random;
pub mod relay;
pub mod scenario;
pub mod site;
pub mod up;
pub mod world;

use std::time::{Duration, Instant};

/// How long anything may take on a loaded machine before a test gives up on it.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Asks again until `condition` gives a value.
///
/// # Panics
/// When it has not after [`DEADLINE`].
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
