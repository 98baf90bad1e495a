//! `arn:aws:states:::states:startExecution`: an execution within an execution
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html>).
//!
//! A child belongs to the task that started it: asked again after a crash, the same task gets the same child, named
//! or not; and a task that ends otherwise (timeout, stopped parent, failed Map) stops its child.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Caller, Integration, Outcome, Pattern, exception_name, is_unmodelled, texts, with_metadata};
use crate::asl::failure::{Failure, names};
use crate::service::AwsError;

struct StartExecution;

pub(super) fn recognise(
    service: &str,
    action: &str,
    _pattern: Pattern,
) -> Option<Result<Arc<dyn Integration>, String>> {
    (service == "states" && action == "startExecution")
        .then(|| Ok(Arc::new(StartExecution) as Arc<dyn Integration>))
}

impl Integration for StartExecution {
    fn service(&self) -> &str {
        "sfn"
    }

    fn call<'a>(&'a self, from: &'a Caller, arguments: Value) -> Outcome<'a> {
        Box::pin(async move {
            let arguments = texts(arguments, &["Input"]);
            let mut request = Map::new();
            for (given, member) in [
                ("StateMachineArn", "stateMachineArn"),
                ("Input", "input"),
                ("Name", "name"),
                ("TraceHeader", "traceHeader"),
            ] {
                if let Some(value) = arguments.get(given) {
                    request.insert(member.into(), value.clone());
                }
            }
            let executions = from.executions()?;
            let started = executions
                .start(from.task, from.pattern.runs_a_job(), Value::Object(request))
                .await
                .map_err(|error| failure(&error))?;
            Ok(with_metadata(json!({
                "ExecutionArn": started["executionArn"],
                "StartDate": millis(&started["startDate"]),
            })))
        })
    }

    fn wait<'a>(&'a self, from: &'a Caller, submission: &'a Value, pattern: Pattern) -> Outcome<'a> {
        Box::pin(async move {
            let executions = from.executions()?;
            let arn = submission["ExecutionArn"].as_str().unwrap_or_default();
            let child = executions.ended(arn).await.map_err(|error| failure(&error))?;
            let parsed = pattern == Pattern::Sync2;
            let mut result = Map::new();
            for (member, name) in [
                ("executionArn", "ExecutionArn"),
                ("input", "Input"),
                ("inputDetails", "InputDetails"),
                ("name", "Name"),
                ("output", "Output"),
                ("outputDetails", "OutputDetails"),
                ("error", "Error"),
                ("cause", "Cause"),
                ("startDate", "StartDate"),
                ("stateMachineArn", "StateMachineArn"),
                ("status", "Status"),
                ("stopDate", "StopDate"),
            ] {
                let Some(value) = child.get(member) else { continue };
                let value = match (member, value) {
                    ("startDate" | "stopDate", date) => millis(date),
                    ("inputDetails" | "outputDetails", _) => json!({ "Included": true }),
                    ("input" | "output", Value::String(text)) if parsed => {
                        serde_json::from_str(text).unwrap_or(Value::Null)
                    }
                    (_, value) => value.clone(),
                };
                result.insert(name.into(), value);
            }
            let result = Value::Object(result);
            match child["status"].as_str() {
                Some("SUCCEEDED") => Ok(result),
                // The cause is the description as text, whichever of the two patterns.
                _ => Err(Failure::new(names::TASK_FAILED, describe_failed(result))),
            }
        })
    }

    fn cancel<'a>(
        &'a self,
        from: &'a Caller,
        submission: &'a Value,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let (Ok(executions), Some(arn)) = (from.executions(), submission["ExecutionArn"].as_str()) else {
                return;
            };
            let cause = format!("The task of the parent execution {} no longer waits", from.execution_arn);
            if let Err(error) = executions.stop(arn, cause).await {
                tracing::debug!(child = arn, %error, "could not stop a nested execution");
            }
        })
    }
}

/// The description of a child that failed, with its input as text as `DescribeExecution` gives it.
fn describe_failed(mut result: Value) -> String {
    if let Some(input) = result.get_mut("Input")
        && !input.is_string()
    {
        *input = Value::String(input.to_string());
    }
    result.to_string()
}

/// Dates are milliseconds in results, and seconds on the wire.
fn millis(date: &Value) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit by far")]
    date.as_f64().map_or(Value::Null, |seconds| json!((seconds * 1000.0).round() as i64))
}

fn failure(error: &AwsError) -> Failure {
    let class =
        if is_unmodelled(error) { "AWSStepFunctionsException".into() } else { exception_name(&error.code) };
    Failure::new(
        format!("StepFunctions.{class}"),
        format!(
            "{} (Service: AWSStepFunctions; Status Code: {}; Error Code: {}; Request ID: {}; Proxy: null)",
            error.message,
            error.status,
            error.code,
            uuid::Uuid::new_v4()
        ),
    )
}
