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
use crate::error::{Asked, CliError};

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
    let run = request.workflow_execution_id.clone();
    let asked = Asked {
        function: function_name(arn),
        workflow: Some(request.workflow_id.clone()).filter(|id| !id.is_empty()),
        run: request.restart.as_ref().map(|restart| restart.of.clone()).or_else(|| run.clone()),
    };
    ask(lambda, arn, &Operate::start(request), asked).await.map_err(|error| match run {
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
    let asked = Asked { function: function_name(arn), workflow: None, run: Some(run_id.into()) };
    ask(lambda, arn, &Operate::cancel(run_id, by), asked).await.map_err(|error| {
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

/// The name in the function's ARN, or the name that stands for it.
fn function_name(arn: &str) -> String {
    arn.split(':').nth(6).unwrap_or(arn).to_string()
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
        CliError::Function { code, message, asked } => {
            let rest = |known: bool| message.strip_prefix(&TriggerError::not_started(run, known));
            let (known, message) = match (rest(true), rest(false)) {
                (Some(rest), _) => (Some(true), rest.to_string()),
                (None, Some(rest)) => (Some(false), rest.to_string()),
                (None, None) => (None, message),
            };
            certain = known;
            CliError::Function { code, message, asked }
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
    asked: Asked,
) -> Result<T, CliError> {
    let event = serde_json::to_vec(event).map_err(std::io::Error::from)?;
    let answered = lambda.invoke().function_name(arn).payload(Blob::new(event)).send().await;
    let answer = answered.map_err(CliError::aws("calling the trigger function"))?;
    let said = answer.payload().map(Blob::as_ref).unwrap_or_default();
    if let Some(kind) = answer.function_error() {
        let failure = serde_json::from_slice(said)
            .unwrap_or_else(|_| Failure { error_type: String::new(), error_message: String::new() });
        return Err(failed(failure, kind, asked));
    }
    serde_json::from_slice(said).map_err(|error| CliError::Function {
        code: String::new(),
        message: format!("the trigger function's answer is not one of this version: {error}"),
        asked: Box::new(asked),
    })
}

/// What it failed with: a refusal in its own words, or what became of it as Lambda says.
fn failed(failure: Failure, kind: &str, asked: Asked) -> CliError {
    let Failure { error_type: code, error_message } = failure;
    let message = match (code.starts_with("Rsql."), error_message.is_empty()) {
        (true, false) => error_message,
        (_, false) => format!("the trigger function failed: {error_message}"),
        (_, true) => format!("the trigger function failed: {kind} {code}"),
    };
    CliError::Function { code, message, asked: Box::new(asked) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn asked() -> Asked {
        let function = function_name("arn:aws:lambda:eu-west-1:123456789012:function:etl-trigger:operate");
        Asked { function, workflow: Some("night".into()), run: Some("night-1".into()) }
    }

    #[test]
    fn failures_of_the_function_are_told_as_those_of_this_program() {
        let of = |code: &str, message: &str| {
            let failure = Failure { error_type: code.into(), error_message: message.into() };
            let error = failed(failure, "Unhandled", asked());
            (error.to_string(), error.exit(), error.next())
        };
        let (said, exit, next) = of("Rsql.RunEnded", "run `night-1` has already ended: failed");
        assert_eq!(said, "run `night-1` has already ended: failed");
        assert_eq!((exit, next.as_deref()), (Exit::Failed, Some("rsqlflow status night-1")));
        let (said, exit, next) = of("Sandbox.Timedout", "Task timed out after 180.00 seconds");
        assert_eq!(said, "the trigger function failed: Task timed out after 180.00 seconds");
        assert!(exit == Exit::Failed && next.unwrap().contains("/aws/lambda/etl-trigger has"));
    }

    #[test]
    fn a_start_without_an_answer_names_its_run() {
        let function = |code: &str, message: &str| CliError::Function {
            code: code.into(),
            message: message.into(),
            asked: Box::new(asked()),
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
