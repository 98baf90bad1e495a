//! How attempts and jobs end.

use rsqlflow_config::audit::Status;
use rsqlflow_config::job::JobError;
use serde::{Deserialize, Serialize};

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttemptEnd {
    /// `None` where it ended well.
    pub error: Option<JobError>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub ended_at: String,
    /// One or a few lines for people; secrets already masked.
    pub message: String,
}

impl AttemptEnd {
    /// An end that no process had a part in.
    pub(crate) fn without_process(error: JobError, message: impl Into<String>) -> Self {
        Self {
            error: Some(error),
            exit_code: None,
            signal: None,
            ended_at: rsqlflow_config::time::now(),
            message: message.into(),
        }
    }
}

impl AttemptEnd {
    /// What ended it, in one word, for the metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self.error {
            None | Some(JobError::ExitCode) => "exited",
            Some(JobError::Signal) => "signal",
            Some(JobError::TimedOut) => "timed_out",
            Some(JobError::Stalled) => "stalled",
            Some(JobError::Cancelled) => "cancelled",
            Some(JobError::Killed) => "killed",
            Some(JobError::HostLost) => "host_lost",
            Some(
                JobError::ScriptNotFound
                | JobError::NotStarted
                | JobError::InvalidRequest
                | JobError::HostUnavailable,
            ) => "not_started",
        }
    }
}

/// How a job ended: what is on disk before anyone is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Number of the last attempt whose process started; one less than the first where none did.
    pub attempt: u32,
    /// How it ended, or why no further attempt started.
    pub end: AttemptEnd,
}

impl Outcome {
    pub(crate) fn status(&self) -> Status {
        match self.end.error {
            None => Status::Completed,
            Some(JobError::TimedOut | JobError::Stalled) => Status::TimedOut,
            Some(JobError::Cancelled | JobError::Killed) => Status::Cancelled,
            Some(
                JobError::ExitCode
                | JobError::Signal
                | JobError::ScriptNotFound
                | JobError::NotStarted
                | JobError::HostLost
                | JobError::InvalidRequest
                | JobError::HostUnavailable,
            ) => Status::Failed,
        }
    }
}
