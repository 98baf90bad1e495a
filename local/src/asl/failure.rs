//! What makes a state fail: an error name and a cause, as Retry, Catch and the history see them.

use serde_json::{Value, json};

use super::limits;

/// The names the States Language itself reserves
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>).
pub(crate) mod names {
    pub(crate) const ALL: &str = "States.ALL";
    pub(crate) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";
    pub(crate) const EXCEED_TOLERATED_FAILURE_THRESHOLD: &str = "States.ExceedToleratedFailureThreshold";
    pub(crate) const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
    pub(crate) const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";
    pub(crate) const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";
    pub(crate) const RUNTIME: &str = "States.Runtime";
    pub(crate) const TASK_FAILED: &str = "States.TaskFailed";
    pub(crate) const TIMEOUT: &str = "States.Timeout";
}

/// An error on its way through Retry and Catch. Either part may be missing: a Fail state need not name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
}

impl Failure {
    /// An error with a cause, both cut to the lengths the service keeps.
    pub(crate) fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: Some(error.into()), cause: Some(cause.into()) }.cut()
    }

    pub(crate) fn runtime(cause: impl Into<String>) -> Self {
        Self::new(names::RUNTIME, cause)
    }

    /// The failure of a payload that outgrew [`limits::PAYLOAD_BYTES`].
    pub(crate) fn too_large(what: &str) -> Self {
        Self::new(
            names::DATA_LIMIT_EXCEEDED,
            format!("{what} exceeds the maximum number of bytes service limit ({}).", limits::PAYLOAD_BYTES),
        )
    }

    /// The failure of a payload that nests deeper than [`limits::PAYLOAD_DEPTH`].
    pub(crate) fn too_deep(what: &str) -> Self {
        Self::new(
            names::DATA_LIMIT_EXCEEDED,
            format!("{what} exceeds the maximum number of nested levels ({}).", limits::PAYLOAD_DEPTH),
        )
    }

    pub(crate) fn cut(mut self) -> Self {
        for (text, limit) in [(&mut self.error, limits::ERROR_CHARS), (&mut self.cause, limits::CAUSE_CHARS)]
        {
            if let Some(text) = text
                && let Some((at, _)) = text.char_indices().nth(limit)
            {
                text.truncate(at);
            }
        }
        self
    }

    /// `$states.errorOutput`, and what a Catch without `Output` passes on.
    pub(crate) fn output(&self) -> Value {
        let mut output = serde_json::Map::new();
        output.insert("Error".into(), json!(self.error.as_deref().unwrap_or_default()));
        output.insert("Cause".into(), json!(self.cause.as_deref().unwrap_or_default()));
        Value::Object(output)
    }

    /// Whether `names`, an `ErrorEquals`, matches this error.
    ///
    /// `States.ALL` matches all but `States.DataLimitExceeded` and `States.Runtime`; `States.TaskFailed` matches
    /// what `States.ALL` does except `States.Timeout`. `States.Runtime` is matched by nothing: it ends the execution.
    pub(crate) fn matches(&self, names: &[String]) -> bool {
        let error = self.error.as_deref().unwrap_or_default();
        if error == names::RUNTIME {
            return false;
        }
        names.iter().any(|name| match name.as_str() {
            names::ALL => error != names::DATA_LIMIT_EXCEEDED,
            names::TASK_FAILED => error != names::DATA_LIMIT_EXCEEDED && error != names::TIMEOUT,
            name => name == error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(error: &str, name: &str) -> bool {
        Failure::new(error, "").matches(&[name.to_owned()])
    }

    #[test]
    fn wildcards_match_what_the_guide_says() {
        assert!(matches("Rsql.ExitCode", names::ALL));
        assert!(matches("Rsql.ExitCode", names::TASK_FAILED));
        assert!(matches(names::TIMEOUT, names::ALL));
        assert!(!matches(names::TIMEOUT, names::TASK_FAILED));
        assert!(matches(names::HEARTBEAT_TIMEOUT, names::TASK_FAILED));
        assert!(!matches(names::HEARTBEAT_TIMEOUT, names::TIMEOUT));
        assert!(!matches(names::DATA_LIMIT_EXCEEDED, names::ALL));
        assert!(matches(names::DATA_LIMIT_EXCEEDED, names::DATA_LIMIT_EXCEEDED));
        assert!(!matches(names::RUNTIME, names::RUNTIME));
        assert!(!matches("Rsql.ExitCode", "Rsql"));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let failure = Failure::new("é".repeat(300), "x");
        assert_eq!(failure.error.unwrap().chars().count(), limits::ERROR_CHARS);
    }
}
