//! Runs started and cancelled by the trigger function of an account, which is asked by its alias for people.
//!
//! The function does what this program does where it carries the runs itself: the same library, with permissions that
//! operators need not have. Its errors have the kind and the words of the library's.

use aws_sdk_lambda::primitives::Blob;
use rsqlflow_config::run::generate_run_id;
use rsqlflow_trigger::events::Operate;
use rsqlflow_trigger::{Audit, Cancelled, StartRequest, Started, TriggerError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::refused::may_pass;
use crate::error::CliError;

/// How a function failed.
/// <https://docs.aws.amazon.com/lambda/latest/dg/rust-handler.html#rust-error-handling>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error_message: String,
}

/// Starts a run. Its id is made here: a call that is made again, because the answer was lost, is the same run. Where no
/// answer came, the error names the run.
pub(super) async fn start(
    lambda: &aws_sdk_lambda::Client,
    audit: &Audit,
    arn: &str,
    mut request: StartRequest,
) -> Result<Started, CliError> {
    if request.workflow_execution_id.is_none() {
        let workflow = match &request.restart {
            Some(restart) if request.workflow_id.is_empty() => {
                audit.run(&restart.of).await?.map(|earlier| earlier.workflow_id)
            }
            _ => Some(request.workflow_id.clone()),
        };
        // Where there is no such run, the function says so.
        request.workflow_execution_id = workflow.as_deref().map(generate_run_id);
    }
    let about = request.restart.as_ref().map(|restart| restart.of.clone());
    let about = about.or_else(|| request.workflow_execution_id.clone());
    let run = request.workflow_execution_id.clone();
    ask(lambda, arn, &Operate::start(request), about).await.map_err(|error| match run {
        Some(run) => start_failed(&run, error),
        None => error,
    })
}

/// Cancels a run.
pub(super) async fn cancel(
    lambda: &aws_sdk_lambda::Client,
    arn: &str,
    run_id: &str,
    by: &str,
) -> Result<Cancelled, CliError> {
    ask(lambda, arn, &Operate::cancel(run_id, by), Some(run_id.into())).await.map_err(|error| {
        if !is_unanswered(&error) {
            return error;
        }
        CliError::Partly {
            said: format!("whether run `{run_id}` was cancelled is not known"),
            then: "the same command again: it goes on where this one ended".into(),
            source: Box::new(error),
        }
    })
}

/// Whether the function may have done what was asked and nothing says so: no answer came, Lambda ended the function or
/// lost it, or the function itself got no answer.
fn is_unanswered(error: &CliError) -> bool {
    match error {
        CliError::Function { code, .. } => code == "Rsql.Unreachable" || !code.starts_with("Rsql."),
        CliError::Trigger(TriggerError::Aws { message, .. }) => {
            may_pass(error) || message.starts_with("ServiceException")
        }
        _ => false,
    }
}

/// A start that failed: with what is known of its run, where anything may have begun.
fn start_failed(run: &str, error: CliError) -> CliError {
    let mut certain = None;
    let source = match error {
        // The function says it in its message, which is then not to say it twice.
        CliError::Function { code, message, run: about } => {
            let rest = |known: bool| message.strip_prefix(&TriggerError::not_started(run, known));
            let (known, message) = match (rest(true), rest(false)) {
                (Some(rest), _) => (Some(true), rest.to_string()),
                (None, Some(rest)) => (Some(false), rest.to_string()),
                (None, None) => (None, message),
            };
            certain = known;
            CliError::Function { code, message, run: about }
        }
        error => error,
    };
    if certain.is_none() && is_unanswered(&source) {
        certain = Some(false);
    }
    match certain {
        Some(certain) => CliError::not_started(run, certain, None, Box::new(source)),
        None => source,
    }
}

async fn ask<T: DeserializeOwned>(
    lambda: &aws_sdk_lambda::Client,
    arn: &str,
    event: &Operate,
    run: Option<String>,
) -> Result<T, CliError> {
    let event = serde_json::to_vec(event).map_err(std::io::Error::from)?;
    let asked = lambda.invoke().function_name(arn).payload(Blob::new(event)).send().await;
    let answer = asked.map_err(CliError::aws("calling the trigger function"))?;
    let said = answer.payload().map(Blob::as_ref).unwrap_or_default();
    if let Some(kind) = answer.function_error() {
        let failure = serde_json::from_slice(said)
            .unwrap_or_else(|_| Failure { error_type: String::new(), error_message: String::new() });
        return Err(failed(failure, kind, run));
    }
    serde_json::from_slice(said).map_err(|error| CliError::Function {
        code: String::new(),
        message: format!("the trigger function's answer is not one of this version: {error}"),
        run,
    })
}

/// What it failed with: a refusal in its own words, or what became of it as Lambda says.
fn failed(failure: Failure, kind: &str, run: Option<String>) -> CliError {
    let Failure { error_type: code, error_message } = failure;
    let message = match (code.starts_with("Rsql."), error_message.is_empty()) {
        (true, false) => error_message,
        (_, false) => format!("the trigger function failed: {error_message}"),
        (_, true) => format!("the trigger function failed: {kind} {code}"),
    };
    CliError::Function { code, message, run }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn failures_of_the_function_are_told_as_those_of_this_program() {
        let of = |code: &str, message: &str| {
            let failure = Failure { error_type: code.into(), error_message: message.into() };
            let error = failed(failure, "Unhandled", Some("night-1".into()));
            (error.to_string(), error.exit(), error.next())
        };
        let (said, exit, next) = of("Rsql.RunEnded", "run `night-1` has already ended: failed");
        assert_eq!(said, "run `night-1` has already ended: failed");
        assert_eq!((exit, next.as_deref()), (Exit::Failed, Some("rsqlflow status night-1")));
        let (said, exit, next) = of("Sandbox.Timedout", "Task timed out after 180.00 seconds");
        assert_eq!(said, "the trigger function failed: Task timed out after 180.00 seconds");
        assert!(exit == Exit::Failed && next.unwrap().contains("/aws/lambda/"));
    }

    #[test]
    fn a_start_without_an_answer_names_its_run() {
        let function = |code: &str, message: &str| CliError::Function {
            code: code.into(),
            message: message.into(),
            run: Some("night-1".into()),
        };
        let lost =
            TriggerError::Aws { action: "x", message: "dispatch failure: timeout".into(), unreachable: true };
        for error in [
            CliError::Trigger(lost),
            function("Sandbox.Timedout", "the trigger function failed: Task timed out"),
            function("Rsql.Unreachable", "reading the config item failed: dispatch failure"),
            function(
                "Rsql.AwsError",
                "whether run `night-1` was started is not known: starting the execution failed: Throttling",
            ),
        ] {
            let error = start_failed("night-1", error);
            let (said, next) = (error.to_string(), error.next().unwrap());
            assert_eq!(said.matches("whether run `night-1` was started is not known: ").count(), 1, "{said}");
            assert!(next.contains("rsqlflow status night-1; ") && next.contains("--id night-1"), "{next}");
            assert!(!next.contains("again:"), "{next}");
        }
        let denied =
            function("Rsql.AwsError", "run `night-1` was not started: starting the execution failed: no");
        let denied = start_failed("night-1", denied);
        assert_eq!(denied.to_string().matches("was not started").count(), 1);
        assert!(denied.next().unwrap().contains("--id may be the same"));
        let refused = start_failed("night-1", function("Rsql.NoHost", "workflow `w` names no host"));
        assert!(matches!(refused, CliError::Function { .. }), "{refused}");
    }
}
