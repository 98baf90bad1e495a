//! Task states: scheduling, and how they end.
//!
//! The arguments of a callback task hold its token, in whatever form an expression gave it. The history must not:
//! so for the record the arguments are evaluated with a stand-in for the token, and before the real ones, so that
//! an expression that fails does so without the token at hand.

use serde_json::Value;

use crate::asl::definition::{Kind, QueryError, State, Task};
use crate::asl::failure::Failure;
use crate::asl::frame::{Phase, TaskPhase};
use crate::asl::history::Details;
use crate::asl::integrations::{Pattern, Resource};
use crate::asl::payload::Payload;
use crate::asl::token::TaskRef;

use super::evaluate::{Extras, chance};
use super::{Effect, Run, whole};

/// What stands in the history where the token was.
pub(super) const STAND_IN: &str = "[task token]";

impl Run {
    /// Schedules the frame's task.
    pub(super) fn schedule(&mut self, number: u32, state: &State, task: &Task) {
        let event = self.next_event;
        let again = (self.now_ms, chance());
        let evaluated = self.arguments(number, state, task, event, again).and_then(|arguments| {
            let seconds = |field: &str, template: &Option<crate::asl::definition::Template>| {
                let Some(template) = template else { return Ok(None) };
                let extras = Extras { again: Some(again), ..Extras::default() };
                self.evaluate_with(number, extras, |scope| {
                    template.evaluate_as(scope, field, "integer", |value| whole(value, 1))
                })
                .map(Some)
            };
            let timeout = seconds("TimeoutSeconds", &task.timeout_seconds)?;
            let heartbeat = seconds("HeartbeatSeconds", &task.heartbeat_seconds)?;
            Ok((arguments, timeout, heartbeat))
        });
        let ((shown, arguments), timeout, heartbeat) = match evaluated {
            Ok(evaluated) => evaluated,
            Err(error) => return self.query_failed(number, error),
        };
        let shown = match Payload::new(shown)
            .within_limit(&format!("The size of the arguments of the state/task '{}'", state.name))
        {
            Ok(shown) => shown,
            Err(failure) => return self.state_failed(number, failure),
        };
        let mut details =
            resource_details(&task.resource).with("region", self.region.clone()).payload(&shown);
        if let Some(seconds) = timeout {
            details = details.with("timeoutInSeconds", seconds);
        }
        if let Some(seconds) = heartbeat {
            details = details.with("heartbeatInSeconds", seconds);
        }
        self.emit(number, "TaskScheduled", details);
        let after = |seconds: u64| i64::try_from(seconds).ok().map(|seconds| self.now_ms + seconds * 1000);
        let phase = TaskPhase {
            event,
            scheduled_ms: again.0,
            seed: again.1,
            submitted: false,
            submission: None,
            timeout_at_ms: timeout.and_then(after),
            heartbeat_seconds: heartbeat,
            heartbeat_at_ms: heartbeat.and_then(after),
        };
        self.set_phase(number, Phase::Task(phase));
        if self.overflow {
            return;
        }
        let task_ref = TaskRef { execution: self.id, frame: number, event };
        self.step.effects.push(Effect::Call { task: task_ref, resource: task.resource.clone(), arguments });
    }

    /// The arguments for the record and those for the call.
    pub(super) fn arguments(
        &self,
        number: u32,
        state: &State,
        task: &Task,
        event: u64,
        again: (i64, u64),
    ) -> Result<(Value, Value), QueryError> {
        let evaluate = |token: Option<&str>| {
            let extras = Extras { token, again: Some(again), ..Extras::default() };
            self.evaluate_with(number, extras, |scope| match &state.arguments {
                Some(arguments) => arguments.evaluate(scope, "Arguments"),
                None => Ok(scope.input.value().clone()),
            })
        };
        if task.resource.pattern != Pattern::Callback {
            let arguments = evaluate(None)?;
            return Ok((arguments.clone(), arguments));
        }
        let shown = evaluate(Some(STAND_IN))?;
        let token = self.key.issue(TaskRef { execution: self.id, frame: number, event });
        let arguments = evaluate(Some(&token)).map_err(|error| QueryError {
            message: format!(
                "The value for the field '{}' could not be made with the task token.",
                error.field
            ),
            field: error.field,
        })?;
        Ok((shown, arguments))
    }

    /// The task that `task` names, if the frame still waits for it.
    pub(super) fn task_state(&mut self, task: TaskRef) -> Option<(&mut TaskPhase, Resource)> {
        let frame = self.frames.get_mut(&task.frame)?;
        let resource = match &self.definition.states.get(frame.body.state.as_str())?.kind {
            Kind::Task(task) => task.resource.clone(),
            _ => return None,
        };
        Some((frame.task(task.event)?, resource))
    }

    /// The call was answered.
    pub(crate) fn called(&mut self, task: TaskRef, answer: Result<Value, Failure>, now_ms: i64) {
        self.now_ms = now_ms;
        let Some((phase, resource)) = self.task_state(task) else { return };
        if phase.submitted {
            return;
        }
        let number = task.frame;
        match answer {
            Err(failure) => {
                self.emit(number, "TaskStarted", resource_details(&resource));
                let kind = if resource.pattern == Pattern::RequestResponse {
                    "TaskFailed"
                } else {
                    "TaskSubmitFailed"
                };
                self.task_failed(number, kind, &resource, failure);
            }
            Ok(answer) if resource.pattern == Pattern::RequestResponse => {
                self.emit(number, "TaskStarted", resource_details(&resource));
                self.task_succeeded(number, &resource, Payload::new(answer));
            }
            Ok(answer) => {
                phase.submitted = true;
                if resource.pattern.runs_a_job() {
                    phase.submission = Some(answer.clone());
                    let (resource, submission) = (resource.clone(), answer.clone());
                    self.step.effects.push(Effect::Await { task, resource, submission });
                }
                self.emit(number, "TaskStarted", resource_details(&resource));
                let details = resource_details(&resource).payload(&Payload::new(answer));
                self.emit(number, "TaskSubmitted", details);
                if self.overflow {
                    self.go();
                }
            }
        }
    }

    /// The result is there.
    pub(super) fn task_succeeded(&mut self, number: u32, resource: &Resource, result: Payload) {
        let Some((definition, name)) = self.state_of(number) else { return };
        let Some(state) = definition.states.get(&name) else { return };
        match result.within_limit(&format!("The state/task '{name}' returned a result with a size that")) {
            Ok(result) => {
                self.emit(number, "TaskSucceeded", resource_details(resource).payload(&result));
                self.set_phase(number, Phase::Moving);
                self.leave(number, state, Some(result));
                self.go();
            }
            Err(failure) => self.task_failed(number, "TaskFailed", resource, failure),
        }
    }

    /// The task ended otherwise; `kind` is the event that says so.
    pub(super) fn task_failed(
        &mut self,
        number: u32,
        kind: &'static str,
        resource: &Resource,
        failure: Failure,
    ) {
        let failure = failure.cut();
        self.emit(number, kind, resource_details(resource).failure(&failure));
        self.cancel_job(number);
        self.set_phase(number, Phase::Moving);
        self.state_failed(number, failure);
        self.go();
    }

    /// If the frame waits for a job, the job is to be stopped.
    pub(super) fn cancel_job(&mut self, number: u32) {
        let Some(Phase::Task(phase)) = self.frames.get(&number).map(|frame| &frame.body.phase) else {
            return;
        };
        let (event, submission) = (phase.event, phase.submission.clone());
        let task = TaskRef { execution: self.id, frame: number, event };
        if let Some(submission) = submission
            && let Some((_, resource)) = self.task_state(task)
        {
            self.step.effects.push(Effect::Cancel { task, resource, submission });
        }
    }
}

pub(super) fn resource_details(resource: &Resource) -> Details {
    Details::none()
        .with("resourceType", resource.resource_type.as_str())
        .with("resource", resource.resource.as_str())
}
