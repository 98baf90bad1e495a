//! How a state fails: Retry first, then Catch, then the frame fails with it.

use std::sync::Arc;

use crate::asl::definition::Template;
use crate::asl::failure::Failure;
use crate::asl::frame::Phase;
use crate::asl::payload::Payload;

use super::evaluate::{Extras, chance};
use super::{Run, Work};

impl Run {
    /// The frame's state failed.
    pub(super) fn state_failed(&mut self, number: u32, failure: Failure) {
        let Some((definition, name)) = self.state_of(number) else { return };
        let Some(state) = definition.states.get(&name) else { return };
        if let Some(at) = state.retry.iter().position(|retrier| failure.matches(&retrier.error_equals)) {
            let retrier = &state.retry[at];
            let Some(frame) = self.frames.get_mut(&number) else { return };
            if let Some(done) = frame.body.retries.get_mut(at)
                && *done < retrier.max_attempts
            {
                #[expect(clippy::cast_precision_loss, reason = "a fraction needs no more than 53 bits")]
                let fraction = (chance() >> 11) as f64 / (1_u64 << 53) as f64;
                let until_ms = self.now_ms + retrier.delay_ms(*done, fraction);
                *done += 1;
                return self.set_phase(number, Phase::Retry { until_ms });
            }
        }
        let Some(catcher) = state.catch.iter().find(|catcher| failure.matches(&catcher.error_equals)) else {
            return self.work.push_front(Work::Failed { frame: number, failure });
        };
        let output = Payload::new(failure.output());
        let extras = Extras { error_output: Some(&output), ..Extras::default() };
        let caught = match self.evaluate_with(number, extras, |scope| catcher.exit.leave(scope, &output)) {
            Ok(left) => self.exit(number, state, left, Some(&catcher.next)),
            Err(error) => Err(self.query_failure(number, error)),
        };
        // What fails while an error is being caught is not caught again.
        if let Err(failure) = caught {
            self.work.push_front(Work::Failed { frame: number, failure });
        }
    }

    /// A Fail state: there is nothing to retry or to catch in it.
    pub(super) fn fail_state(&mut self, number: u32, error: Option<&Template>, cause: Option<&Template>) {
        let text = |run: &Self, template: Option<&Template>, field: &str| {
            template
                .map(|template| {
                    run.evaluate(number, None, |scope| {
                        template
                            .evaluate_as(scope, field, "string", |value| value.as_str().map(str::to_owned))
                    })
                })
                .transpose()
        };
        let failure = text(self, error, "Error")
            .and_then(|error| Ok(Failure { error, cause: text(self, cause, "Cause")? }.cut()));
        let failure = match failure {
            Ok(failure) => failure,
            Err(error) => self.query_failure(number, error),
        };
        self.work.push_front(Work::Failed { frame: number, failure });
    }

    /// A retrier's delay is over.
    pub(super) fn retry(&mut self, number: u32) {
        self.work.push_back(Work::Execute { frame: number });
        self.go();
    }

    /// A Wait state's time is over.
    pub(super) fn waited(&mut self, number: u32) {
        let Some((definition, name)) = self.state_of(number) else { return };
        let Some(state) = definition.states.get(&Arc::clone(&name)) else { return };
        self.set_phase(number, Phase::Moving);
        self.leave(number, state, None);
        self.go();
    }
}
