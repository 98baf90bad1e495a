//! The real `bootstrap` as Lambda runs it: a runtime API that hands it events, and AWS at a loopback endpoint.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(unreachable_pub, dead_code, reason = "the cloud is shared with other tests")]

#[path = "../../tests/cloud/mod.rs"]
mod cloud;
mod runtime_api;

use std::io::Read;

use rsqlflow_config::audit::Status;
use rsqlflow_local::endpoint::Serving;
use serde_json::json;

use crate::cloud::{Cloud, due, ended, run_at};
use crate::runtime_api::{Answer, RuntimeApi};

/// The function, at work on a cloud.
struct Function {
    api: RuntimeApi,
    process: std::process::Child,
    _serving: Serving,
}

impl Function {
    async fn start(cloud: &Cloud) -> Self {
        let serving = cloud.local.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let api = RuntimeApi::serve().await;
        let settings = cloud::settings();
        let at = serving.endpoint();
        let process = std::process::Command::new(env!("CARGO_BIN_EXE_bootstrap"))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .env("AWS_LAMBDA_FUNCTION_NAME", "rsqlflow-trigger")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/rsqlflow-trigger")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .env("AWS_REGION", &at.region)
            .env("AWS_ENDPOINT_URL", &at.url)
            .env("AWS_ACCESS_KEY_ID", &at.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &at.secret_access_key)
            .env("RSQLFLOW_HOST", &settings.host)
            .env("RSQLFLOW_TABLES_CONFIG", &settings.config_table)
            .env("RSQLFLOW_TABLES_JOB_AUDIT", &settings.job_audit_table)
            .env("RSQLFLOW_TABLES_WORKFLOW_AUDIT", &settings.workflow_audit_table)
            .env("RSQLFLOW_STATE_MACHINES_MASTER", &settings.master_arn)
            .env("RSQLFLOW_STATE_MACHINES_SEQUENTIAL", &settings.sequential_arn)
            .env("RSQLFLOW_STATE_MACHINES_PARALLEL", &settings.parallel_arn)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        Self { api, process, _serving: serving }
    }
}

impl Function {
    /// Ends it; every line that it has logged.
    fn logged(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let mut text = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text.lines().map(str::to_string).collect()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_three_events_end_to_end() {
    let cloud = Cloud::open().await;
    cloud.item("nightly", "queue").await;
    let function = Function::start(&cloud).await;
    let first = run_at("nightly", 2);

    let answer = function.api.invoke(due("nightly", 2)).await.success();
    assert_eq!(answer["workflow_execution_id"], first);
    assert_eq!(function.api.invoke(due("nightly", 2)).await.success()["already_started"], true);
    cloud.recorded_running(&first).await;

    let answer = function.api.invoke(due("nightly", 3)).await.success();
    assert_eq!(answer["waiting_for"], first);

    let plain = json!({ "workflow_id": "nightly", "workflow_execution_id": "by-hand" });
    assert_eq!(function.api.invoke(plain).await.success()["workflow_execution_id"], "by-hand");
    cloud.complete("by-hand").await;

    cloud.stop(&first).await;
    let answer = function.api.invoke(ended(&first, "ABORTED")).await.success();
    assert_eq!(answer["closed"], true, "{answer}");
    assert_eq!(answer["notified"], true, "{answer}");
    assert_eq!(answer["started"], json!([run_at("nightly", 3)]));
    assert_eq!(cloud.run(&first).await.execution_status, Status::Cancelled);
    assert!(cloud.told().await[0].starts_with("rsqlflow: nightly cancelled"));

    let Answer::Error(error) = function.api.invoke(due("nigthly", 2)).await else { panic!("no error") };
    assert_eq!(
        (&error["errorType"], &error["errorMessage"]),
        (&json!("Rsql.UnknownWorkflow"), &json!("there is no workflow `nigthly`; did you mean `nightly`?"))
    );
    let Answer::Error(error) = function.api.invoke(json!({ "source": "aws.s3" })).await else {
        panic!("no error")
    };
    assert_eq!(error["errorType"], "Rsql.InvalidEvent");

    let lines = function.logged();
    let failed = |kind: &str| lines.iter().filter(|line| line.contains(kind)).count();
    // One line for each failure: the handler's own, and not the runtime's as well.
    assert_eq!((failed("Rsql.UnknownWorkflow"), failed("Rsql.InvalidEvent")), (1, 1), "{lines:#?}");
    assert!(lines.len() > 5, "{lines:#?}");
    for line in &lines {
        let Members(names) = serde_json::from_str(line).unwrap();
        let mut once = names.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), names.len(), "a key twice: {line}");
    }
}

/// The names of an object's members as they stand there: a map would keep one of each.
struct Members(Vec<String>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = members.next_entry::<String, serde::de::IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Members(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

#[test]
fn settings_that_do_not_hold_end_it_with_a_line_that_says_which() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .env("RSQLFLOW_HEARTBEAT_SECONDS", "soon")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("RSQLFLOW_HEARTBEAT_SECONDS"), "{said}");
}
