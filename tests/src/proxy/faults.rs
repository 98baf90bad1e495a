//! What may happen to a call, and how often.

use std::time::Duration;

use crate::random::Random;

/// Of a hundred calls so many are ...
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// ... answered with a throttling error, and the service never sees them.
    pub throttled: u64,
    /// ... answered with a 500 or 503, and the service never sees them.
    pub failed: u64,
    /// ... done by the service, whose answer is lost with the connection.
    pub cut: u64,
    /// ... delivered twice, and the second answer is given. Not PutLogEvents, which nothing makes idempotent.
    pub twice: u64,
    /// ... handed on late ...
    pub delayed: u64,
    /// ... by so much.
    pub delay: Duration,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passed,
    Throttled,
    Failed,
    Unavailable,
    Cut,
    Twice,
    Delayed,
}

impl Faults {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// Thirty of a hundred calls, of every kind.
    pub fn thirty(delay: Duration) -> Self {
        Self { throttled: 8, failed: 8, cut: 6, twice: 4, delayed: 4, delay }
    }

    pub(super) fn decide(&self, random: &mut Random) -> Fate {
        let mut drawn = random.between(0, 99);
        let fates = [
            (self.throttled, Fate::Throttled),
            (self.failed / 2, Fate::Failed),
            (self.failed - self.failed / 2, Fate::Unavailable),
            (self.cut, Fate::Cut),
            (self.twice, Fate::Twice),
            (self.delayed, Fate::Delayed),
        ];
        for (share, fate) in fates {
            if drawn < share {
                return fate;
            }
            drawn -= share;
        }
        Fate::Passed
    }
}

/// What has happened to calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Handed on and answered.
    pub passed: u64,
    /// Refused with a throttling error.
    pub throttled: u64,
    /// Refused with a server's fault.
    pub failed: u64,
    /// Done, and the answer lost.
    pub cut: u64,
    /// Delivered twice.
    pub twice: u64,
    /// Handed on late.
    pub delayed: u64,
}

impl Tally {
    pub(super) fn count(&mut self, fate: Fate) {
        let counter = match fate {
            Fate::Passed => &mut self.passed,
            Fate::Throttled => &mut self.throttled,
            Fate::Failed | Fate::Unavailable => &mut self.failed,
            Fate::Cut => &mut self.cut,
            Fate::Twice => &mut self.twice,
            Fate::Delayed => &mut self.delayed,
        };
        *counter += 1;
    }
}
