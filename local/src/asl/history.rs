//! The events of an execution, in the shapes of `GetExecutionHistory`
//! (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html>).
//!
//! An event is written once and never changes. Its payload, if it has one, is kept apart from the rest, so that a
//! document that many events mention is stored once.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::payload::Payload;

/// One event, before it is written.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) previous: u64,
    pub(crate) at_ms: i64,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) details: Details,
}

/// What an event tells beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Details {
    pub(crate) fields: Map<String, Value>,
    /// `input`, `output` or `parameters`: whichever [`payload_field`] says.
    pub(crate) payload: Option<Payload>,
}

impl Details {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn payload(mut self, payload: &Payload) -> Self {
        self.payload = Some(payload.clone());
        self
    }

    pub(crate) fn failure(mut self, failure: &Failure) -> Self {
        for (name, text) in [("error", &failure.error), ("cause", &failure.cause)] {
            if let Some(text) = text {
                self.fields.insert(name.to_owned(), json!(text));
            }
        }
        self
    }
}

/// The member of a `HistoryEvent` that holds the details of a type; some types have none.
pub(crate) fn details_member(kind: &str) -> Option<String> {
    if kind.ends_with("StateEntered") {
        return Some("stateEnteredEventDetails".into());
    }
    if kind.ends_with("StateExited") {
        return Some("stateExitedEventDetails".into());
    }
    let bare = kind.ends_with("StateAborted")
        || matches!(
            kind,
            "ParallelStateStarted"
                | "ParallelStateSucceeded"
                | "ParallelStateFailed"
                | "MapStateSucceeded"
                | "MapStateFailed"
        );
    (!bare).then(|| format!("{}{}EventDetails", kind[..1].to_ascii_lowercase(), &kind[1..]))
}

/// The name a type's payload goes by.
pub(crate) fn payload_field(kind: &str) -> &'static str {
    match kind {
        "ExecutionStarted" => "input",
        "TaskScheduled" => "parameters",
        kind if kind.ends_with("StateEntered") => "input",
        _ => "output",
    }
}

/// A row of the history as `GetExecutionHistory` shows it. Without `data`, payloads are left out.
pub(crate) fn show(
    id: u64,
    previous: u64,
    at_ms: i64,
    kind: &str,
    fields: Map<String, Value>,
    payload: Option<String>,
    data: bool,
) -> Value {
    let mut event = Map::new();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
    event.insert("timestamp".into(), json!(at_ms as f64 / 1000.0));
    event.insert("type".into(), json!(kind));
    event.insert("id".into(), json!(id));
    event.insert("previousEventId".into(), json!(previous));
    if let Some(member) = details_member(kind) {
        let mut details = fields;
        if let Some(payload) = payload {
            let field = payload_field(kind);
            if data {
                details.insert(field.into(), json!(payload));
            }
            if field != "parameters" {
                details.insert(format!("{field}Details"), json!({ "truncated": !data }));
            }
        }
        if !data {
            details.remove("assignedVariables");
        }
        event.insert(member, Value::Object(details));
    }
    Value::Object(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_where_the_api_puts_them() {
        for (kind, member) in [
            ("TaskStateEntered", Some("stateEnteredEventDetails")),
            ("ChoiceStateExited", Some("stateExitedEventDetails")),
            ("TaskSubmitted", Some("taskSubmittedEventDetails")),
            ("MapIterationAborted", Some("mapIterationAbortedEventDetails")),
            ("MapStateStarted", Some("mapStateStartedEventDetails")),
            ("EvaluationFailed", Some("evaluationFailedEventDetails")),
            ("MapStateAborted", None),
            ("ParallelStateStarted", None),
        ] {
            assert_eq!(details_member(kind).as_deref(), member, "{kind}");
        }
    }
}
