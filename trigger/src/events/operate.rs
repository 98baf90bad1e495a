//! What operators ask of the function: to start a run, with all that `rsqlflow run` can say, and to cancel one.
//!
//! So an operator needs the permission to call the function, and none to write records or to start state machines. Lambda
//! does not say who calls; the caller names the person, which is recorded as `cli:NAME`. So nobody is recorded as a
//! schedule who is none, and who it really was is in CloudTrail.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::EventError;
use super::fields::Fields;
use super::form::refused;
use crate::{Choice, Restart, StartRequest, Trigger, TriggerError};

/// The `source` of these events.
pub(super) const SOURCE: &str = "rsqlflow.operate";

/// The alias of the function by which operators call it.
pub const ALIAS: &str = "operate";

/// What people are recorded by.
const PERSON: &str = "cli:";

/// Longest name of a person.
const NAME_MAX: usize = 128;

/// An operator asks for something: one of `start` and `cancel`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operate {
    /// Always `rsqlflow.operate`.
    pub source: String,
    /// The person, as the caller says.
    pub by: String,
    /// A run to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// The run to cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
}

/// A run to start: a [`StartRequest`] as far as people may say it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Start {
    /// The workflow; may be empty with `restart_from`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workflow_id: String,
    /// The run's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_execution_id: Option<String>,
    /// Parameters over the item's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The earlier run to go on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_from: Option<String>,
    /// With the item as it was then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub as_it_was: bool,
    /// The stage to begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_stage: Option<String>,
    /// The jobs to run; all where none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

impl Operate {
    /// The event that asks for a run.
    pub fn start(request: StartRequest) -> Self {
        let (restart_from, as_it_was) = match request.restart {
            Some(Restart { of, as_it_was }) => (Some(of), as_it_was),
            None => (None, false),
        };
        let (from_stage, only) = match request.choice {
            Choice::All => (None, Vec::new()),
            Choice::FromStage(stage) => (Some(stage), Vec::new()),
            Choice::Only(jobs) => (None, jobs),
        };
        let start = Start {
            workflow_id: request.workflow_id,
            workflow_execution_id: request.workflow_execution_id,
            parameters: request.parameters,
            restart_from,
            as_it_was,
            from_stage,
            only,
        };
        Self { start: Some(start), ..Self::by(&request.started_by) }
    }

    /// The event that asks for the end of a run.
    pub fn cancel(run_id: &str, by: &str) -> Self {
        Self { cancel: Some(run_id.into()), ..Self::by(by) }
    }

    fn by(person: &str) -> Self {
        let by = person.strip_prefix(PERSON).unwrap_or(person).into();
        Self { source: SOURCE.into(), by, start: None, cancel: None }
    }
}

impl Start {
    fn request(self, started_by: String) -> Result<StartRequest, EventError> {
        let choice = match (self.from_stage, self.only) {
            (None, jobs) if jobs.is_empty() => Choice::All,
            (None, jobs) => Choice::Only(jobs),
            (Some(stage), jobs) if jobs.is_empty() => Choice::FromStage(stage),
            _ => return Err(EventError::invalid("start has both from_stage and only")),
        };
        if self.as_it_was && self.restart_from.is_none() {
            return Err(EventError::invalid("start has as_it_was and no restart_from"));
        }
        if self.workflow_id.is_empty() && self.restart_from.is_none() {
            return Err(EventError::invalid("start has neither workflow_id nor restart_from"));
        }
        Ok(StartRequest {
            workflow_id: self.workflow_id,
            workflow_execution_id: self.workflow_execution_id,
            parameters: self.parameters,
            started_by,
            restart: self.restart_from.map(|of| Restart { of, as_it_was: self.as_it_was }),
            choice,
            ..StartRequest::default()
        })
    }
}

/// Reads the event.
pub(super) fn read(members: Map<String, Value>) -> Result<Operate, EventError> {
    let mut fields = Fields::new("", members);
    let source = fields.text("source").unwrap_or_default();
    let what = format!("write a person's name, 1 to {NAME_MAX} bytes without control characters");
    let by = fields.needed("by", &what, |name| {
        let wrong = name.len() > NAME_MAX || name.contains(char::is_control);
        wrong.then(|| format!("is no name: {what}"))
    });
    let cancel = fields.text("cancel");
    let start = fields.object("start", "start.", |mut fields| {
        let start = Start {
            workflow_id: fields.text("workflow_id").unwrap_or_default(),
            workflow_execution_id: fields.text("workflow_execution_id"),
            parameters: fields.texts("parameters"),
            restart_from: fields.text("restart_from"),
            as_it_was: fields.flag("as_it_was"),
            from_stage: fields.text("from_stage"),
            only: fields.list("only"),
        };
        let known = [
            "workflow_id",
            "workflow_execution_id",
            "parameters",
            "restart_from",
            "as_it_was",
            "from_stage",
            "only",
        ];
        (start, fields.finish(&known))
    });
    refused(fields.finish(&["source", "by", "start", "cancel"]))?;
    Ok(Operate { source, by, start, cancel })
}

/// Does it.
pub(super) async fn handle(trigger: &Trigger, asked: Operate) -> Result<Value, EventError> {
    let by = format!("{PERSON}{}", asked.by);
    match (asked.start, asked.cancel) {
        (Some(start), None) => {
            let started = trigger.start(start.request(by.clone())?).await?;
            tracing::info!(run = started.workflow_execution_id, by, "started");
            answer(&started)
        }
        (None, Some(run_id)) => {
            let cancelled = trigger.cancel(&run_id, &by).await?;
            tracing::info!(run = run_id, by, "cancelled");
            answer(&cancelled)
        }
        _ => Err(EventError::invalid("the event has to have one of start and cancel")),
    }
}

fn answer(done: &impl Serialize) -> Result<Value, EventError> {
    serde_json::to_value(done)
        .map_err(|error| TriggerError::Record { table: "answer".into(), message: error.to_string() }.into())
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::*;
    use serde_json::json;

    fn read_back(event: &Operate) -> Operate {
        let sent = serde_json::to_value(event).unwrap();
        let Event::Operate(read) = Event::parse(sent).unwrap() else { panic!("another event") };
        read
    }

    #[test]
    fn what_people_may_say_comes_through_the_event_as_it_was() {
        let restart = Restart { of: "night-1".into(), as_it_was: true };
        for choice in [Choice::All, Choice::FromStage("2".into()), Choice::Only(vec!["a.sh".into()])] {
            let request = StartRequest {
                workflow_id: "nightly".into(),
                workflow_execution_id: Some("night-2".into()),
                parameters: [("day".to_string(), "1".to_string())].into(),
                started_by: "cli:maria".into(),
                restart: Some(restart.clone()),
                choice,
                ..StartRequest::default()
            };
            let read = read_back(&Operate::start(request.clone()));
            assert_eq!(read.by, "maria");
            let again = read.start.unwrap().request("cli:maria".into()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{request:?}"));
        }
        assert_eq!(read_back(&Operate::cancel("night-1", "cli:maria")).cancel.as_deref(), Some("night-1"));
    }

    #[test]
    fn a_wrong_event_names_each_member_that_is_wrong() {
        let told = |event: Value| {
            let error = Event::parse(event).unwrap_err();
            error.error_message.split_once(". Accepted are ").unwrap().0.to_owned()
        };
        let asked = json!({"source": SOURCE, "by": "a\nb", "stop": "w-1", "cancel": 7});
        insta::assert_snapshot!(
            told(asked),
            @"by is no name: write a person's name, 1 to 128 bytes without control characters; cancel is a number (7), and has to be text; stop is not known here"
        );
        let start = json!({
            "workflow_id": 7, "parameters": {"day": 1}, "as_it_was": "yes", "only": ["a", 1], "from": "2"
        });
        insta::assert_snapshot!(
            told(json!({"source": SOURCE, "start": start})),
            @r#"by is missing: write a person's name, 1 to 128 bytes without control characters; start.workflow_id is a number (7), and has to be text; start.parameters.day is a number (1), and has to be text: write "1"; start.as_it_was is text ("yes"), and has to be true or false; start.only[1] is a number (1), and has to be text; start.from is not known here"#
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let start = |start: Start| start.request("cli:maria".into()).unwrap_err().error_message;
        let both = Start {
            workflow_id: "w".into(),
            from_stage: Some("1".into()),
            only: vec!["a".into()],
            ..Start::default()
        };
        assert!(start(both).contains("both from_stage and only"));
        assert!(start(Start::default()).contains("neither workflow_id nor restart_from"));
        let alone = Start { workflow_id: "w".into(), as_it_was: true, ..Start::default() };
        assert!(start(alone).contains("no restart_from"));
    }
}
