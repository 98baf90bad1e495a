//! Map states: items, iterations, how many at once, and how many may fail.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::asl::definition::{Kind, MapState, QueryError, State};
use crate::asl::failure::{Failure, names};
use crate::asl::frame::{MapPhase, Phase, Tolerance};
use crate::asl::history::Details;
use crate::asl::journal::{Cell, Write};
use crate::asl::limits;
use crate::asl::payload::Payload;
use crate::asl::scope::Item;

use super::evaluate::Extras;
use super::{Run, Work, event, whole};

impl Run {
    pub(super) fn start_map(&mut self, number: u32, state: &State, map: &MapState) {
        let (items, max_concurrency, tolerance) = match self.map_settings(number, map) {
            Ok(settings) => settings,
            Err(error) => return self.query_failed(number, error),
        };
        if let Err(failure) = items.within_depth("The list of items") {
            return self.state_failed(number, failure);
        }
        let total = match items.value() {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        let Ok(total) = u32::try_from(total) else {
            return self.state_failed(number, Failure::too_large("The number of items"));
        };
        let started_event =
            self.emit(number, event(state, "Started"), Details::none().with("length", json!(total)));
        self.forget_results(number);
        let cell = Cell::of(&items, &mut self.step.writes, &mut self.last_row);
        self.step.writes.push(Write::Items { frame: number, items: cell });
        if let Some(frame) = self.frames.get_mut(&number) {
            frame.items = Some(items);
            frame.on_disk = true;
        }
        self.set_phase(number, Phase::Map(MapPhase { started_event, total, max_concurrency, tolerance }));
        self.work.push_front(Work::Fill { frame: number });
    }

    fn map_settings(
        &self,
        number: u32,
        map: &MapState,
    ) -> Result<(Payload, u32, Option<Tolerance>), QueryError> {
        self.evaluate(number, None, |scope| {
            let items = match &map.items {
                Some(items) => Payload::new(items.evaluate_as(scope, "Items", "array", |value| {
                    (value.is_array() || value.is_object()).then(|| value.clone())
                })?),
                None => {
                    if !scope.input.value().is_array() {
                        return Err(QueryError {
                            field: "Items".into(),
                            message: "The state's input must be an array when there are no 'Items'.".into(),
                        });
                    }
                    scope.input.clone()
                }
            };
            let number = |field: &str, template: &Option<crate::asl::definition::Template>| {
                let Some(template) = template else { return Ok(None) };
                let number = template.evaluate_as(scope, field, "integer", |value| {
                    whole(value, 0).and_then(|number| u32::try_from(number).ok())
                })?;
                Ok(Some(number))
            };
            let cap = if map.distributed {
                limits::DISTRIBUTED_MAP_CONCURRENCY
            } else {
                limits::INLINE_MAP_CONCURRENCY
            };
            let cap = u32::try_from(cap).unwrap_or(u32::MAX);
            let max_concurrency = match number("MaxConcurrency", &map.max_concurrency)? {
                None | Some(0) => cap,
                Some(most) => most.min(cap),
            };
            let count = number("ToleratedFailureCount", &map.tolerated_count)?;
            let percentage = match &map.tolerated_percentage {
                None => None,
                Some(template) => {
                    Some(template.evaluate_as(scope, "ToleratedFailurePercentage", "number", |value| {
                        value.as_f64().filter(|percentage| (0.0..=100.0).contains(percentage))
                    })?)
                }
            };
            let tolerance =
                (count.is_some() || percentage.is_some()).then_some(Tolerance { count, percentage });
            Ok((items, max_concurrency, tolerance))
        })
    }

    /// Starts the next iteration if one more may run, or finishes the Map when none is left.
    pub(super) fn fill(&mut self, number: u32) {
        let Some((definition, name)) = self.state_of(number) else { return };
        let Some(state) = definition.states.get(&name) else { return };
        let Some(frame) = self.frames.get(&number) else { return };
        let (Phase::Map(phase), Kind::Map(map)) = (&frame.body.phase, &state.kind) else { return };
        let (position, running) = (frame.started(), frame.children.len());
        if position >= phase.total {
            if running == 0 {
                self.map_done(number, state);
            }
            return;
        }
        if running >= phase.max_concurrency as usize {
            return;
        }
        let Some(items) = frame.items.clone() else { return };
        let started_event = phase.started_event;
        let item = Item { items, index: position };
        let child = self.add_frame(Some(number), position, Payload::new(Value::Null), started_event);
        self.iteration_event(child, "MapIterationStarted");
        let input = match &map.selector {
            None => item.input(),
            Some(selector) => {
                let extras = Extras { item: Some(item), ..Extras::default() };
                match self.evaluate_with(number, extras, |scope| selector.evaluate(scope, "ItemSelector")) {
                    Ok(input) => input,
                    Err(error) => {
                        // The selector belongs to the Map state, whose failure this is.
                        let failure = self.query_failure(number, error);
                        return self.composite_failed(number, failure);
                    }
                }
            }
        };
        let input = Payload::new(input);
        if let Err(failure) = input.within_depth("The input of an iteration") {
            return self.composite_failed(number, failure);
        }
        self.work.push_front(Work::Fill { frame: number });
        let state = Arc::clone(&map.start_at);
        self.work.push_front(Work::Enter { frame: child, state, input });
    }

    fn map_done(&mut self, number: u32, state: &State) {
        let result = self.results(number);
        let too_large = result
            .clone()
            .within_limit(&format!("The state/task '{}' returned a result with a size that", state.name));
        if let Err(failure) = too_large {
            return self.composite_failed(number, failure);
        }
        self.emit(number, event(state, "Succeeded"), Details::none());
        self.forget_results(number);
        self.set_phase(number, Phase::Moving);
        self.leave(number, state, Some(result));
    }

    /// An iteration failed: tolerated, or the Map's failure.
    pub(super) fn iteration_failed(&mut self, number: u32, parent: u32, failure: Failure) {
        let position = self.frames.get(&number).map_or(0, |frame| frame.position);
        self.iteration_event(number, "MapIterationFailed");
        self.child_done(number, parent);
        let Some(frame) = self.frames.get(&parent) else { return };
        let Phase::Map(phase) = &frame.body.phase else { return };
        let (tolerance, total) = (phase.tolerance, phase.total);
        let failed = frame.results.values().filter(|output| output.is_none()).count() + 1;
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        let Some(tolerance) = tolerance else { return self.composite_failed(parent, failure) };
        if tolerance.exceeded(failed, total) {
            let cause = format!(
                "The specified tolerated failure threshold was exceeded: {failed} of {total} iterations failed, \
                 the last with {}",
                failure.error.as_deref().unwrap_or("no error name")
            );
            let failure = Failure::new(names::EXCEED_TOLERATED_FAILURE_THRESHOLD, cause);
            return self.composite_failed(parent, failure);
        }
        self.keep_result(parent, position, None);
        self.work.push_back(Work::Fill { frame: parent });
    }
}
