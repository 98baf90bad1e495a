//! What can happen to an execution from outside: callbacks, ends of jobs, time, a stop.

use std::cmp::Reverse;

use serde_json::Value;

use crate::asl::failure::{Failure, names};
use crate::asl::frame::{Phase, ROOT};
use crate::asl::integrations::Resource;
use crate::asl::payload::Payload;
use crate::asl::token::TaskRef;

use super::Run;
use super::task::resource_details;

/// What a worker says about its task.
#[derive(Debug)]
pub(crate) enum Callback {
    Success(Payload),
    Failure(Failure),
    Heartbeat,
}

/// The task is closed already, or its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl Run {
    /// A worker called back.
    pub(crate) fn callback(&mut self, task: TaskRef, callback: Callback, now_ms: i64) -> Result<(), Closed> {
        self.now_ms = now_ms;
        if self.ended.is_some() {
            return Err(Closed);
        }
        let (phase, resource) = self.task_state(task).ok_or(Closed)?;
        let answered = phase.submitted;
        match callback {
            Callback::Heartbeat => {
                let interval = phase.heartbeat_seconds.and_then(|seconds| i64::try_from(seconds).ok());
                phase.heartbeat_at_ms = interval.map(|seconds| now_ms + seconds * 1000);
            }
            Callback::Success(result) => {
                self.started_if(!answered, task.frame, &resource);
                self.task_succeeded(task.frame, &resource, result);
            }
            Callback::Failure(failure) => {
                self.started_if(!answered, task.frame, &resource);
                self.task_failed(task.frame, "TaskFailed", &resource, failure);
            }
        }
        Ok(())
    }

    /// A worker may be quicker than the service that called it. That its task had started is known by then.
    fn started_if(&mut self, unanswered: bool, number: u32, resource: &Resource) {
        if unanswered {
            self.emit(number, "TaskStarted", resource_details(resource));
        }
    }

    /// A job ended.
    pub(crate) fn job_ended(&mut self, task: TaskRef, result: Result<Value, Failure>, now_ms: i64) {
        self.now_ms = now_ms;
        if self.ended.is_some() {
            return;
        }
        let Some((phase, resource)) = self.task_state(task) else { return };
        match result {
            Ok(result) => {
                // There is nothing left to cancel.
                phase.submission = None;
                self.task_succeeded(task.frame, &resource, Payload::new(result));
            }
            // It may be the waiting that failed; stopping a job that has ended does nothing.
            Err(failure) => self.task_failed(task.frame, "TaskFailed", &resource, failure),
        }
    }

    /// Whether somebody still waits for the answer to this call: otherwise what it started is to be stopped.
    pub(crate) fn waits_for(&mut self, task: TaskRef) -> bool {
        self.ended.is_none() && self.task_state(task).is_some()
    }

    /// `StopExecution`.
    pub(crate) fn stop(&mut self, failure: Failure, now_ms: i64) {
        self.now_ms = now_ms;
        if self.ended.is_none() {
            self.end_early("ABORTED", "ExecutionAborted", failure.cut());
        }
    }

    /// The clock's unseen time is `unseen_ms` by now: deadlines move by what is new of it, on disk as well. To be told
    /// before anything else that is said of the moment `now_ms`.
    pub(crate) fn pass_unseen(&mut self, unseen_ms: i64, now_ms: i64) {
        let by_ms = unseen_ms - self.unseen_ms;
        if by_ms == 0 {
            return;
        }
        self.unseen_ms = unseen_ms;
        self.timers.clear();
        for (number, frame) in &mut self.frames {
            let mut moved = frame.pass_unseen(by_ms, now_ms);
            if *number == ROOT {
                frame.body.unseen_ms += by_ms;
                moved = true;
            }
            if moved {
                self.touched.insert(*number);
            }
            if let Some(at) = frame.deadline_ms() {
                self.timers.push(Reverse((at, *number)));
            }
        }
    }

    /// The unseen time that the deadlines were moved by.
    pub(crate) fn unseen_ms(&self) -> i64 {
        self.unseen_ms
    }

    /// It is `now_ms`: whatever is due happens.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        if self.ended.is_none() && self.deadline_ms().is_some_and(|at| at <= now_ms) {
            let failure = Failure { error: Some(names::TIMEOUT.into()), cause: None };
            return self.end_early("TIMED_OUT", "ExecutionTimedOut", failure);
        }
        while self.ended.is_none()
            && let Some(Reverse((at, number))) = self.timers.peek().copied()
            && at <= now_ms
        {
            self.timers.pop();
            match self.frames.get(&number).and_then(super::Frame::deadline_ms) {
                Some(due) if due <= now_ms => self.due(number),
                // A heartbeat moved it.
                Some(due) => self.timers.push(Reverse((due, number))),
                None => {}
            }
        }
    }

    fn due(&mut self, number: u32) {
        let Some(frame) = self.frames.get(&number) else { return };
        match &frame.body.phase {
            Phase::Wait { .. } => self.waited(number),
            Phase::Retry { .. } => self.retry(number),
            Phase::Task(phase) => {
                let task = TaskRef { execution: self.id, frame: number, event: phase.event };
                let work_is_late = phase.timeout_at_ms.is_some_and(|at| at <= self.now_ms);
                let heartbeat = phase.heartbeat_seconds.unwrap_or_default();
                let failure = if work_is_late {
                    Failure::new(names::TIMEOUT, "The task did not end within its TimeoutSeconds")
                } else {
                    Failure::new(
                        names::HEARTBEAT_TIMEOUT,
                        format!("No heartbeat came for {heartbeat} seconds"),
                    )
                };
                if let Some((_, resource)) = self.task_state(task) {
                    self.task_failed(number, "TaskTimedOut", &resource, failure);
                }
            }
            Phase::Moving | Phase::Parallel { .. } | Phase::Map(_) => {}
        }
    }

    /// The execution ends with every frame where it is.
    fn end_early(&mut self, status: &'static str, kind: &'static str, failure: Failure) {
        self.abort(ROOT);
        self.end(status, kind, None, failure);
    }
}
