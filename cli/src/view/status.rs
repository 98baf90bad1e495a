//! `rsqlflow status`: the run, its jobs in the order of the stages, and what went wrong.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use rsqlflow_config::audit::JobAudit;

use crate::clock::{between, date_time};
use crate::records::{Place, Records, State};
use crate::screen::{Screen, Tone};
use crate::shell::word;
use crate::trouble::{DOCTOR, Trouble};

/// The run as a page of text, with the hosts that keep it waiting.
pub(crate) fn status(records: &Records, troubles: &[Trouble], screen: Screen, now: DateTime<Utc>) -> String {
    let run = &records.run;
    let took = between(&run.execution_start_ts, run.execution_end_ts.as_deref(), now);
    let since = if run.execution_status.is_final() { "after" } else { "for" };
    let mut page = String::new();
    let mut line = |name: &str, text: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{}{text}", screen.paint(Tone::Faint, &format!("{name:<10}")));
    };
    line("run", &screen.paint(Tone::Strong, &run.workflow_execution_id));
    line("workflow", &run.workflow_id);
    let status = screen.paint(run.execution_status.into(), run.execution_status.as_str());
    line("status", &format!("{status} {since} {took}"));
    line("started", &format!("{} UTC by {}", date_time(&run.execution_start_ts), run.started_by));
    if let Some(end) = &run.execution_end_ts {
        line("ended", &format!("{} UTC", date_time(end)));
    }
    if let Some(other) = run.waiting_for.as_ref().filter(|_| !run.execution_status.is_final()) {
        line("after", other);
    }
    for (name, other) in [("restarts", &run.restart_of), ("restarted", &run.restarted_by)] {
        if let Some(other) = other {
            line(name, other);
        }
    }
    if let Some(error) = &run.error_message {
        line("error", &indented(error));
    }
    if let Some(error) = &run.notify_error {
        line("not told", &indented(error));
    }
    for trouble in troubles {
        line("host", &screen.paint(Tone::Bad, &trouble.told(now)));
        line("", &screen.paint(Tone::Faint, DOCTOR));
    }
    let rows = records.jobs().iter().map(|place| row(place, now)).collect();
    let heading = ["STAGE", "JOB", "STATUS", "STARTED (UTC)", "TOOK", "ATTEMPT", "EXIT"];
    page.push('\n');
    page.push_str(&screen.table(&heading, rows));
    page.push_str(&unrecorded(records, screen));
    for job in records.jobs.iter().filter(|job| job.error_message.is_some() || job.error.is_some()) {
        let _ = write!(page, "\n{}: {}", screen.paint(Tone::Strong, &job.job_name), failure(job));
        let next = format!("rsqlflow logs {} {}", word(&run.workflow_execution_id), word(&job.job_name));
        let _ = writeln!(page, "\n  {}", screen.paint(Tone::Faint, &next));
    }
    page
}

/// What is known of jobs that ran and have no record, and where more is.
fn unrecorded(records: &Records, screen: Screen) -> String {
    let jobs = records.jobs();
    let Some(first) = jobs.iter().find(|place| matches!(place.state, State::NoRecord)) else {
        return String::new();
    };
    let next = format!("rsqlflow logs {} {}", word(&records.run.workflow_execution_id), word(first.name));
    format!(
        "\nno record: the turn of the job came, and how it went is not in the table of jobs. Its host may not be able to \
         write there (rsqlflow-agent doctor on the host), or the record was removed.\n  {}\n",
        screen.paint(Tone::Faint, &next)
    )
}

fn row(place: &Place<'_>, now: DateTime<Utc>) -> Vec<(Tone, String)> {
    let stage = match place.stage_audit {
        Some(stage) => format!("{} {}", place.stage, shortened(&stage.stage_description)),
        None => String::new(),
    };
    let (tone, job) = match place.state {
        State::Accepted(job) => (job.execution_status.into(), Some(job)),
        State::Pending => (Tone::Plain, None),
        State::NoRecord => (Tone::Busy, None),
        State::NotRun | State::Skipped | State::CompletedEarlier | State::LeftOut => (Tone::Faint, None),
    };
    let text = |value: Option<String>| (Tone::Plain, value.unwrap_or_default());
    let exit = |job: &JobAudit| {
        job.exit_code
            .map(|code| code.to_string())
            .or_else(|| job.signal.map(|signal| format!("signal {signal}")))
    };
    vec![
        (Tone::Plain, stage),
        (Tone::Plain, place.name.into()),
        (tone, place.state.word().into()),
        text(job.map(|job| date_time(&job.execution_start_ts))),
        text(job.map(|job| between(&job.execution_start_ts, job.execution_end_ts.as_deref(), now))),
        text(job.map(|job| job.attempt.to_string())),
        text(job.and_then(exit)),
    ]
}

/// What went wrong with a job: the code, and the message unless it says the same.
fn failure(job: &JobAudit) -> String {
    match (&job.error, &job.error_message) {
        (Some(code), Some(message)) => format!("{code}: {}", indented(message)),
        (Some(one), None) | (None, Some(one)) => indented(one),
        (None, None) => job.execution_status.to_string(),
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

/// A stage's description is for people and may be a sentence; in a column its beginning is enough.
fn shortened(text: &str) -> String {
    const MOST: usize = 30;
    if text.chars().count() <= MOST {
        return text.into();
    }
    let kept: String = text.chars().take(MOST - 1).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use rsqlflow_config::audit::Status;

    use super::*;
    use crate::records::samples;

    fn shown(records: &Records) -> String {
        let now = rsqlflow_config::time::parse(&samples::at("03:00:05.000")).unwrap();
        status(records, &[], Screen::plain(), now)
    }

    #[test]
    fn a_run_that_goes_on() {
        insta::assert_snapshot!(shown(&samples::running()));
    }

    #[test]
    fn a_run_that_waits_for_a_host_that_cannot_report() {
        let now = rsqlflow_config::time::parse(&samples::at("03:00:25.000")).unwrap();
        let trouble = Trouble {
            instance_id: "i-0123456789abcdef0".into(),
            since: Some(samples::at("03:00:05.000")),
            cannot_report: Some("states:SendTaskSuccess (AccessDeniedException)".into()),
        };
        insta::assert_snapshot!(status(&samples::running(), &[trouble], Screen::plain(), now));
    }

    #[test]
    fn a_run_that_failed() {
        insta::assert_snapshot!(shown(&samples::failed()));
    }

    /// What programs and people would otherwise take for a job that never ran.
    #[test]
    fn a_run_with_jobs_that_left_no_record() {
        let mut failed = samples::failed();
        failed.jobs.clear();
        let mut reached = samples::failed();
        reached.run.error_message = None;
        reached.jobs.remove(0);
        let mut completed = samples::running();
        completed.run.execution_status = Status::Completed;
        completed.run.execution_end_ts = failed.run.execution_end_ts.clone();
        let mut running = samples::running();
        running.jobs.remove(0);
        let pages = [failed, reached, completed, running]
            .map(|records| shown(&Records::new(records.run, records.jobs)));
        insta::assert_snapshot!(pages.join("----\n"));
    }

    #[test]
    fn a_run_of_which_nobody_was_told() {
        let mut records = samples::failed();
        records.run.notify_error = Some("SNS.AuthorizationErrorException: not authorized".into());
        let page = shown(&records);
        assert!(page.contains("\nnot told  SNS.AuthorizationErrorException: not authorized\n"), "{page}");
    }

    #[test]
    fn a_run_that_goes_on_from_another() {
        let mut records = samples::running();
        records.run.restart_of = Some("nightly-20261120-030000-11aa22".into());
        records.run.completed_earlier = vec!["mart_1.sh".into()];
        records.run.left_out = vec!["mart_2.sh".into()];
        insta::assert_snapshot!(shown(&records));
    }

    #[test]
    fn what_programs_read_is_stable() {
        let json = serde_json::to_string_pretty(&samples::failed()).unwrap();
        insta::assert_snapshot!(json);
    }

    #[test]
    fn a_sentence_is_shortened_in_its_column() {
        assert_eq!(shortened(&"größe ".repeat(9)), "größe größe größe größe größe…");
    }
}
