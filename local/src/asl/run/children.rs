//! Frames within frames: Parallel states, and what becomes of a frame that ends, fails or is aborted.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::asl::definition::{State, StateName};
use crate::asl::failure::Failure;
use crate::asl::frame::{Phase, ROOT};
use crate::asl::history::Details;
use crate::asl::journal::{Cell, Write};
use crate::asl::payload::Payload;

use super::{Run, Work, event};

impl Run {
    pub(super) fn start_parallel(&mut self, number: u32, state: &State, branches: &[StateName]) {
        let input = match &state.arguments {
            Some(arguments) => {
                match self.evaluate(number, None, |scope| arguments.evaluate(scope, "Arguments")) {
                    Ok(input) => Payload::new(input),
                    Err(error) => return self.query_failed(number, error),
                }
            }
            None => match self.frames.get(&number) {
                Some(frame) => frame.input.clone(),
                None => return,
            },
        };
        if let Err(failure) = input.within_depth("The input of the branches") {
            return self.state_failed(number, failure);
        }
        let started_event = self.emit(number, "ParallelStateStarted", Details::none());
        self.forget_results(number);
        self.set_phase(number, Phase::Parallel { started_event });
        let mut enter = Vec::new();
        for (position, start_at) in (0_u32..).zip(branches) {
            let branch = self.add_frame(Some(number), position, input.clone(), started_event);
            enter.push(Work::Enter { frame: branch, state: Arc::clone(start_at), input: input.clone() });
        }
        for work in enter.into_iter().rev() {
            self.work.push_front(work);
        }
    }

    /// A frame reached its end.
    pub(super) fn frame_finished(&mut self, number: u32, output: Payload) {
        let Some(frame) = self.frames.get(&number) else { return };
        let (position, parent) = (frame.position, frame.parent);
        let Some(parent) = parent else { return self.succeed(output) };
        let is_map = matches!(self.frames.get(&parent).map(|frame| &frame.body.phase), Some(Phase::Map(_)));
        if is_map {
            self.iteration_event(number, "MapIterationSucceeded");
        }
        self.child_done(number, parent);
        self.keep_result(parent, position, Some(output));
        if is_map {
            return self.work.push_back(Work::Fill { frame: parent });
        }
        if self.frames.get(&parent).is_some_and(|frame| frame.children.is_empty()) {
            let result = self.results(parent);
            let Some((definition, name)) = self.state_of(parent) else { return };
            let Some(state) = definition.states.get(&name) else { return };
            self.emit(parent, event(state, "Succeeded"), Details::none());
            self.forget_results(parent);
            self.set_phase(parent, Phase::Moving);
            self.leave(parent, state, Some(result));
        }
    }

    /// A frame failed, with what nothing in it caught.
    pub(super) fn frame_failed(&mut self, number: u32, failure: Failure) {
        let Some(frame) = self.frames.get(&number) else { return };
        let Some(parent) = frame.parent else {
            return self.end("FAILED", "ExecutionFailed", None, failure);
        };
        match self.frames.get(&parent).map(|frame| &frame.body.phase) {
            Some(Phase::Map(_)) => self.iteration_failed(number, parent, failure),
            _ => {
                self.child_done(number, parent);
                self.composite_failed(parent, failure);
            }
        }
    }

    /// A Parallel or Map state fails: what still runs in it is aborted.
    pub(super) fn composite_failed(&mut self, number: u32, failure: Failure) {
        let Some((definition, name)) = self.state_of(number) else { return };
        let Some(state) = definition.states.get(&name) else { return };
        self.abort_children(number);
        self.emit(number, event(state, "Failed"), Details::none());
        self.forget_results(number);
        self.set_phase(number, Phase::Moving);
        self.state_failed(number, failure);
    }

    /// The frame is gone; its parent's events follow its last one.
    pub(super) fn child_done(&mut self, number: u32, parent: u32) {
        let Some(frame) = self.remove_frame(number) else { return };
        if let Some(parent) = self.frames.get_mut(&parent) {
            parent.body.previous_event = frame.body.previous_event;
        }
        self.touched.insert(parent);
    }

    pub(super) fn keep_result(&mut self, number: u32, position: u32, output: Option<Payload>) {
        let cell = output.as_ref().map(|output| Cell::of(output, &mut self.step.writes, &mut self.last_row));
        self.step.writes.push(Write::Result { frame: number, position, output: cell });
        if let Some(frame) = self.frames.get_mut(&number) {
            frame.results.insert(position, output);
            frame.on_disk = true;
        }
    }

    /// What the children gave, in order, without tolerated failures.
    pub(super) fn results(&self, number: u32) -> Payload {
        let results = self.frames.get(&number).map(|frame| &frame.results);
        let outputs = results.into_iter().flat_map(|results| results.values().flatten());
        Payload::new(Value::Array(outputs.map(|output| output.value().clone()).collect()))
    }

    pub(super) fn forget_results(&mut self, number: u32) {
        let Some(frame) = self.frames.get_mut(&number) else { return };
        frame.items = None;
        if !frame.results.is_empty() || matches!(frame.body.phase, Phase::Map(_)) {
            frame.results.clear();
            self.step.writes.push(Write::ResultsGone { frame: number });
        }
    }

    pub(super) fn iteration_event(&mut self, number: u32, kind: &'static str) {
        let Some(frame) = self.frames.get(&number) else { return };
        let parent = frame.parent.and_then(|parent| self.frames.get(&parent));
        let name = parent.map(|parent| parent.body.state.clone()).unwrap_or_default();
        let details = Details::none().with("name", json!(name)).with("index", json!(frame.position));
        self.emit(number, kind, details);
    }

    fn abort_children(&mut self, number: u32) {
        let Some(frame) = self.frames.get(&number) else { return };
        for child in frame.children.clone() {
            self.abort(child);
            self.child_done(child, number);
        }
    }

    /// Ends whatever the frame and the frames in it wait for. The frame itself stays for its caller to remove.
    pub(super) fn abort(&mut self, number: u32) {
        self.abort_children(number);
        self.cancel_job(number);
        if let Some((definition, name)) = self.state_of(number)
            && let Some(state) = definition.states.get(&name)
            && let Some(frame) = self.frames.get(&number)
            && !matches!(frame.body.phase, Phase::Moving)
        {
            self.emit(number, event(state, "Aborted"), Details::none());
        }
        let parent = self.frames.get(&number).and_then(|frame| self.frames.get(&frame.parent?));
        if number != ROOT && parent.is_some_and(|parent| matches!(parent.body.phase, Phase::Map(_))) {
            self.iteration_event(number, "MapIterationAborted");
        }
    }
}
