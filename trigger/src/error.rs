//! What can go wrong between a config item and a run, with what the caller needs to act.

use aws_sdk_dynamodb::config::http::HttpResponse;
use rsqlflow_config::job::SENT_MAX;
use rsqlflow_config::names::RUN_INPUT_MAX;
use rsqlflow_config::validate::InvalidItem;

/// Why the trigger did not do what was asked. Unless a variant says otherwise, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// No item has this id.
    #[error("there is no workflow `{id}`{}", nearest(.known))]
    UnknownWorkflow {
        /// The id asked for.
        id: String,
        /// The nearest id there is.
        known: Option<String>,
    },
    /// The item breaks the rules.
    #[error("the item of workflow `{id}` is not valid:\n{source}")]
    InvalidWorkflow {
        /// The workflow.
        id: String,
        /// Every problem. Part of the message, so that it is told once.
        source: Box<InvalidItem>,
    },
    /// The item's `execution_flag` says no.
    #[error("workflow `{0}` is switched off: its execution_flag is not y")]
    Disabled(String),
    /// Nobody says where the scripts run.
    #[error(
        "workflow `{0}` names no host and there is no default: give its item `host`, or set `host` in rsqlflow.toml \
         or the stack's DefaultHost"
    )]
    NoHost(String),
    /// The run id cannot be one.
    #[error("`{}` cannot be the id of a run: it {problem}", shown(id))]
    InvalidRunId {
        /// The id asked for.
        id: String,
        /// Why not.
        problem: String,
    },
    /// A parameter's name cannot be one.
    #[error("parameter `{}` {problem}", shown(name))]
    InvalidParameter {
        /// Its name.
        name: String,
        /// Why not.
        problem: String,
    },
    /// The id is taken by a run that is not this one.
    #[error("there is already a run `{id}`{of}; choose another id")]
    RunExists {
        /// The id asked for.
        id: String,
        /// Whose run it is, where that is known.
        of: String,
    },
    /// Item and parameters are more than an execution takes.
    #[error(
        "the run's input has {size} bytes, and {RUN_INPUT_MAX} fit into Step Functions with what a stage answers: shorten its parameters or split the workflow"
    )]
    TooLarge {
        /// The size in bytes.
        size: usize,
    },
    /// A job's arguments and parameters are more than its host can be sent.
    #[error(
        "the request of job `{job}` has {size} bytes, encoded, and Systems Manager takes {SENT_MAX}: give it less in \
         parameters and arguments, the name of a file say"
    )]
    JobTooLarge {
        /// The job.
        job: String,
        /// The size in bytes, encoded as it is sent.
        size: usize,
    },
    /// No record of such a run.
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    /// The run has already ended.
    #[error("run `{id}` has already ended: {status}")]
    Ended {
        /// The run.
        id: String,
        /// How.
        status: rsqlflow_config::audit::Status,
    },
    /// The run goes on.
    #[error("run `{id}` has not ended ({status}): wait for its end, or cancel it")]
    NotEnded {
        /// The run.
        id: String,
        /// Where it is.
        status: rsqlflow_config::audit::Status,
    },
    /// Jobs of the run are open in the audit.
    #[error("run `{run}` has ended and {} not yet: wait until its host has ended what it ran", .jobs.join(", "))]
    JobsNotEnded {
        /// The run.
        run: String,
        /// Its jobs.
        jobs: Vec<String>,
    },
    /// A host may have been given jobs of the run and not have said so yet.
    #[error("run `{run}` was stopped a moment ago, and a host may have been given {} before: try again in {seconds} seconds", .jobs.join(", "))]
    StoppedJustNow {
        /// The run.
        run: String,
        /// The jobs.
        jobs: Vec<String>,
        /// When it would have said so.
        seconds: i64,
    },
    /// The run is not of the workflow that was named.
    #[error("run `{id}` is one of workflow `{workflow}`")]
    RunOfAnother {
        /// The run.
        id: String,
        /// Its workflow.
        workflow: String,
    },
    /// Another run goes on from the run.
    #[error("run `{by}` goes on from run `{id}`: restart that one")]
    RestartedBefore {
        /// The run.
        id: String,
        /// The one that goes on from it.
        by: String,
    },
    /// What the run was given is not known any more, or never was.
    #[error("Step Functions does not have the input of run `{0}`: restart it with the item as it is now")]
    NotAsItWas(String),
    /// No such job.
    #[error("there is no job `{job}`{}", nearest(.known))]
    UnknownJob {
        /// The job asked for.
        job: String,
        /// The nearest there is.
        known: Option<String>,
    },
    /// The job's stage does not run.
    #[error("job `{job}` is in stage `{stage}`, which is switched off: its execution_flag is not y")]
    JobSwitchedOff {
        /// The job asked for.
        job: String,
        /// Its stage.
        stage: String,
    },
    /// No such stage.
    #[error("there is no stage `{wanted}`; there are {known}")]
    UnknownStage {
        /// The stage asked for.
        wanted: String,
        /// Those there are.
        known: String,
    },
    /// Nothing is left.
    #[error(
        "there is nothing to run: what was asked for has completed or is switched off; name jobs to run again with \
         --only"
    )]
    NothingToRun,
    /// Whose turn it is changed whenever it was looked at.
    #[error("too many triggers start runs of workflow `{0}` at once; try again")]
    Contended(String),
    /// AWS refused or was not reached.
    #[error("{action} failed: {message}")]
    Aws {
        /// What was being done.
        action: &'static str,
        /// The service's word.
        message: String,
        /// Whether the service was not reached at all.
        unreachable: bool,
    },
    /// The run was recorded, and its execution not started, as far as that is known.
    #[error("{}{source}{}", TriggerError::not_started(run, *certain), still_open(stays_open.as_deref()))]
    NotStarted {
        /// The run.
        run: String,
        /// Whether it is certain that it was not started: no answer may mean that it was.
        certain: bool,
        /// Why its record could not be closed, where it should have been. A sweep closes it.
        stays_open: Option<Box<TriggerError>>,
        /// Why it was not started.
        source: Box<TriggerError>,
    },
    /// The run's execution was stopped, and its record does not say so.
    #[error("run `{run}` was stopped, and its record does not say so yet: {source}")]
    NotClosed {
        /// The run.
        run: String,
        /// Why.
        source: Box<TriggerError>,
    },
    /// A record that is not one of ours.
    #[error("a record of table {table} cannot be read: {message}")]
    Record {
        /// The table.
        table: String,
        /// Why.
        message: String,
    },
}

/// A name that cannot be one may be of any length.
fn shown(name: &str) -> String {
    const MOST: usize = 80;
    if name.chars().count() <= MOST {
        return name.into();
    }
    name.chars().take(MOST).chain("...".chars()).collect()
}

fn still_open(why: Option<&TriggerError>) -> String {
    why.map(|why| format!("; its record stays open for a quarter of an hour, because {why}"))
        .unwrap_or_default()
}

fn nearest(known: &Option<String>) -> String {
    known.as_ref().map(|id| format!("; did you mean `{id}`?")).unwrap_or_default()
}

impl TriggerError {
    /// How the message of [`TriggerError::NotStarted`] begins, for programs that get it from the trigger function.
    pub fn not_started(run: &str, certain: bool) -> String {
        if certain {
            format!("run `{run}` was not started: ")
        } else {
            format!("whether run `{run}` was started is not known: ")
        }
    }

    /// A name for the kind of error, for programs; it stays as it is.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownWorkflow { .. } => "Rsql.UnknownWorkflow",
            Self::InvalidWorkflow { .. } => "Rsql.InvalidWorkflow",
            Self::Disabled(_) => "Rsql.WorkflowDisabled",
            Self::NoHost(_) => "Rsql.NoHost",
            Self::InvalidRunId { .. } => "Rsql.InvalidRunId",
            Self::InvalidParameter { .. } => "Rsql.InvalidParameter",
            Self::RunExists { .. } => "Rsql.RunExists",
            Self::TooLarge { .. } | Self::JobTooLarge { .. } => "Rsql.InputTooLarge",
            Self::UnknownRun(_) => "Rsql.UnknownRun",
            Self::Ended { .. } => "Rsql.RunEnded",
            Self::NotEnded { .. } | Self::JobsNotEnded { .. } | Self::StoppedJustNow { .. } => {
                "Rsql.RunNotEnded"
            }
            Self::RunOfAnother { .. } => "Rsql.RunOfAnother",
            Self::RestartedBefore { .. } => "Rsql.RestartedBefore",
            Self::NotAsItWas(_) => "Rsql.NotAsItWas",
            Self::UnknownJob { .. } | Self::JobSwitchedOff { .. } => "Rsql.UnknownJob",
            Self::UnknownStage { .. } => "Rsql.UnknownStage",
            Self::NothingToRun => "Rsql.NothingToRun",
            Self::Contended(_) => "Rsql.Contended",
            Self::NotStarted { source, .. } | Self::NotClosed { source, .. } => source.code(),
            Self::Aws { unreachable: true, .. } => "Rsql.Unreachable",
            Self::Aws { unreachable: false, .. } => "Rsql.AwsError",
            Self::Record { .. } => "Rsql.UnreadableRecord",
        }
    }

    /// Whether a permission is lacking.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::NotStarted { source, .. } | Self::NotClosed { source, .. } => source.is_denied(),
            Self::Aws { message, .. } => {
                ["AccessDenied", "AuthorizationError"].iter().any(|code| message.starts_with(code))
            }
            _ => false,
        }
    }

    /// From an SDK error, keeping the service's own code and message.
    pub fn aws<E, R>(action: &'static str, error: aws_sdk_dynamodb::error::SdkError<E, R>) -> Self
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        use aws_sdk_dynamodb::error::SdkError;
        let unreachable = matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_));
        let message = match error.as_service_error().map(|error| (error.code(), error.message())) {
            Some((Some(code), Some(message))) => format!("{code}: {message}"),
            Some((Some(code), None)) => code.to_string(),
            _ => chain(&error),
        };
        Self::Aws { action, message, unreachable }
    }
}

/// Error codes that say not now rather than no, with whatever status they come.
const PASSING: [&str; 6] = [
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "ExecutionLimitExceeded",
];

/// Whether a call may succeed later as it is: the service was not reached, is busy or broken.
pub(crate) fn is_passing<E>(error: &aws_sdk_dynamodb::error::SdkError<E, HttpResponse>) -> bool
where
    E: aws_sdk_dynamodb::error::ProvideErrorMetadata,
{
    let code = error.as_service_error().and_then(|error| error.code());
    let status = error.raw_response().map(|response| response.status().as_u16());
    // Without keys, say, nothing is ever sent.
    let was_made = !matches!(error, aws_sdk_dynamodb::error::SdkError::ConstructionFailure(_));
    was_made && status.is_none_or(|status| status >= 500 || status == 429)
        || code.is_some_and(|code| PASSING.contains(&code))
}

/// Whether a conditional write was made: not where its condition did not hold.
pub(crate) fn written<T, E, R>(
    action: &'static str,
    result: Result<T, aws_sdk_dynamodb::error::SdkError<E, R>>,
) -> Result<bool, TriggerError>
where
    E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match result {
        Ok(_) => Ok(true),
        Err(error)
            if error.as_service_error().and_then(|error| error.code())
                == Some("ConditionalCheckFailedException") =>
        {
            Ok(false)
        }
        Err(error) => Err(TriggerError::aws(action, error)),
    }
}

/// What an error and its causes say, each thing once. The SDK's own rendering adds every structure in between.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::error::{ConnectorError, SdkError};
    use aws_sdk_dynamodb::operation::get_item::GetItemError;

    #[test]
    fn an_endpoint_that_is_not_there_is_told_in_one_line() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error: SdkError<GetItemError, HttpResponse> =
            SdkError::dispatch_failure(ConnectorError::io(refused.into()));
        let told = TriggerError::aws("reading the config item", error);
        assert_eq!(
            told.to_string(),
            "reading the config item failed: dispatch failure: io error: connection refused"
        );
        assert!(matches!(told, TriggerError::Aws { unreachable: true, .. }));
    }
}
