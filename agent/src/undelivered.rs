//! What AWS does not take from this agent: which calls fail, since when, and with what.
//!
//! Everything is tried until it works, so nothing is lost, and nothing is seen either: a run whose host may not report
//! stays `running`. So the host's own entry in the table of hosts says it, where operators look. A call counts from its
//! first failure until it succeeds, or until it is not made any more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Shorter trouble is a hiccup.
const HICCUP: Duration = Duration::from_secs(5);

/// A call that has not failed for so long is not made any more. The longest pause between two tries and the longest wait
/// for an answer are half of it together.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The calls that deliver something; the others are not for the reports of jobs, or not for a table that cannot be
/// written.
const DELIVERIES: [&str; 6] = [
    "states:SendTaskSuccess",
    "states:SendTaskFailure",
    "states:SendTaskHeartbeat",
    "dynamodb:UpdateItem",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
];

/// The calls that fail.
#[derive(Debug, Default)]
pub(crate) struct Undelivered(Mutex<BTreeMap<&'static str, Failing>>);

#[derive(Debug)]
struct Failing {
    since: DateTime<Utc>,
    began: Instant,
    last: Instant,
    why: String,
}

/// What cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Which calls, and with what they fail: `states:SendTaskSuccess (AccessDeniedException)`.
    pub what: String,
}

impl Undelivered {
    fn calls(&self) -> MutexGuard<'_, BTreeMap<&'static str, Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call failed, and is made again.
    pub(crate) fn failed(&self, action: &str, why: &str) {
        self.failed_at(action, why, Instant::now());
    }

    fn failed_at(&self, action: &str, why: &str, now: Instant) {
        let Some(action) = DELIVERIES.into_iter().find(|known| *known == action) else { return };
        let mut calls = self.calls();
        calls.retain(|_, failing| now.duration_since(failing.last) < FORGOTTEN);
        let failing = calls.entry(action).or_insert_with(|| Failing {
            since: rsqlflow_config::time::wall(),
            began: now,
            last: now,
            why: String::new(),
        });
        failing.last = now;
        failing.why = why.to_owned();
    }

    /// A call was taken, or refused for a reason that is its own.
    pub(crate) fn taken(&self, action: &str) {
        self.calls().remove(action);
    }

    /// What cannot be delivered now.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble_at(Instant::now())
    }

    fn trouble_at(&self, now: Instant) -> Option<Trouble> {
        let calls = self.calls();
        let failing: Vec<(&str, &Failing)> = calls
            .iter()
            .filter(|(_, failing)| {
                now.duration_since(failing.last) < FORGOTTEN && now.duration_since(failing.began) >= HICCUP
            })
            .map(|(action, failing)| (*action, failing))
            .collect();
        let since = failing.iter().map(|(_, failing)| failing.since).min()?;
        let what: Vec<String> =
            failing.iter().map(|(action, failing)| format!("{action} ({})", failing.why)).collect();
        Some(Trouble { since, what: what.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: &str = "states:SendTaskSuccess";

    #[test]
    fn what_fails_for_longer_than_a_hiccup_is_told_until_it_works() {
        let undelivered = Undelivered::default();
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        undelivered.failed_at(SUCCESS, "ThrottlingException", at(0));
        assert_eq!(undelivered.trouble_at(at(1)), None, "a hiccup");
        undelivered.failed_at(SUCCESS, "AccessDeniedException", at(6));
        undelivered.failed_at("dynamodb:UpdateItem", "AccessDeniedException", at(8));
        let told = undelivered.trouble_at(at(20)).unwrap().what;
        let both =
            "dynamodb:UpdateItem (AccessDeniedException), states:SendTaskSuccess (AccessDeniedException)";
        assert_eq!(told, both);
        undelivered.taken(SUCCESS);
        let told = undelivered.trouble_at(at(21)).unwrap().what;
        assert_eq!(told, "dynamodb:UpdateItem (AccessDeniedException)");
        assert_eq!(undelivered.trouble_at(at(200)), None, "it is not tried any more");
    }

    /// The entry in the table of hosts is not written while it cannot be; a secret that is denied is its job's affair.
    #[test]
    fn only_deliveries_count() {
        let undelivered = Undelivered::default();
        let now = Instant::now();
        for action in ["dynamodb:PutItem", "secretsmanager:GetSecretValue", "logs:GetLogEvents"] {
            undelivered.failed_at(action, "AccessDeniedException", now);
        }
        assert_eq!(undelivered.trouble_at(now + HICCUP), None);
    }
}
