//! The events by their form.
//!
//! A wrong event is refused with every reason and with what is accepted: nothing is guessed, because a misspelt
//! `parameters` would load the wrong day.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rsqlflow_config::{names, time};
use serde_json::{Map, Value};

use super::EventError;
use super::fields::{Fields, cut, shown};
use super::operate::{self, Operate};

/// The `source` of schedules' events.
const SCHEDULE: &str = "rsqlflow.schedule";

/// The `source` of the rule's event that calls for a look at everything that is open.
const SWEEP: &str = "rsqlflow.sweep";

/// The `source` of Step Functions' events, and the one kind of them that is taken.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html>
const STATES: (&str, &str) = ("aws.states", "Step Functions Execution Status Change");

/// What an execution's status may be.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html>
const STATUSES: [&str; 6] = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"];

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
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledStart {
    /// The workflow.
    pub workflow_id: String,
    /// The time the schedule names, not that of the delivery.
    pub scheduled_time: DateTime<Utc>,
}

/// Somebody wants a run: the form of the framework this product replaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain {
    /// The workflow.
    pub workflow_id: String,
    /// The run's id; made from the request's where it is missing.
    pub workflow_execution_id: Option<String>,
    /// Parameters over the item's.
    pub parameters: BTreeMap<String, String>,
}

/// An execution has changed its status: the `detail` of Step Functions' event.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its state machine.
    pub state_machine_arn: String,
    /// Its name: the run.
    pub name: String,
    /// `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT`, `ABORTED` or `PENDING_REDRIVE`.
    pub status: String,
    /// Its input, unless that is too long for an event.
    pub input: Option<String>,
    /// Its error.
    pub error: Option<String>,
    /// Its cause.
    pub cause: Option<String>,
    /// When it ended, in milliseconds since 1970.
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
    /// `Rsql.InvalidEvent`, with every reason and what is accepted.
    pub fn parse(event: Value) -> Result<Self, EventError> {
        let mut members = match event {
            Value::Object(members) => members,
            other => {
                return Err(EventError::invalid(&format!("the event is {}, not an object", shown(&other))));
            }
        };
        match members.get("source") {
            None => plain(members).map(Self::Plain),
            Some(Value::String(source)) if source == SCHEDULE => scheduled(members).map(Self::Scheduled),
            Some(Value::String(source)) if source == operate::SOURCE => {
                operate::read(members).map(Self::Operate)
            }
            Some(Value::String(source)) if source == SWEEP => {
                members.remove("source");
                refused(Fields::new("", members).finish(&["source"])).map(|()| Self::Sweep)
            }
            Some(Value::String(source)) if source == STATES.0 => {
                match members.get("detail-type").unwrap_or(&Value::Null) {
                    Value::String(kind) if kind == STATES.1 => {}
                    other => {
                        let kind =
                            other.as_str().map_or_else(|| shown(other), |kind| format!("`{}`", cut(kind)));
                        return Err(EventError::invalid(&format!(
                            "detail-type is {kind}, not `{}`",
                            STATES.1
                        )));
                    }
                }
                match members.remove("detail").unwrap_or_default() {
                    Value::Object(detail) => ended(detail).map(Self::Ended),
                    other => Err(EventError::invalid(&format!("detail is {}, not an object", shown(&other)))),
                }
            }
            Some(Value::String(source)) => {
                Err(EventError::invalid(&format!("source is `{}`, which is not known here", cut(source))))
            }
            Some(other) => {
                Err(EventError::invalid(&format!("source is {}, and has to be text", shown(other))))
            }
        }
    }
}

/// What to write for a workflow.
const WORKFLOW: &str = "write the id of a workflow (rsqlflow config list)";

/// An id of other characters may be a slip for one that there is, which is told with the nearest; one of this length is none.
fn too_long(id: &str) -> Option<String> {
    let length = id.chars().count();
    (length > names::WORKFLOW_ID_MAX)
        .then(|| format!("has {length} characters, at most {} are allowed", names::WORKFLOW_ID_MAX))
}

/// The error, where there are problems.
pub(super) fn refused(problems: Vec<String>) -> Result<(), EventError> {
    if problems.is_empty() { Ok(()) } else { Err(EventError::invalid(&problems.join("; "))) }
}

fn scheduled(members: Map<String, Value>) -> Result<ScheduledStart, EventError> {
    let mut fields = Fields::new("", members);
    fields.text("source");
    // The scheduler's id of the invocation, of which nothing follows.
    fields.text("execution_id");
    let workflow_id = fields.needed("workflow_id", WORKFLOW, too_long);
    let what = "write a time as 2026-11-21T02:00:00Z";
    let told = fields.needed("scheduled_time", what, |text| {
        if text.starts_with("<aws.scheduler") {
            Some("is the scheduler's placeholder: only EventBridge Scheduler fills it in".into())
        } else {
            time::parse(text).is_none().then(|| format!("is `{}`, which is no time: {what}", cut(text)))
        }
    });
    refused(fields.finish(&["source", "workflow_id", "scheduled_time", "execution_id"]))?;
    let scheduled_time = time::parse(&told).unwrap_or_default();
    Ok(ScheduledStart { workflow_id, scheduled_time })
}

fn plain(members: Map<String, Value>) -> Result<Plain, EventError> {
    let mut fields = Fields::new("", members);
    let workflow_id = fields.needed("workflow_id", WORKFLOW, too_long);
    // What it must be like, the start says, with a code of its own.
    let workflow_execution_id = fields.text("workflow_execution_id");
    let parameters = fields.texts("parameters");
    refused(fields.finish(&["workflow_id", "workflow_execution_id", "parameters"]))?;
    Ok(Plain { workflow_id, workflow_execution_id, parameters })
}

/// EventBridge may add members whenever it likes.
fn ended(detail: Map<String, Value>) -> Result<Ended, EventError> {
    let mut fields = Fields::new("detail.", detail);
    let what = "it comes from Step Functions";
    let any = |_: &str| None;
    let ended = Ended {
        state_machine_arn: fields.needed("stateMachineArn", what, any),
        name: fields.needed("name", what, any),
        status: fields.needed("status", what, |status| {
            let known = STATUSES.contains(&status);
            (!known).then(|| format!("is `{}`; known are {}", cut(status), STATUSES.join(", ")))
        }),
        input: fields.text("input"),
        error: fields.text("error"),
        cause: fields.text("cause"),
        stop_date: fields.number("stopDate"),
    };
    refused(fields.lenient())?;
    Ok(ended)
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
        let plain = json!({"workflow_id": "w", "workflow_execution_id": "w-1", "parameters": null});
        assert!(matches!(Event::parse(plain).unwrap(), Event::Plain(_)));
        assert_eq!(Event::parse(json!({"source": SWEEP})).unwrap(), Event::Sweep);
        let ended = json!({"version": "0", "source": "aws.states", "detail-type": STATES.1, "detail": {
            "executionArn": "e", "stateMachineArn": "m", "name": "n", "status": "ABORTED", "startDate": 1, "input": "{}",
            "inputDetails": {"included": true}, "output": null, "error": null, "cause": null, "stopDate": 2}});
        let Event::Ended(ended) = Event::parse(ended).unwrap() else { panic!("not an end") };
        assert_eq!((ended.name.as_str(), ended.input.as_deref(), ended.error), ("n", Some("{}"), None));
    }

    /// Every form with every way to be wrong; the snapshot is for reading.
    #[test]
    fn a_wrong_event_names_each_member_that_is_wrong_and_what_to_write() {
        let end = |detail: Value| json!({"source": "aws.states", "detail-type": STATES.1, "detail": detail});
        let due = |time: Value| json!({"source": SCHEDULE, "workflow_id": "w", "scheduled_time": time});
        let with = |parameters: Value| json!({"workflow_id": "w", "parameters": parameters});
        let wrong = [
            json!(null),
            json!("w"),
            json!(["w"]),
            json!(5),
            json!({}),
            json!({"workflow_id": null}),
            json!({"workflow_id": ""}),
            json!({"workflow_id": 5}),
            json!({"workflow_id": {"S": "w"}}),
            json!({"workflow_id": "w".repeat(3_000)}),
            json!({"workflow_id": "w", "paramters": {}}),
            json!({"workflow_id": "w", "something": 1, "workflow_execution_id": ["r"]}),
            with(json!("DAY=1")),
            with(json!([])),
            with(json!({"DAY": 1, "FULL": true, "OF": null, "LIST": [1], "MAP": {"a": "b"}})),
            with(json!({"RATE": 1e300, "BIG": 123_456_789_012_345_678_u64})),
            json!({"source": 5}),
            json!({"source": null, "workflow_id": "w"}),
            json!({"source": "aws.s3"}),
            json!({"source": "s".repeat(3_000)}),
            json!({"source": SWEEP, "workflow_id": "w"}),
            json!({"source": SCHEDULE}),
            json!({"source": SCHEDULE, "workflow_id": "", "scheduled_time": ""}),
            json!({"source": SCHEDULE, "workflow_id": "w", "scheduled-time": "2026-11-21T02:00:00Z"}),
            due(json!("soon")),
            due(json!("2026-11-21")),
            due(json!("2026-11-21T02:00:00")),
            due(json!("2026-02-30T02:00:00Z")),
            due(json!(1_795_226_400)),
            due(json!("<aws.scheduler.scheduled-time>")),
            json!({"source": "aws.states"}),
            json!({"source": "aws.states", "detail-type": "x"}),
            json!({"source": "aws.states", "detail-type": STATES.1}),
            end(json!("x")),
            end(json!({})),
            end(
                json!({"stateMachineArn": "m", "name": "n", "status": "DONE", "stopDate": "now", "input": {}}),
            ),
        ];
        let told: Vec<String> = wrong
            .into_iter()
            .map(|event| {
                let text = event.to_string();
                let error = Event::parse(event).unwrap_err();
                assert_eq!(error.error_type, "Rsql.InvalidEvent");
                let (said, accepted) = error.error_message.split_once(". Accepted are ").unwrap();
                assert!(accepted.contains("rsqlflow.schedule"), "{accepted}");
                assert!(said.len() < 600, "{said}");
                format!("{}\n    {}", cut(&text), said.replace("; ", "\n    "))
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
