//! The events by their form.
//!
//! A wrong event is refused with the reason and with what is accepted: nothing is guessed, because a misspelt
//! `parameters` would load the wrong day.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::EventError;
use super::operate::{self, Operate};

/// The `source` of schedules' events.
const SCHEDULE: &str = "rsqlflow.schedule";

/// The `source` of the rule's event that calls for a look at everything that is open.
const SWEEP: &str = "rsqlflow.sweep";

/// The `source` of Step Functions' events, and the one kind of them that is taken.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html>
const STATES: (&str, &str) = ("aws.states", "Step Functions Execution Status Change");

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A schedule is due.
    Scheduled(ScheduledStart),
    /// Somebody wants a run.
    Plain(Plain),
    /// An operator asks for something.
    Operate(Operate),
    /// An execution has changed its status.
    Ended(Ended),
    /// Everything that is open is to be looked at.
    Sweep,
}

/// A schedule is due. EventBridge Scheduler fills in the times from `<aws.scheduler.scheduled-time>`.
/// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html>
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledStart {
    /// Always `rsqlflow.schedule`.
    pub source: String,
    /// The workflow.
    pub workflow_id: String,
    /// The time the schedule names, not that of the delivery.
    pub scheduled_time: DateTime<Utc>,
    /// The scheduler's id of the invocation.
    #[serde(default)]
    pub execution_id: Option<String>,
}

/// Somebody wants a run: the form of the framework this product replaces.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// The workflow.
    pub workflow_id: String,
    /// The run's id; made from the request's where it is missing.
    #[serde(default)]
    pub workflow_execution_id: Option<String>,
    /// Parameters over the item's.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

/// An execution has changed its status: the `detail` of Step Functions' event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The execution.
    pub execution_arn: String,
    /// Its state machine.
    pub state_machine_arn: String,
    /// Its name: the run.
    pub name: String,
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub status: String,
    /// Its input, unless that is too long for an event.
    #[serde(default)]
    pub input: Option<String>,
    /// Its error.
    #[serde(default)]
    pub error: Option<String>,
    /// Its cause.
    #[serde(default)]
    pub cause: Option<String>,
    /// When it ended, in milliseconds since 1970.
    #[serde(default)]
    pub stop_date: Option<i64>,
}

impl Event {
    /// Whether it is one by which people ask for runs.
    pub(super) fn is_for_people(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Operate(_) => true,
            Self::Scheduled(_) | Self::Ended(_) | Self::Sweep => false,
        }
    }

    /// Reads an event.
    ///
    /// # Errors
    /// `Rsql.InvalidEvent`, with the reason and what is accepted.
    pub fn parse(mut event: Value) -> Result<Self, EventError> {
        if !event.is_object() {
            return Err(EventError::invalid("the event is not an object"));
        }
        match event.get("source").map(Value::as_str) {
            Some(Some(SCHEDULE)) => read(event).map(Self::Scheduled),
            Some(Some(SWEEP)) => Ok(Self::Sweep),
            Some(Some(operate::SOURCE)) => read(event).map(Self::Operate),
            Some(Some(source)) if source == STATES.0 => match event["detail-type"].as_str() {
                Some(kind) if kind == STATES.1 => read(event["detail"].take()).map(Self::Ended),
                kind => Err(EventError::invalid(&format!(
                    "the detail-type is `{}`, not `{}`",
                    kind.unwrap_or_default(),
                    STATES.1
                ))),
            },
            Some(source) => Err(EventError::invalid(&format!(
                "the source is `{}`, which is not known here",
                source.unwrap_or("not text")
            ))),
            None => read(event).map(Self::Plain),
        }
    }
}

fn read<T: DeserializeOwned>(event: Value) -> Result<T, EventError> {
    let unfilled = event["scheduled_time"].as_str().is_some_and(|time| time.starts_with("<aws.scheduler"));
    serde_json::from_value(event).map_err(|error| {
        if unfilled {
            EventError::invalid(
                "scheduled_time is the scheduler's placeholder: only EventBridge Scheduler fills it in",
            )
        } else {
            EventError::invalid(&format!("the event is not right: {error}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_apart_by_their_source() {
        let scheduled =
            json!({"source": SCHEDULE, "workflow_id": "w", "scheduled_time": "2026-11-21T02:00:00Z"});
        assert!(matches!(Event::parse(scheduled).unwrap(), Event::Scheduled(_)));
        let plain = json!({"workflow_id": "w", "workflow_execution_id": "w-1"});
        assert!(matches!(Event::parse(plain).unwrap(), Event::Plain(_)));
        let ended = json!({"version": "0", "source": "aws.states", "detail-type": STATES.1, "detail": {
            "executionArn": "e", "stateMachineArn": "m", "name": "n", "status": "ABORTED", "startDate": 1, "input": "{}",
            "inputDetails": {"included": true}, "output": null, "error": null, "cause": null, "stopDate": 2}});
        let Event::Ended(ended) = Event::parse(ended).unwrap() else { panic!("not an end") };
        assert_eq!((ended.name.as_str(), ended.input.as_deref(), ended.error), ("n", Some("{}"), None));
    }

    #[test]
    fn a_wrong_event_is_told_what_is_wrong() {
        let wrong = [
            (json!("w"), "not an object"),
            (json!({}), "missing field `workflow_id`"),
            (json!({"workflow_id": "w", "paramters": {}}), "unknown field `paramters`"),
            (json!({"workflow_id": "w", "parameters": {"day": 1}}), "invalid type"),
            (json!({"source": "aws.s3"}), "`aws.s3`"),
            (json!({"source": operate::SOURCE, "by": "maria", "stop": "w-1"}), "unknown field `stop`"),
            (json!({"source": "aws.states", "detail-type": "x"}), "the detail-type is `x`"),
            (json!({"source": SCHEDULE, "workflow_id": "w", "scheduled_time": "soon"}), "invalid"),
            (
                json!({"source": SCHEDULE, "workflow_id": "w", "scheduled_time": "<aws.scheduler.scheduled-time>"}),
                "placeholder",
            ),
        ];
        for (event, says) in wrong {
            let error = Event::parse(event.clone()).unwrap_err();
            assert_eq!(error.error_type, "Rsql.InvalidEvent");
            assert!(error.error_message.contains(says), "{event}: {}", error.error_message);
        }
    }
}
