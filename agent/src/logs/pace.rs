//! How often a file is looked at.

use std::time::{Duration, Instant};

/// While something is printed: a line is visible well within two seconds.
const POLL: Duration = Duration::from_millis(250);

/// While nothing is, with which it still is.
const POLL_SILENT: Duration = Duration::from_secs(1);

/// A script counts as silent after so long: warehouse statements take minutes, and hundreds may wait for theirs.
const SILENT_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Pace {
    heard: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { heard: Instant::now() }
    }
}

impl Pace {
    /// The pause before the next look; `heard`: there was something at the last.
    pub(crate) fn pause(&mut self, heard: bool) -> Duration {
        if heard {
            self.heard = Instant::now();
        }
        if self.heard.elapsed() < SILENT_AFTER { POLL } else { POLL_SILENT }
    }
}
