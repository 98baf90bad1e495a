//! A run as its audit records tell it: the run, and every job with its place.
//!
//! The workflow audit record lists the stages and their jobs before anything has started; job audit records appear
//! as hosts accept jobs. [`Records::jobs`] puts the two together, so every job of the run has a state at any time.

use std::cmp::Ordering;

use rsqlflow_config::audit::{JobAudit, StageAudit, Status, WorkflowAudit};
use rsqlflow_config::workflow::ExecutionType;
use serde::Serialize;

/// The records of one run: also what `status --json` prints, so the shape is stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Records {
    /// The workflow audit record; in JSON its members are the object's own.
    #[serde(flatten)]
    pub(crate) run: WorkflowAudit,
    /// The job audit records, in the order of the stages.
    pub(crate) jobs: Vec<JobAudit>,
}

/// A job of a run and its place.
pub(crate) struct Place<'a> {
    /// Number of the stage in the item, from 1; 0 for a job that no stage names.
    pub(crate) stage: usize,
    /// The stage.
    pub(crate) stage_audit: Option<&'a StageAudit>,
    /// The job.
    pub(crate) name: &'a str,
    /// What is known of it.
    pub(crate) state: State<'a>,
}

/// What is known of a job.
#[derive(Clone, Copy)]
pub(crate) enum State<'a> {
    /// A host has accepted it.
    Accepted(&'a JobAudit),
    /// Its turn has not come.
    Pending,
    /// The run ended, and nothing says that its turn had come.
    NotRun,
    /// It ran, or was to, and left no record: its host could not write one, or the record was removed.
    NoRecord,
    /// Its stage is switched off.
    Skipped,
    /// It completed in the run that this one goes on from.
    CompletedEarlier,
    /// The start left it out.
    LeftOut,
}

impl State<'_> {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Accepted(job) => job.execution_status.as_str(),
            Self::Pending => "pending",
            Self::NotRun => "not run",
            Self::NoRecord => "no record",
            Self::Skipped => Status::Skipped.as_str(),
            Self::CompletedEarlier => "completed earlier",
            Self::LeftOut => "left out",
        }
    }
}

impl Records {
    /// Puts the records of a run together.
    pub(crate) fn new(run: WorkflowAudit, mut jobs: Vec<JobAudit>) -> Self {
        let order: Vec<&str> = run.stages.iter().flat_map(|stage| &stage.jobs).map(String::as_str).collect();
        let place =
            |job: &JobAudit| order.iter().position(|name| *name == job.job_name).unwrap_or(order.len());
        jobs.sort_by_cached_key(|job| (place(job), job.execution_start_ts.clone()));
        Self { run, jobs }
    }

    /// Every job of the run in the order of the stages, whether it has been accepted or not.
    pub(crate) fn jobs(&self) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        for (at, stage) in self.run.stages.iter().enumerate() {
            for name in &stage.jobs {
                let state = match self.job(name) {
                    Some(job) => State::Accepted(job),
                    None if stage.skipped => State::Skipped,
                    None if self.run.completed_earlier.contains(name) => State::CompletedEarlier,
                    None if self.run.left_out.contains(name) => State::LeftOut,
                    None if self.turn_came(at, name) => State::NoRecord,
                    None if self.run.execution_status.is_final() => State::NotRun,
                    None => State::Pending,
                };
                places.push(Place { stage: at + 1, stage_audit: Some(stage), name, state });
            }
        }
        let named = |job: &&JobAudit| self.run.stages.iter().any(|stage| stage.jobs.contains(&job.job_name));
        for job in self.jobs.iter().filter(|job| !named(job)) {
            places.push(Place {
                stage: 0,
                stage_audit: None,
                name: &job.job_name,
                state: State::Accepted(job),
            });
        }
        places
    }

    /// The record of a job, once a host has accepted it.
    pub(crate) fn job(&self, name: &str) -> Option<&JobAudit> {
        self.jobs.iter().find(|job| job.job_name == name)
    }

    /// Whether the run cannot have come to where it is without the turn of a job having come: it completed, or what is
    /// known of it names the job or one behind it.
    fn turn_came(&self, stage: usize, name: &str) -> bool {
        let run = &self.run;
        let known = |job: &String| {
            self.job(job).is_some() || run.error_message.as_ref().is_some_and(|error| names(error, job))
        };
        let come_to = |(at, other): (usize, &StageAudit)| {
            let own = || other.jobs.iter().position(|job| job == name).unwrap_or_default();
            match (at.cmp(&stage), other.execution_type) {
                (Ordering::Less, _) => false,
                (Ordering::Greater, _) => other.jobs.iter().any(known),
                (Ordering::Equal, ExecutionType::Sequential) => other.jobs[own()..].iter().any(known),
                (Ordering::Equal, ExecutionType::Parallel) => other.jobs[own()..].iter().take(1).any(known),
            }
        };
        run.execution_status == Status::Completed || run.stages.iter().enumerate().any(come_to)
    }

    /// Whether a host may still have something to tell: the run goes on, or a job that was accepted does.
    pub(crate) fn is_open(&self) -> bool {
        !self.run.execution_status.is_final() || self.jobs.iter().any(|job| !job.execution_status.is_final())
    }

    /// Whether nothing will change any more: the run is final and so is every job that was accepted. A run that
    /// completed has all of its jobs, even where a record is still on its way.
    pub(crate) fn settled(&self) -> bool {
        let completed = self.run.execution_status == Status::Completed;
        let missing = || self.jobs().iter().any(|place| matches!(place.state, State::NoRecord));
        !(self.is_open() || completed && missing())
    }
}

/// Whether a text has a job's name in it, as a word of its own.
fn names(text: &str, job: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    text.match_indices(job).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + job.len()..].chars();
        let ends = match after.next() {
            // The end of a sentence.
            Some('.') => after.next().is_none_or(|c| !within(c)),
            next => next.is_none_or(|c| !within(c)),
        };
        ends && before.is_none_or(|c| !within(c))
    })
}

#[cfg(test)]
pub(crate) mod samples {
    //! Records for golden tests.

    use std::collections::BTreeMap;

    use super::*;
    use rsqlflow_config::audit::AttemptAudit;
    use rsqlflow_config::workflow::ExecutionType;

    fn stage(title: &str, execution_type: ExecutionType, jobs: &[&str], skipped: bool) -> StageAudit {
        let jobs = jobs.iter().map(|job| (*job).to_string()).collect();
        StageAudit { stage_description: title.into(), execution_type, jobs, skipped }
    }

    /// A job's record; `end` and what follows only where it has ended.
    pub(crate) fn job(
        name: &str,
        status: Status,
        start: &str,
        end: Option<&str>,
        exit: Option<i32>,
    ) -> JobAudit {
        JobAudit {
            job_name: name.into(),
            workflow_execution_id: "nightly-20261121-030000-4f2a1c".into(),
            workflow_id: "nightly".into(),
            execution_status: status,
            execution_start_ts: at(start),
            execution_end_ts: end.map(at),
            instance_id: "i-rsqlflow".into(),
            ssm_command_id: None,
            exit_code: exit,
            signal: None,
            attempt: 1,
            error: None,
            error_message: None,
            log_stream: Some(format!("nightly-20261121-030000-4f2a1c/{name}/1")),
            attempts: vec![],
        }
    }

    /// A time of the night of the sample run.
    pub(crate) fn at(time: &str) -> String {
        format!("2026-11-21T{time}Z")
    }

    /// Three stages, nothing accepted yet.
    pub(crate) fn triggered() -> Records {
        let stages = vec![
            stage("Load dimensions", ExecutionType::Sequential, &["load_a.sh", "dim/load_b.sh"], false),
            stage("Archive", ExecutionType::Sequential, &["archive.sh"], true),
            stage("Build marts", ExecutionType::Parallel, &["mart_1.sh", "mart_2.sh"], false),
        ];
        let run = WorkflowAudit {
            workflow_execution_id: "nightly-20261121-030000-4f2a1c".into(),
            workflow_id: "nightly".into(),
            execution_status: Status::Triggered,
            execution_start_ts: at("03:00:00.000"),
            execution_end_ts: None,
            rsql_jobs: stages.iter().flat_map(|stage| stage.jobs.clone()).collect(),
            stages,
            parameters: BTreeMap::default(),
            error_message: None,
            notify_error: None,
            started_by: "cli:maria".into(),
            execution_arn: Some("arn:aws:states:us-east-1:000000000000:execution:rsqlflow-master:n".into()),
            scheduled_time: None,
            admitted_ts: None,
            waiting_for: None,
            restart_of: None,
            restarted_by: None,
            completed_earlier: vec![],
            left_out: vec![],
            never_started: false,
        };
        Records::new(run, vec![])
    }

    /// The second job of the first stage runs.
    pub(crate) fn running() -> Records {
        let mut run = triggered().run;
        run.execution_status = Status::Running;
        let second = job("dim/load_b.sh", Status::Running, "03:00:02.400", None, None);
        let first = job("load_a.sh", Status::Completed, "03:00:01.000", Some("03:00:02.200"), Some(0));
        Records::new(run, vec![second, first])
    }

    /// The second job failed twice, and the run with it.
    pub(crate) fn failed() -> Records {
        let mut records = running();
        records.run.execution_status = Status::Failed;
        records.run.execution_end_ts = Some(at("03:02:12.600"));
        records.run.error_message = Some("stage 1 failed: dim/load_b.sh".into());
        records.jobs[1] = JobAudit {
            error: Some("Rsql.ExitCode".into()),
            error_message: Some(
                "rsql: load.sql\nSQLSTATE 42P01: relation \"dim_b\" does not exist (exit code 21)".into(),
            ),
            attempt: 2,
            log_stream: Some("nightly-20261121-030000-4f2a1c/dim/load_b.sh/2".into()),
            attempts: vec![AttemptAudit {
                attempt: 1,
                execution_start_ts: at("03:00:02.500"),
                execution_end_ts: at("03:00:10.000"),
                exit_code: Some(20),
                error_message: Some("connection refused (exit code 20)".into()),
                log_stream: "nightly-20261121-030000-4f2a1c/dim/load_b.sh/1".into(),
            }],
            ..job("dim/load_b.sh", Status::Failed, "03:00:02.400", Some("03:02:12.500"), Some(21))
        };
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its record may be on its way, and no host is asked about for ever.
    #[test]
    fn a_completed_run_with_a_missing_record_is_neither_settled_nor_open() {
        let mut records = samples::failed();
        records.run.execution_status = Status::Completed;
        assert!(!records.settled() && !records.is_open());
        assert!(samples::running().is_open());
        let mut ended = samples::running();
        ended.run.execution_status = Status::Failed;
        assert!(ended.is_open(), "a job of it goes on");
    }

    #[test]
    fn a_job_is_named_by_its_whole_name() {
        for (text, is) in [
            ("stage 1 failed: load.sh", true),
            ("load.sh, other.sh failed", true),
            ("it was load.sh.", true),
            ("pre-load.sh failed", false),
            ("load.sh.bak failed", false),
            ("load.sh1", false),
            ("a/load.sh", false),
        ] {
            assert_eq!(names(text, "load.sh"), is, "{text}");
        }
    }
}
