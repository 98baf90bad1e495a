//! Evaluating templates in a frame.

use crate::asl::definition::QueryError;
use crate::asl::failure::{Failure, names};
use crate::asl::history::Details;
use crate::asl::payload::Payload;
use crate::asl::scope::{ContextObject, Item, Scope};

use super::Run;

/// What a scope has beyond its frame.
#[derive(Default)]
pub(super) struct Extras<'a> {
    pub(super) result: Option<&'a Payload>,
    pub(super) error_output: Option<&'a Payload>,
    pub(super) token: Option<&'a str>,
    /// For a Map's `ItemSelector`: AWS documents the item for that alone, "not within the states included in the
    /// ItemProcessor" (<https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html>).
    pub(super) item: Option<Item>,
    /// The moment and the chance of an earlier evaluation that is to come out the same.
    pub(super) again: Option<(i64, u64)>,
}

impl Run {
    pub(super) fn evaluate<T>(
        &self,
        number: u32,
        result: Option<&Payload>,
        evaluate: impl FnOnce(&Scope<'_>) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        self.evaluate_with(number, Extras { result, ..Extras::default() }, evaluate)
    }

    pub(super) fn evaluate_with<T>(
        &self,
        number: u32,
        extras: Extras<'_>,
        evaluate: impl FnOnce(&Scope<'_>) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let Some(frame) = self.frames.get(&number) else {
            return Err(QueryError { field: String::new(), message: "The state is no more".into() });
        };
        let context = ContextObject {
            execution: &self.facts,
            state: &frame.body.state,
            entered_ms: frame.body.entered_ms,
            retry_count: frame.retry_count(),
            token: extras.token,
            item: extras.item,
        };
        let (now_ms, seed) = extras.again.unwrap_or_else(|| (self.now_ms, chance()));
        evaluate(&Scope {
            input: &frame.input,
            result: extras.result,
            error_output: extras.error_output,
            context: &context,
            variables: &|name| self.variable(number, name),
            now_ms,
            seed,
        })
    }

    /// A variable of the frame or of one around it.
    fn variable(&self, number: u32, name: &str) -> Option<Payload> {
        let mut at = Some(number);
        while let Some(frame) = at.and_then(|at| self.frames.get(&at)) {
            if let Some(value) = frame.variables.get(name) {
                return Some(value.clone());
            }
            at = frame.parent;
        }
        None
    }

    /// An expression of the frame's state failed: that is recorded, and is the state's failure.
    pub(super) fn query_failed(&mut self, number: u32, error: QueryError) {
        let failure = self.query_failure(number, error);
        self.state_failed(number, failure);
    }

    pub(super) fn query_failure(&mut self, number: u32, error: QueryError) -> Failure {
        let (state, entered) = self
            .frames
            .get(&number)
            .map(|frame| (frame.body.state.clone(), frame.body.entered_event))
            .unwrap_or_default();
        let failure = Failure::new(
            names::QUERY_EVALUATION_ERROR,
            format!(
                "An error occurred while executing the state '{state}' (entered at the event id #{entered}). {}",
                error.message
            ),
        );
        let details = Details::none()
            .failure(&failure)
            .with("location", error.location())
            .with("state", state.as_str());
        self.emit(number, "EvaluationFailed", details);
        failure
    }
}

/// Fresh chance for one evaluation.
pub(super) fn chance() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
