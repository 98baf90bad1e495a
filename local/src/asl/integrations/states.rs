//! `arn:aws:states:::states:startExecution`: an execution within an execution
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html>).
//!
//! A child belongs to the task that started it: asked again after a crash, the same task gets the same child, named
//! or not; and a task that ends otherwise (timeout, stopped parent, failed Map) stops its child.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Caller, Integration, Outcome, Pattern, exception_name, is_unmodelled, texts, with_metadata};
use crate::asl::failure::{Failure, names};
use crate::asl::limits;
use crate::service::AwsError;

struct StartExecution;

/// How long to wait before a child that could not be stopped is stopped again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
            let Some(arn) = submission["ExecutionArn"].as_str() else { return };
            let cause = format!("The task of the parent execution {} no longer waits", from.execution_arn);
            let mut pause = FIRST_PAUSE;
            // When the process stops there are no executions any more; the next one stops children without parents.
            while let Ok(executions) = from.executions() {
                let Err(error) = executions.stop(arn, cause.clone()).await else { return };
                tracing::debug!(child = arn, %error, "could not stop a nested execution");
                if error.status < 500 {
                    return;
                }
                // Ours: the store failed, or the child is not taken up yet. Nobody else will stop it.
                drop(executions);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })
    }
}

/// The description of a child that failed, with its input as text as `DescribeExecution` gives it.
///
/// It becomes a cause, which is cut at a length that one input alone can exceed. Parents parse it for `Error` and
/// `Cause`, so it stays complete JSON: what it was told is left out first, then the child's own cause gets shorter.
fn describe_failed(mut result: Value) -> String {
    if let Some(input) = result.get_mut("Input")
        && !input.is_string()
    {
        *input = Value::String(input.to_string());
    }
    let text = result.to_string();
    if fits(&text) {
        return text;
    }
    leave_out_payloads(&mut result);
    let text = result.to_string();
    if fits(&text) {
        return text;
    }
    if let Some(cause) = result.get_mut("Cause") {
        let whole = cause.take();
        let around = result.to_string().chars().count();
        result["Cause"] = json!(shorten(
            whole.as_str().unwrap_or_default(),
            // `null` is where the text with its two quotes goes.
            (limits::CAUSE_CHARS + 2).saturating_sub(around),
        ));
    }
    result.to_string()
}

fn fits(text: &str) -> bool {
    text.chars().count() <= limits::CAUSE_CHARS
}

/// Leaves input and output out of a description, and out of those that it quotes as its cause.
fn leave_out_payloads(description: &mut Value) {
    let Some(fields) = description.as_object_mut() else { return };
    for (payload, details) in [("Input", "InputDetails"), ("Output", "OutputDetails")] {
        if fields.shift_remove(payload).is_some() {
            fields.insert(details.into(), json!({ "Included": false }));
        }
    }
    if let Some(Value::String(cause)) = fields.get_mut("Cause")
        && let Ok(mut quoted) = serde_json::from_str::<Value>(cause)
        && quoted.get("ExecutionArn").is_some()
    {
        leave_out_payloads(&mut quoted);
        *cause = quoted.to_string();
    }
}

/// As much of `text` as takes `room` characters in JSON.
fn shorten(text: &str, room: usize) -> &str {
    let mut left = room;
    for (at, char) in text.char_indices() {
        let takes = match char {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            _ => 1,
        };
        if takes > left {
            return &text[..at];
        }
        left -= takes;
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    fn described(input: &str, cause: &str) -> String {
        let text = describe_failed(json!({
            "ExecutionArn": "arn:child", "Input": { "x": input }, "InputDetails": { "Included": true },
            "Error": "E", "Cause": cause, "Status": "FAILED",
        }));
        assert!(fits(&text));
        assert_eq!(Failure::new("E", text.clone()).cut().cause, Some(text.clone()));
        text
    }

    #[test]
    fn a_description_is_always_whole() {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let small = parsed(&described("a", "why"));
        assert_eq!(small["Input"], r#"{"x":"a"}"#);
        let large = parsed(&described(&"\"".repeat(40_000), "why"));
        assert_eq!((&large["Input"], &large["InputDetails"]), (&Value::Null, &json!({ "Included": false })));
        assert_eq!((&large["Error"], &large["Cause"]), (&json!("E"), &json!("why")));
        for char in ["x", "\"", "\u{1}", "é"] {
            let cut = parsed(&described("a", &char.repeat(32_768)));
            let cause = cut["Cause"].as_str().unwrap();
            assert!(cause.chars().count() > 5_000 && cut["Status"] == "FAILED", "{char:?}");
        }
    }

    #[test]
    fn a_quoted_description_stays_whole() {
        let inner = described(&"x".repeat(32_000), "why");
        let middle = described("a", &inner);
        let outer: Value = serde_json::from_str(&described(&"x".repeat(40_000), &middle)).unwrap();
        let mut innermost = outer;
        for _ in 0..2 {
            innermost = serde_json::from_str(innermost["Cause"].as_str().unwrap()).unwrap();
        }
        assert_eq!(innermost["Cause"], "why");
    }
}
