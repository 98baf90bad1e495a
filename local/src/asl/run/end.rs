//! How an execution ends.

use crate::asl::failure::Failure;
use crate::asl::frame::ROOT;
use crate::asl::history::Details;
use crate::asl::journal::{Cell, Write};
use crate::asl::limits;
use crate::asl::payload::Payload;

use super::{Ended, Run};

impl Run {
    pub(super) fn succeed(&mut self, output: Payload) {
        self.end("SUCCEEDED", "ExecutionSucceeded", Some(output), Failure::default());
    }

    pub(super) fn end(
        &mut self,
        status: &'static str,
        kind: &'static str,
        output: Option<Payload>,
        failure: Failure,
    ) {
        let previous = self.frames.get(&ROOT).map_or(0, |root| root.body.previous_event);
        // Set first: the last place in a full history is for this event.
        self.ended = Some(Ended { status });
        let mut details = Details::none().failure(&failure);
        if let Some(output) = &output {
            details = details.payload(output);
        }
        self.emit_after(previous, kind.into(), details);
        for number in self.frames.keys().copied().collect::<Vec<_>>() {
            self.remove_frame(number);
        }
        self.work.clear();
        let output = output.map(|output| Cell::of(&output, &mut self.step.writes, &mut self.last_row));
        let Failure { error, cause } = failure;
        self.step.writes.push(Write::Ended { status, output, error, cause, at_ms: self.now_ms });
        self.step.progress = true;
    }

    pub(super) fn history_full(&mut self) {
        self.abort(ROOT);
        // Nothing that was asked for since the history was full may happen any more, except stopping jobs.
        self.step.effects.retain(|effect| matches!(effect, super::Effect::Cancel { .. }));
        let cause = format!(
            "The execution reached the maximum number of history events ({}).",
            limits::HISTORY_EVENTS
        );
        self.end("FAILED", "ExecutionFailed", None, Failure::runtime(cause));
    }
}
