//! Retry and Catch (<https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>).

use super::StateName;
use super::flow::Exit;

/// One of a state's `Retry`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Retrier {
    pub(crate) error_equals: Vec<String>,
    pub(crate) interval_seconds: u64,
    pub(crate) max_attempts: u32,
    pub(crate) backoff_rate: f64,
    pub(crate) max_delay_seconds: Option<u64>,
    /// `JitterStrategy` is `FULL`.
    pub(crate) jitter: bool,
}

/// What a retrier does unless it says otherwise.
impl Default for Retrier {
    fn default() -> Self {
        Self {
            error_equals: Vec::new(),
            interval_seconds: 1,
            max_attempts: 3,
            backoff_rate: 2.0,
            max_delay_seconds: None,
            jitter: false,
        }
    }
}

impl Retrier {
    /// Milliseconds before the retry that follows `done` earlier ones by this retrier. `chance`, in [0, 1), picks
    /// the moment when there is jitter: anywhere between at once and the full delay.
    #[expect(clippy::cast_precision_loss, reason = "delays are far below 2^53")]
    #[expect(clippy::cast_possible_truncation, reason = "clamped to what a definition may name")]
    pub(crate) fn delay_ms(&self, done: u32, chance: f64) -> i64 {
        let limit = self.max_delay_seconds.unwrap_or(crate::asl::limits::SECONDS) as f64;
        let exponent = i32::try_from(done).unwrap_or(i32::MAX);
        let seconds = (self.interval_seconds as f64 * self.backoff_rate.powi(exponent)).min(limit);
        let seconds = if self.jitter { seconds * chance } else { seconds };
        (seconds * 1000.0) as i64
    }
}

/// One of a state's `Catch`.
#[derive(Debug)]
pub(crate) struct Catcher {
    pub(crate) error_equals: Vec<String>,
    pub(crate) exit: Exit,
    pub(crate) next: StateName,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delays_grow_by_the_backoff_rate_up_to_the_limit() {
        let retrier = Retrier {
            interval_seconds: 3,
            backoff_rate: 2.0,
            max_delay_seconds: Some(10),
            ..Retrier::default()
        };
        let delays: Vec<_> = (0..4).map(|done| retrier.delay_ms(done, 0.0)).collect();
        assert_eq!(delays, [3_000, 6_000, 10_000, 10_000]);
    }

    proptest! {
        #[test]
        fn a_delay_is_never_negative_nor_above_its_limit(
            interval in 1..100_000_000_u64, rate in 1.0..1e6_f64, done in 0..u32::MAX, chance in 0.0..1.0_f64,
            limit in proptest::option::of(1..31_622_400_u64), jitter: bool,
        ) {
            let retrier = Retrier {
                interval_seconds: interval, backoff_rate: rate, max_delay_seconds: limit, jitter,
                ..Retrier::default()
            };
            let delay = retrier.delay_ms(done, chance);
            let most = limit.unwrap_or(crate::asl::limits::SECONDS) as i64 * 1000;
            prop_assert!((0..=most).contains(&delay));
            if !jitter {
                prop_assert!(retrier.delay_ms(done.saturating_add(1), chance) >= delay);
                prop_assert!(delay >= (interval as i64 * 1000).min(most));
            }
        }
    }
}
