//! What is new in a run's records.
//!
//! Records are looked at now and then, so a job may have started, failed, and started again between two looks. All of
//! it is told, in the order of its times, and everything once.

use std::collections::BTreeMap;

use chrono::Utc;
use rsqlflow_config::audit::{AttemptAudit, JobAudit, Status};

use crate::clock::{between, time_of_day};
use crate::records::{Place, Records, State};
use crate::screen::Tone;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// When, as a record's time; what changes are ordered by.
    pub(crate) at: String,
    /// When, as a time of day.
    pub(crate) time: String,
    /// The stage's number and how many there are, of a stage or a job.
    pub(crate) stage: Option<(usize, usize)>,
    /// The job, the stage or the run.
    pub(crate) subject: String,
    /// What became of it.
    pub(crate) word: &'static str,
    /// How the word is painted.
    pub(crate) tone: Tone,
    /// What else there is to say.
    pub(crate) detail: String,
}

/// Remembers what has been told.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    jobs: BTreeMap<String, Told>,
    skipped: bool,
    run: bool,
}

/// What has been told of a job.
#[derive(Debug, Default)]
struct Told {
    /// The last attempt whose start was told.
    started: u32,
    /// The last attempt whose failure was told before another one followed.
    failed: u32,
    /// Whether its end was told.
    ended: bool,
}

impl Changes {
    /// What is new, in the order of its times.
    pub(crate) fn since(&mut self, records: &Records) -> Vec<Change> {
        let mut new = Vec::new();
        self.stages(records, &mut new);
        for place in records.jobs() {
            if let State::Accepted(job) = place.state {
                self.job(&place, job, records.run.stages.len(), &mut new);
            }
        }
        self.run(records, &mut new);
        // Stable: what shares a millisecond keeps the order above.
        new.sort_by(|a, b| a.at.cmp(&b.at));
        new
    }

    fn stages(&mut self, records: &Records, new: &mut Vec<Change>) {
        if std::mem::replace(&mut self.skipped, true) {
            return;
        }
        let stages = &records.run.stages;
        for (at, stage) in stages.iter().enumerate().filter(|(_, stage)| stage.skipped) {
            new.push(Change {
                stage: Some((at + 1, stages.len())),
                ..change(&records.run.execution_start_ts, &stage.stage_description, Status::Skipped)
            });
        }
    }

    fn job(&mut self, place: &Place<'_>, job: &JobAudit, stages: usize, new: &mut Vec<Change>) {
        let told = self.jobs.entry(job.job_name.clone()).or_default();
        let stage = (place.stage > 0).then_some((place.stage, stages));
        let mut add = |change: Change| new.push(Change { stage, ..change });
        for attempt in job.attempts.iter().filter(|attempt| attempt.attempt > told.failed) {
            if attempt.attempt > told.started {
                add(started(&job.job_name, &attempt.execution_start_ts, attempt.attempt));
            }
            add(tried(&job.job_name, attempt));
        }
        let last = job.attempts.last();
        told.failed = told.failed.max(last.map_or(0, |attempt| attempt.attempt));
        let begun = job.execution_status != Status::Triggered && job.execution_status != Status::Skipped;
        // A job that could not be started ends without an attempt.
        if begun && job.attempt > told.started.max(told.failed) {
            // The record has the job's start; that of a later attempt is not before the end of the one before it.
            let since = last.map_or(&job.execution_start_ts, |attempt| &attempt.execution_end_ts);
            add(started(&job.job_name, since, job.attempt));
        }
        told.started = told.started.max(job.attempt).max(told.failed);
        if job.execution_status.is_final() && !std::mem::replace(&mut told.ended, true) {
            add(ended(job));
        }
    }

    fn run(&mut self, records: &Records, new: &mut Vec<Change>) {
        let run = &records.run;
        // Until every job is told, the run's end would come before theirs.
        if !records.settled() || std::mem::replace(&mut self.run, true) {
            return;
        }
        let end = run.execution_end_ts.as_deref();
        let last_job = new.iter().map(|change| change.at.clone()).max().unwrap_or_default();
        let at = end.unwrap_or(&run.execution_start_ts).to_string();
        let took = between(&run.execution_start_ts, end, Utc::now());
        new.push(Change {
            // A run's message begins with the stage and its jobs.
            detail: joined(&[&took], run.error_message.as_deref().and_then(|text| text.lines().next())),
            ..change(&at, "run", run.execution_status)
        });
        if let Some(change) = new.last_mut() {
            // The host's clock and the service's differ; the run's end is the last line all the same.
            change.at = change.at.clone().max(last_job);
        }
    }
}

fn change(at: &str, subject: &str, status: Status) -> Change {
    Change {
        at: at.into(),
        time: time_of_day(at),
        stage: None,
        subject: subject.into(),
        word: status.as_str(),
        tone: status.into(),
        detail: String::new(),
    }
}

fn started(job: &str, at: &str, attempt: u32) -> Change {
    let detail = if attempt > 1 { format!("attempt {attempt}") } else { String::new() };
    Change { detail, ..change(at, job, Status::Running) }
}

/// An attempt that another one follows.
fn tried(job: &str, attempt: &AttemptAudit) -> Change {
    let took = between(&attempt.execution_start_ts, Some(&attempt.execution_end_ts), Utc::now());
    let code = attempt.exit_code.map(|code| format!("exit code {code}")).unwrap_or_default();
    let what = joined(&[&took, &code], attempt.error_message.as_deref());
    let number = attempt.attempt;
    Change {
        detail: format!("attempt {number}: {what}; trying again"),
        ..change(&attempt.execution_end_ts, job, Status::Failed)
    }
}

fn ended(job: &JobAudit) -> Change {
    let end = job.execution_end_ts.as_deref();
    let took = between(&job.execution_start_ts, end, Utc::now());
    let code = match (job.execution_status, job.exit_code, job.signal) {
        (Status::Completed, Some(0) | None, _) => String::new(),
        (_, Some(code), _) => format!("exit code {code}"),
        (_, None, Some(signal)) => format!("signal {signal}"),
        (_, None, None) => String::new(),
    };
    let message = job.error_message.as_deref().or(job.error.as_deref());
    Change {
        detail: joined(&[&took, &code], message),
        ..change(end.unwrap_or(&job.execution_start_ts), &job.job_name, job.execution_status)
    }
}

/// `1.2 s, exit code 21: message`, of what there is. A message is told by its last line, where scripts say why they
/// end, and what that line says is not said twice.
fn joined(parts: &[&str], message: Option<&str>) -> String {
    let message = message.and_then(|text| text.trim().lines().next_back()).unwrap_or_default();
    let new = parts.iter().copied().filter(|part| !part.is_empty() && !message.contains(part));
    let head = new.collect::<Vec<_>>().join(", ");
    if head.is_empty() || message.is_empty() { head + message } else { format!("{head}: {message}") }
}
