//! Schedules and functions with the plain `aws` command line: signed paths and queries, and a body that is a payload.

use std::sync::Arc;

use rsqlflow_local::lambda::{Function, FunctionError, Invocation, Returning};
use serde_json::json;

use super::served;

struct Echo;

impl Function for Echo {
    fn handle(&self, invocation: Invocation) -> Returning<'_> {
        Box::pin(async move {
            match invocation.event["fail"].as_str() {
                None => Ok(json!({ "said": invocation.event, "arn": invocation.function_arn })),
                Some(why) => Err(FunctionError { error_type: "Oops".into(), error_message: why.into() }),
            }
        })
    }
}

#[tokio::test]
async fn schedules_come_and_go() {
    let Some(served) = served().await else { return };
    let target = r#"{"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
                     "RoleArn": "arn:aws:iam::000000000000:role/r"}"#;
    let create = [
        "scheduler",
        "create-schedule",
        "--name",
        "a.b",
        "--schedule-expression",
        "rate(1 day)",
        "--start-date",
        "2126-11-21T03:00:00Z",
        "--flexible-time-window",
        "Mode=OFF",
        "--target",
        target,
    ];
    let made = served.json(&create).await;
    assert_eq!(made["ScheduleArn"], "arn:aws:scheduler:us-east-1:000000000000:schedule/default/a.b");
    let error = served.error(&create).await;
    assert!(error.contains("(ConflictException)") && error.contains("a.b already exists"), "{error}");
    let got = served.json(&["scheduler", "get-schedule", "--name", "a.b", "--group-name", "default"]).await;
    assert_eq!(got["ScheduleExpression"], "rate(1 day)");
    // Version 1 shows times as they came, version 2 as text.
    let start = &got["StartDate"];
    let text = start.as_str().is_some_and(|start| start.starts_with("2126-11-21T03:00:00"));
    assert!(text || start.as_f64() == Some(4_950_903_600.0), "{got}");
    let listed =
        served.json(&["scheduler", "list-schedules", "--name-prefix", "a.", "--max-items", "1"]).await;
    assert_eq!(listed["Schedules"][0]["Name"], "a.b");
    served.json(&["scheduler", "delete-schedule", "--name", "a.b"]).await;
    let error = served.error(&["scheduler", "get-schedule", "--name", "a.b"]).await;
    assert!(error.contains("(ResourceNotFoundException)"), "{error}");
}

#[tokio::test]
async fn a_function_is_invoked() {
    let Some(served) = served().await else { return };
    served.cloud.lambda().register("echo", Arc::new(Echo));
    let dir = tempfile::tempdir().unwrap();
    let arguments = |name: &str, payload: &str, kind: &str| {
        // Every version of the command line takes a file's bytes as they are.
        let file = dir.path().join("payload");
        std::fs::write(&file, payload).unwrap();
        let payload = format!("fileb://{}", file.display());
        [
            "lambda",
            "invoke",
            "--function-name",
            name,
            "--invocation-type",
            kind,
            "--payload",
            &payload,
            "/dev/stdout",
        ]
        .map(str::to_owned)
    };
    let invoke = async |name: &str, payload: &str, kind: &str| {
        let output = served.aws(&arguments(name, payload, kind).each_ref().map(String::as_str)).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:echo";
    let said = invoke(arn, r#"{"a": 1}"#, "RequestResponse").await;
    assert!(said.contains(r#""said":{"a":1}"#) && said.contains("\"StatusCode\": 200"), "{said}");
    let said = invoke("echo", r#"{"fail": "no"}"#, "RequestResponse").await;
    assert!(
        said.contains(r#""errorMessage":"no""#) && said.contains("\"FunctionError\": \"Unhandled\""),
        "{said}"
    );
    let said = invoke("echo", "{}", "Event").await;
    assert!(said.contains("\"StatusCode\": 202"), "{said}");
    let missing = arguments("nobody", "{}", "Event");
    let error = served.error(&missing.each_ref().map(String::as_str)).await;
    assert!(error.contains("(ResourceNotFoundException)"), "{error}");
}
