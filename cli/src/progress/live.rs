//! Progress on a terminal: one moving line for each running job, and one for the run.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rsqlflow_config::audit::Status;
use rsqlflow_config::visible::shown_on_a_line;

use super::Change;
use crate::records::{Records, State};
use crate::screen::for_people;

/// More lines than this would scroll; the rest is in the count of the run's line.
const LINES: usize = 12;

/// The moving lines.
pub(super) struct Live {
    multi: MultiProgress,
    jobs: BTreeMap<String, ProgressBar>,
    run: ProgressBar,
}

impl Live {
    pub(super) fn new() -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let run = multi.add(ProgressBar::new_spinner());
        run.set_style(style("{spinner} {elapsed:>4} {bar:20} {pos}/{len} jobs {msg}"));
        run.enable_steady_tick(Duration::from_millis(120));
        Self { multi, jobs: BTreeMap::new(), run }
    }

    /// Gives a job its moving line.
    pub(super) fn running(&mut self, change: &Change) {
        let stage = change.stage.map(|(stage, of)| format!("stage {stage}/{of} ")).unwrap_or_default();
        let message = shown_on_a_line(&format!("{stage}{} {}", change.subject, change.detail));
        if let Some(line) = self.jobs.get(&change.subject) {
            line.set_message(message);
        } else if self.jobs.len() < LINES {
            let line = self.multi.insert_before(&self.run, ProgressBar::new_spinner());
            line.set_style(style("{spinner} {elapsed:>4} {msg}"));
            line.set_message(message);
            line.enable_steady_tick(Duration::from_millis(120));
            self.jobs.insert(change.subject.clone(), line);
        }
    }

    /// A line that stays, above those that move.
    pub(super) fn line(&mut self, text: &str) {
        // A terminal that went away is no reason to stop.
        let _ = self.multi.println(for_people(text));
    }

    /// Removes the lines of jobs that have ended, and moves the run's on.
    pub(super) fn update(&mut self, records: &Records) {
        self.jobs.retain(|name, line| {
            let running = records.job(name).is_some_and(|job| job.execution_status == Status::Running);
            if !running {
                line.finish_and_clear();
            }
            running
        });
        let jobs = records.jobs();
        let idle =
            |state: State<'_>| matches!(state, State::Skipped | State::CompletedEarlier | State::LeftOut);
        let counted = jobs.iter().filter(|place| !idle(place.state));
        let ended =
            |state: State<'_>| matches!(state, State::Accepted(job) if job.execution_status.is_final());
        self.run.set_position(counted.clone().filter(|place| ended(place.state)).count() as u64);
        self.run.set_length(counted.count() as u64);
        self.run.set_message(records.run.execution_status.as_str());
    }

    pub(super) fn clear(&mut self) {
        for line in self.jobs.values() {
            line.finish_and_clear();
        }
        self.run.finish_and_clear();
        // As above.
        let _ = self.multi.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are the literals above; a mistake in one shows as indicatif's own default.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
