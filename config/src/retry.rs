//! Which failed attempts are followed by another, and how soon.
//!
//! Which failures may be repeated at all, and which are unless an item says otherwise, is decided here and nowhere
//! else: the validation of items, the check of job requests, the schema and the agent ask this file.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::job::JobError;

/// How often and how soon a failed attempt is followed by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included: 1 to 20.
    pub max_attempts: u32,
    /// Seconds before the second attempt.
    pub interval_seconds: u32,
    /// Factor by which each later pause grows, at least 1.
    pub backoff_rate: f64,
    /// The failures that another attempt may follow; `Rsql.ExitCode`, `Rsql.Signal`, `Rsql.TimedOut` and `Rsql.Stalled`
    /// unless given. `Rsql.HostLost` means that the script may be rerun although it is not known how far it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "errors_schema")]
    pub errors: Option<Vec<JobError>>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: 3, interval_seconds: 10, backoff_rate: 2.0, errors: None }
    }
}

impl Retry {
    /// The failures that are followed by another attempt where an item does not say which: those after which it is
    /// known that the script has ended.
    pub const USUAL: [JobError; 4] =
        [JobError::ExitCode, JobError::Signal, JobError::TimedOut, JobError::Stalled];

    /// The failures that an item may name. The others would fail the same way again, or are somebody's wish.
    pub const POSSIBLE: [JobError; 5] =
        [JobError::ExitCode, JobError::Signal, JobError::TimedOut, JobError::Stalled, JobError::HostLost];

    /// Whether another attempt may follow one that ended so, as long as there are attempts left.
    pub fn covers(&self, error: JobError) -> bool {
        self.errors.as_deref().unwrap_or(&Self::USUAL).contains(&error)
    }

    /// What is wrong with it, if anything is: for requests, which have not been through the validation of items.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.max_attempts == 0 || !self.backoff_rate.is_finite() || self.backoff_rate < 1.0 {
            return Some("needs max_attempts of at least 1 and a backoff_rate of at least 1");
        }
        let impossible = |error| !Self::POSSIBLE.contains(error);
        self.errors.iter().flatten().any(impossible).then_some("names an error that no attempt may follow")
    }
}

fn errors_schema(_: &mut SchemaGenerator) -> Schema {
    let codes = Retry::POSSIBLE.map(JobError::as_str);
    json_schema!({
        "type": ["array", "null"],
        "items": { "type": "string", "enum": codes },
        "minItems": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_failures_are_repeated_unless_others_are_named() {
        let usual = Retry::default();
        assert!(Retry::USUAL.into_iter().all(|error| usual.covers(error)));
        assert!(!usual.covers(JobError::HostLost) && !usual.covers(JobError::Cancelled));
        let named = Retry { errors: Some(vec![JobError::HostLost]), ..Retry::default() };
        assert!(named.covers(JobError::HostLost) && !named.covers(JobError::ExitCode));
    }

    #[test]
    fn a_failure_that_is_somebodys_wish_is_never_repeated() {
        assert_eq!(Retry::default().problem(), None);
        for error in [JobError::Cancelled, JobError::Killed, JobError::InvalidRequest] {
            let bent = Retry { errors: Some(vec![error]), ..Retry::default() };
            assert_eq!(bent.problem(), Some("names an error that no attempt may follow"));
        }
        assert!(Retry { max_attempts: 0, ..Retry::default() }.problem().is_some());
        assert!(Retry { backoff_rate: f64::NAN, ..Retry::default() }.problem().is_some());
    }
}
