//! The interpreter.
//!
//! A [`Run`] is one execution in memory. It is told what happened (a call was answered, a callback came, time
//! passed, someone stops it), moves every frame on as far as it goes, and leaves behind a [`Step`]: what to write,
//! and what to do once that is written. It touches neither disk nor clock nor network, so the same run from the same
//! rows always goes on the same way.
//!
//! Work is a queue, not recursion: a Map of ten thousand Pass states needs no stack. A frame that moves on goes to
//! the front of the queue, so one frame's events stand together in the history; a Map starting its next iteration
//! goes to the back.

mod children;
mod end;
mod evaluate;
mod fail;
mod map;
mod resume;
mod stimulus;
mod task;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::definition::{Definition, Exit, Kind, State, StateName, Wait};
use super::failure::{Failure, names};
use super::frame::{Frame, Phase, ROOT};
use super::history::{Details, Event};
use super::integrations::Resource;
use super::journal::{Cell, Write};
use super::limits;
use super::payload::Payload;
use super::scope::ExecutionFacts;
use super::token::{TaskRef, TokenKey};

pub(crate) use stimulus::{Callback, Closed};

/// One execution in memory.
pub(crate) struct Run {
    pub(crate) id: i64,
    pub(crate) facts: ExecutionFacts,
    pub(crate) definition: Arc<Definition>,
    pub(crate) key: TokenKey,
    pub(crate) region: String,
    frames: BTreeMap<u32, Frame>,
    next_frame: u32,
    next_event: u64,
    /// The last document's number.
    last_row: u32,
    /// Moments at which a frame may be due; entries of frames that moved on are skipped when they come up.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    work: VecDeque<Work>,
    /// Frames whose row is out of date.
    touched: BTreeSet<u32>,
    step: Step,
    ended: Option<Ended>,
    /// The history is full.
    overflow: bool,
    now_ms: i64,
    /// The clock's unseen time ([`crate::clock`]) that the deadlines were moved by.
    unseen_ms: i64,
}

/// What one step leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) writes: Vec<Write>,
    /// To be done once the writes are kept.
    pub(crate) effects: Vec<Effect>,
    /// The execution moved on, so the writes must survive a power cut; otherwise they only record what a restart
    /// would find out again.
    pub(crate) progress: bool,
}

/// Something to do outside.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Call a task's resource.
    Call { task: TaskRef, resource: Resource, arguments: Value },
    /// Wait for the job that a call started.
    Await { task: TaskRef, resource: Resource, submission: Value },
    /// Stop that job: its task is no more.
    Cancel { task: TaskRef, resource: Resource, submission: Value },
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub(crate) status: &'static str,
}

/// The next thing to do with a frame.
enum Work {
    Enter {
        frame: u32,
        state: StateName,
        input: Payload,
    },
    Execute {
        frame: u32,
    },
    Finished {
        frame: u32,
        output: Payload,
    },
    Failed {
        frame: u32,
        failure: Failure,
    },
    /// Start as many iterations as may run, or finish the Map.
    Fill {
        frame: u32,
    },
}

/// A state's `...StateEntered` and the like.
fn event(state: &State, suffix: &'static str) -> Cow<'static, str> {
    Cow::Owned(format!("{}State{suffix}", state.kind.word()))
}

impl Run {
    /// An execution that is about to begin.
    pub(crate) fn new(
        id: i64,
        facts: ExecutionFacts,
        definition: Arc<Definition>,
        key: TokenKey,
        region: String,
    ) -> Self {
        Self {
            id,
            facts,
            definition,
            key,
            region,
            frames: BTreeMap::new(),
            next_frame: ROOT,
            next_event: 1,
            last_row: 0,
            timers: BinaryHeap::new(),
            work: VecDeque::new(),
            touched: BTreeSet::new(),
            step: Step::default(),
            ended: None,
            overflow: false,
            now_ms: 0,
            unseen_ms: 0,
        }
    }

    /// Begins: the first step goes as far as it can. `unseen_ms` is the clock's unseen time by now.
    pub(crate) fn begin(&mut self, now_ms: i64, unseen_ms: i64) {
        (self.now_ms, self.unseen_ms) = (now_ms, unseen_ms);
        let input = self.facts.input.clone();
        let details = Details::none().with("roleArn", self.facts.role_arn.clone()).payload(&input);
        self.emit_after(0, "ExecutionStarted".into(), details);
        let root = self.add_frame(None, 0, input.clone(), 0);
        let state = Arc::clone(&self.definition.start_at);
        self.work.push_back(Work::Enter { frame: root, state, input });
        self.go();
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// When it must be told the time, if time alone can move it.
    pub(crate) fn next_deadline_ms(&self) -> Option<i64> {
        if self.ended.is_some() {
            return None;
        }
        let next = self.timers.peek().map(|Reverse((at, _))| *at);
        next.into_iter().chain(self.deadline_ms()).min()
    }

    /// When the whole execution times out.
    fn deadline_ms(&self) -> Option<i64> {
        let seconds = i64::try_from(self.definition.timeout_seconds?).ok()?;
        let unseen_ms = self.frames.get(&ROOT).map_or(0, |root| root.body.unseen_ms);
        Some(self.facts.started_ms + seconds * 1000 + unseen_ms)
    }

    /// What the stimuli since the last call have led to.
    pub(crate) fn take_step(&mut self) -> Step {
        for number in std::mem::take(&mut self.touched) {
            let Some(frame) = self.frames.get_mut(&number) else { continue };
            frame.on_disk = true;
            let writes = &mut self.step.writes;
            for name in std::mem::take(&mut frame.assigned) {
                if let Some(value) = frame.variables.get(&name) {
                    let value = Cell::of(value, writes, &mut self.last_row);
                    writes.push(Write::Variable { frame: number, name, value });
                }
            }
            let input = Cell::of(&frame.input, writes, &mut self.last_row);
            writes.push(Write::Frame {
                frame: number,
                parent: frame.parent,
                position: frame.position,
                body: serde_json::to_string(&frame.body).unwrap_or_default(),
                input,
            });
        }
        let mut step = std::mem::take(&mut self.step);
        // A task may be scheduled and over within one step: two things happened at once. Then it never began.
        step.effects.retain(|effect| match effect {
            Effect::Call { task, .. } | Effect::Await { task, .. } => self.waits_for(*task),
            Effect::Cancel { .. } => true,
        });
        step
    }

    /// Does all the work there is.
    fn go(&mut self) {
        self.step.progress = true;
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Enter { frame, state, input } => self.enter(frame, &state, input),
                Work::Execute { frame } => self.execute(frame),
                Work::Finished { frame, output } => self.frame_finished(frame, output),
                Work::Failed { frame, failure } => self.frame_failed(frame, failure),
                Work::Fill { frame } => self.fill(frame),
            }
            if self.overflow && self.ended.is_none() {
                self.history_full();
            }
            if self.ended.is_some() {
                self.work.clear();
            }
        }
    }

    fn add_frame(&mut self, parent: Option<u32>, position: u32, input: Payload, previous: u64) -> u32 {
        let number = self.next_frame;
        self.next_frame += 1;
        self.frames.insert(number, Frame::new(parent, position, input, previous));
        self.touched.insert(number);
        if let Some(parent) = parent.and_then(|parent| self.frames.get_mut(&parent)) {
            parent.children.push(number);
        }
        number
    }

    /// Forgets a frame whose children are gone already.
    fn remove_frame(&mut self, number: u32) -> Option<Frame> {
        let frame = self.frames.remove(&number)?;
        self.touched.remove(&number);
        if frame.on_disk {
            self.step.writes.push(Write::FrameGone { frame: number });
        }
        if let Some(parent) = frame.parent.and_then(|parent| self.frames.get_mut(&parent)) {
            parent.children.retain(|child| *child != number);
        }
        Some(frame)
    }

    /// Writes an event of `frame`; gives its id.
    fn emit(&mut self, frame: u32, kind: impl Into<Cow<'static, str>>, details: Details) -> u64 {
        let previous = self.frames.get(&frame).map_or(0, |frame| frame.body.previous_event);
        let id = self.emit_after(previous, kind.into(), details);
        if let Some(frame) = self.frames.get_mut(&frame) {
            frame.body.previous_event = id;
        }
        self.touched.insert(frame);
        id
    }

    fn emit_after(&mut self, previous: u64, kind: Cow<'static, str>, details: Details) -> u64 {
        // The last place is kept for the event that says how it ended.
        if self.next_event >= limits::HISTORY_EVENTS && self.ended.is_none() {
            self.overflow = true;
            return previous;
        }
        let id = self.next_event;
        self.next_event += 1;
        let payload = details
            .payload
            .as_ref()
            .map(|payload| Cell::of(payload, &mut self.step.writes, &mut self.last_row));
        let event = Event { id, previous, at_ms: self.now_ms, kind, details };
        self.step.writes.push(Write::Event { event, payload });
        id
    }

    fn state_of(&self, frame: u32) -> Option<(Arc<Definition>, StateName)> {
        let name = self.frames.get(&frame)?.body.state.as_str();
        let (name, _) = self.definition.states.get_key_value(name)?;
        Some((Arc::clone(&self.definition), Arc::clone(name)))
    }

    fn enter(&mut self, number: u32, name: &StateName, input: Payload) {
        // A sibling that failed took the frame along before it entered its first state.
        if !self.frames.contains_key(&number) {
            return;
        }
        let definition = Arc::clone(&self.definition);
        // Every target was checked when the definition was read.
        let Some(state) = definition.states.get(name) else { return };
        let details = Details::none().with("name", &**name).payload(&input);
        let entered = self.emit(number, event(state, "Entered"), details);
        let Some(frame) = self.frames.get_mut(&number) else { return };
        frame.input = input;
        frame.body.state = name.to_string();
        frame.body.entered_ms = self.now_ms;
        frame.body.entered_event = entered;
        frame.body.retries = vec![0; state.retry.len()];
        frame.body.phase = Phase::Moving;
        self.work.push_front(Work::Execute { frame: number });
    }

    /// Does what the frame's state is for; also again, when it is retried.
    fn execute(&mut self, number: u32) {
        let Some((definition, name)) = self.state_of(number) else { return };
        let Some(state) = definition.states.get(&name) else { return };
        self.set_phase(number, Phase::Moving);
        match &state.kind {
            Kind::Pass | Kind::Succeed => self.leave(number, state, None),
            Kind::Choice { rules, default } => {
                for (index, rule) in rules.iter().enumerate() {
                    let field = format!("Choices/{index}/Condition");
                    let chosen = self.evaluate(number, None, |scope| {
                        rule.condition.evaluate_as(scope, &field, "boolean", Value::as_bool)
                    });
                    match chosen {
                        Ok(true) => return self.leave_by(number, state, &rule.exit, None, Some(&rule.next)),
                        Ok(false) => {}
                        Err(error) => return self.query_failed(number, error),
                    }
                }
                match default {
                    Some(next) => self.leave_by(number, state, &state.exit, None, Some(next)),
                    None => {
                        let cause = "Failed to transition out of the state. The state does not point to a next state.";
                        self.state_failed(number, Failure::new(names::NO_CHOICE_MATCHED, cause));
                    }
                }
            }
            Kind::Wait(wait) => match self.until(number, wait) {
                Ok(until_ms) => {
                    let fixed = matches!(wait, Wait::Timestamp(_));
                    self.set_phase(number, Phase::Wait { until_ms, fixed });
                }
                Err(error) => self.query_failed(number, error),
            },
            Kind::Fail { error, cause } => self.fail_state(number, error.as_ref(), cause.as_ref()),
            Kind::Task(task) => self.schedule(number, state, task),
            Kind::Parallel { branches } => self.start_parallel(number, state, branches),
            Kind::Map(map) => self.start_map(number, state, map),
        }
    }

    fn set_phase(&mut self, number: u32, phase: Phase) {
        let Some(frame) = self.frames.get_mut(&number) else { return };
        frame.body.phase = phase;
        if let Some(at) = frame.deadline_ms() {
            self.timers.push(Reverse((at, number)));
        }
        self.touched.insert(number);
    }

    fn until(&self, number: u32, wait: &Wait) -> Result<i64, super::definition::QueryError> {
        self.evaluate(number, None, |scope| match wait {
            Wait::Seconds(seconds) => {
                let seconds = seconds.evaluate_as(scope, "Seconds", "integer", |value| {
                    whole(value, 0).and_then(|seconds| i64::try_from(seconds).ok())
                })?;
                Ok(self.now_ms + seconds * 1000)
            }
            Wait::Timestamp(at) => at.evaluate_as(scope, "Timestamp", "timestamp", |value| {
                Some(chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok()?.timestamp_millis())
            }),
        })
    }

    /// Leaves the state by its own `Assign`, `Output` and `Next`.
    fn leave(&mut self, number: u32, state: &State, result: Option<Payload>) {
        self.leave_by(number, state, &state.exit, result, state.next.as_ref());
    }

    fn leave_by(
        &mut self,
        number: u32,
        state: &State,
        exit: &Exit,
        result: Option<Payload>,
        next: Option<&StateName>,
    ) {
        let Some(frame) = self.frames.get(&number) else { return };
        let unless_told = result.clone().unwrap_or_else(|| frame.input.clone());
        match self.evaluate(number, result.as_ref(), |scope| exit.leave(scope, &unless_told)) {
            Ok(left) => {
                if let Err(failure) = self.exit(number, state, left, next) {
                    self.state_failed(number, failure);
                }
            }
            Err(error) => self.query_failed(number, error),
        }
    }

    /// The state is left: variables take effect, and the frame goes on or is done. Unless it would leave with too
    /// much, which is its failure; but not one that it may catch when it is catching one.
    fn exit(
        &mut self,
        number: u32,
        state: &State,
        left: super::definition::Left,
        next: Option<&StateName>,
    ) -> Result<(), Failure> {
        let output = left
            .output
            .within_limit(&format!("The state/task '{}' returned a result with a size that", state.name))?;
        let mut details = Details::none().with("name", &*state.name).payload(&output);
        if !left.assigned.is_empty() {
            self.check_variables(number, &left.assigned)?;
            let shown: serde_json::Map<_, _> =
                left.assigned.iter().map(|(name, value)| (name.clone(), json!(value.text()))).collect();
            details = details.with("assignedVariables", shown);
            details = details.with("assignedVariablesDetails", json!({ "truncated": false }));
        }
        self.emit(number, event(state, "Exited"), details);
        let Some(frame) = self.frames.get_mut(&number) else { return Ok(()) };
        for (name, value) in left.assigned {
            frame.assigned.push(name.clone());
            frame.variables.insert(name, value);
        }
        self.work.push_front(match next {
            Some(next) => Work::Enter { frame: number, state: Arc::clone(next), input: output },
            None => Work::Finished { frame: number, output },
        });
        Ok(())
    }

    /// Refuses assignments beyond what one or all variables may take.
    fn check_variables(&self, number: u32, assigned: &[(String, Payload)]) -> Result<(), Failure> {
        for (_, value) in assigned {
            value.within_depth("A variable")?;
        }
        let mut total: usize = assigned.iter().map(|(_, value)| value.text().len()).sum();
        if assigned.iter().any(|(_, value)| value.text().len() > limits::PAYLOAD_BYTES) {
            return Err(Failure::too_large("The size of a variable"));
        }
        for (at, frame) in &self.frames {
            let replaced = |name: &String| *at == number && assigned.iter().any(|(new, _)| new == name);
            total += frame
                .variables
                .iter()
                .filter(|(name, _)| !replaced(name))
                .map(|(_, value)| value.text().len())
                .sum::<usize>();
        }
        if total > limits::VARIABLES_BYTES {
            return Err(Failure::new(
                names::DATA_LIMIT_EXCEEDED,
                format!("All variables together exceed {} bytes.", limits::VARIABLES_BYTES),
            ));
        }
        Ok(())
    }
}

/// A whole number from `least` to the longest a definition may name.
fn whole(value: &Value, least: u64) -> Option<u64> {
    value.as_u64().filter(|number| (least..=limits::SECONDS).contains(number))
}

#[cfg(test)]
mod tests;
