//! What happened between two looks at a run's records, and the telling of it.
//!
//! [`Changes`] compares records with what has been told and says what is new: pure, so the lines are golden-tested.
//! [`Reporter`] writes it to standard error: to a terminal with a line that moves while jobs run ([`live`]), else as
//! plain lines that make a readable log.

mod changes;
mod live;

pub(crate) use changes::{Change, Changes};

use rsqlflow_config::audit::Status;
use rsqlflow_config::visible::shown_on_a_line;

use crate::records::Records;
use crate::screen::{Screen, Tone, tell};
use live::Live;

/// Tells what happens to a run while someone waits for it.
pub(crate) struct Reporter {
    screen: Screen,
    changes: Changes,
    live: Option<Live>,
}

impl Reporter {
    /// A reporter on standard error.
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen, changes: Changes::default(), live: screen.terminal.then(Live::new) }
    }

    /// Tells what is new in the records.
    pub(crate) fn look(&mut self, records: &Records) {
        for change in self.changes.since(records) {
            let line = line(&change, self.screen);
            match &mut self.live {
                // A running job is shown by its moving line until its last one.
                Some(live) if change.word == Status::Running.as_str() => live.running(&change),
                Some(live) => live.line(&line),
                None => tell(&line),
            }
        }
        if let Some(live) = &mut self.live {
            live.update(records);
        }
    }

    /// Says something between the lines.
    pub(crate) fn say(&mut self, text: &str) {
        match &mut self.live {
            Some(live) => live.line(text),
            None => tell(text),
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(live) = &mut self.live {
            live.clear();
        }
    }
}

/// A change as a line: `03:00:01 stage 1/3 load_a.sh completed 1.2 s`.
fn line(change: &Change, screen: Screen) -> String {
    let mut line = screen.paint(Tone::Faint, &change.time);
    if let Some((stage, of)) = change.stage {
        line.push_str(&format!(" stage {stage}/{of}"));
    }
    line.push(' ');
    line.push_str(&shown_on_a_line(&change.subject));
    line.push(' ');
    line.push_str(&screen.paint(change.tone, change.word));
    if !change.detail.is_empty() {
        line.push(' ');
        line.push_str(&shown_on_a_line(&change.detail));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::samples;
    use rsqlflow_config::audit::AttemptAudit;

    #[test]
    fn a_night_as_a_pipe_reads_it() {
        let mut changes = Changes::default();
        let mut second_attempt = samples::running();
        second_attempt.jobs[1].attempt = 2;
        second_attempt.jobs[1].attempts = samples::failed().jobs[1].attempts.clone();
        let looks = [
            samples::triggered(),
            samples::running(),
            samples::running(),
            second_attempt,
            samples::failed(),
            samples::failed(),
        ];
        let mut told = Vec::new();
        for records in looks {
            told.extend(changes.since(&records).iter().map(|change| line(change, Screen::plain())));
            told.push("--".into());
        }
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn every_ending_has_its_words() {
        let mut records = samples::triggered();
        records.run.execution_status = Status::TimedOut;
        records.run.execution_end_ts = Some(samples::at("03:01:00.000"));
        let end = Some("03:00:59.000");
        let mut timed_out = samples::job("load_a.sh", Status::TimedOut, "03:00:01.000", end, None);
        timed_out.error_message = Some("passed its limit of 58 seconds".into());
        timed_out.signal = Some(15);
        let cancelled = samples::job("mart_1.sh", Status::Cancelled, "03:00:01.000", end, None);
        let mut retried = samples::job("mart_2.sh", Status::Completed, "03:00:01.000", end, Some(0));
        retried.attempt = 2;
        retried.attempts = vec![AttemptAudit {
            attempt: 1,
            execution_start_ts: samples::at("03:00:01.000"),
            execution_end_ts: samples::at("03:00:02.000"),
            exit_code: None,
            error_message: None,
            log_stream: "x".into(),
        }];
        let records = Records::new(records.run, vec![timed_out, cancelled, retried]);
        let told: Vec<String> =
            Changes::default().since(&records).iter().map(|change| line(change, Screen::plain())).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
