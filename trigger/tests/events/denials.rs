//! Every action that the template allows the function, denied one at a time, in every event: the event is told what was
//! denied, and once that is mended the same event leaves what it leaves where nothing was denied.

use std::collections::BTreeSet;

use aws_sdk_sfn::config::SharedHttpClient;
use rsqlflow_trigger::TriggerSettings;
use rsqlflow_trigger::events::{self, EventError};
use serde_json::{Value, json};

use crate::cloud::{Cloud, due, ended, request, run_at, settings};
use crate::orders::{Asking, Refusing};

/// Statements that the function itself never asks anything by: Lambda does.
const LAMBDAS_OWN: [&str; 3] = ["DeadLetters", "Logs", "Traces"];

/// An action, and the table or index that it is asked of.
type Action = (String, Option<String>);

/// What the policy of the function allows.
fn allowed() -> Vec<Action> {
    let template = include_str!("../../../deploy/template.yaml");
    let template: Value = serde_saphyr::from_str(template).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let policies = list(&template["Resources"]["TriggerRole"]["Properties"]["Policies"]);
    let mut all = Vec::new();
    for statement in policies.iter().flat_map(|policy| list(&policy["PolicyDocument"]["Statement"])) {
        let Some(sid) = statement["Sid"].as_str() else { continue };
        if LAMBDAS_OWN.contains(&sid) {
            continue;
        }
        for (action, on) in list(&statement["Action"])
            .iter()
            .flat_map(|action| list(&statement["Resource"]).into_iter().map(move |on| (action.clone(), on)))
        {
            all.push((action.as_str().unwrap().to_string(), table(&on)));
        }
    }
    all
}

/// The table of a resource, as [`crate::cloud`] calls it, with its index.
fn table(resource: &Value) -> Option<String> {
    let text = resource["Fn::GetAtt"][0].as_str().or_else(|| resource["Fn::Sub"].as_str())?;
    let (table, index) = text.split_once(".Arn}").unwrap_or((text, ""));
    let name = match table.trim_start_matches("${") {
        "ConfigTable" => "config",
        "WorkflowAuditTable" => "workflow-audit",
        "JobAuditTable" => "job-audit",
        _ => return None,
    };
    Some(format!("{name}{index}"))
}

/// A cloud in which something has happened, and the event that tells of it.
async fn scene(name: &str) -> (Cloud, Value) {
    let cloud = Cloud::open().await;
    let overlap = if name.starts_with("a schedule behind") { "queue" } else { "skip" };
    cloud.item("w", overlap).await;
    let run = run_at("w", 1);
    let event = match name {
        "a plain event" => json!({ "workflow_id": "w", "workflow_execution_id": "by-hand" }),
        "an operator's run" => json!({
            "source": "rsqlflow.operate", "by": "maria",
            "start": { "workflow_id": "w", "workflow_execution_id": "by-hand" }
        }),
        "an operator's cancel" => {
            cloud.handle(due("w", 1)).await.unwrap();
            cloud.recorded_running(&run).await;
            json!({ "source": "rsqlflow.operate", "by": "maria", "cancel": run })
        }
        "a slip" => json!({ "workflow_id": "ww" }),
        "a schedule" => due("w", 1),
        "a schedule behind a run" => {
            cloud.handle(due("w", 1)).await.unwrap();
            cloud.recorded_running(&run).await;
            due("w", 2)
        }
        WINDS_DOWN => {
            cloud.handle(due("w", 1)).await.unwrap();
            cloud.recorded_running(&run).await;
            cloud.job("a.sh", &run, "running").await;
            cloud.trigger().cancel(&run, "cli:maria").await.unwrap();
            due("w", 2)
        }
        "an end" | "a sweep" => {
            cloud.handle(due("w", 1)).await.unwrap();
            cloud.recorded_running(&run).await;
            cloud.job("a.sh", &run, "running").await;
            cloud.stop(&run).await;
            match name {
                "an end" => ended(&run, "ABORTED"),
                _ => json!({ "source": "rsqlflow.sweep" }),
            }
        }
        other => panic!("{other}"),
    };
    (cloud, event)
}

const WINDS_DOWN: &str = "a schedule behind a run that winds down";

const SCENES: [&str; 9] = [
    "a plain event",
    "an operator's run",
    "an operator's cancel",
    "a slip",
    "a schedule",
    "a schedule behind a run",
    WINDS_DOWN,
    "an end",
    "a sweep",
];

/// What is left: the runs with their statuses, the executions under way, the jobs, how often people were told.
async fn left(cloud: &Cloud) -> Value {
    let mut runs = Vec::new();
    let mut jobs = Vec::new();
    for run in cloud.audit().runs(None, 100).await.unwrap() {
        let id = run.workflow_execution_id;
        if cloud.status_of(&id).await.as_deref() == Some("RUNNING") {
            cloud.recorded_running(&id).await;
        }
        let now = cloud.run(&id).await;
        runs.push(json!([id, now.execution_status, now.waiting_for, now.never_started]));
        for job in cloud.audit().jobs(&id).await.unwrap() {
            jobs.push(json!([job.job_name, job.execution_status]));
        }
    }
    json!({ "runs": runs, "running": cloud.running().await, "jobs": jobs })
}

/// Handles an event as the scene needs it: where a run winds down, its hosts have their time.
async fn handled(
    cloud: &Cloud,
    name: &str,
    http: SharedHttpClient,
    event: &Value,
) -> Result<Value, EventError> {
    let late_records_seconds = if name == WINDS_DOWN { 600 } else { 0 };
    let settings = TriggerSettings { late_records_seconds, ..settings() };
    let trigger = cloud.trigger_with(http, settings);
    events::handle(&trigger, event.clone(), &request("r-1")).await
}

#[tokio::test]
async fn an_action_that_is_denied_is_told_and_the_same_event_mends_it() {
    let mut met = BTreeSet::new();
    for name in SCENES {
        let (cloud, event) = scene(name).await;
        let asking = Asking::new(cloud.local.connector());
        let undisturbed = handled(&cloud, name, asking.client(), &event).await;
        let wanted = left(&cloud).await;
        for action in allowed().into_iter().filter(|(action, table)| asking.asked(action, table.as_deref())) {
            let (cloud, event) = scene(name).await;
            let client = Refusing::denial(cloud.local.connector(), &action.0, action.1.as_deref());
            let answer = handled(&cloud, name, client, &event).await;
            let at = format!("{name}, without {action:?}");
            met.insert(action.clone());
            match &answer {
                // What only helps: the word to people, which the record then says; runs that wait, which the next event
                // looks at again.
                Ok(_) if name == "a plain event" => assert_eq!(left(&cloud).await, wanted, "{at}"),
                Ok(_) => assert_eq!(action.0, "sns:Publish", "{at}"),
                // So does the nearest name.
                Err(error) if name == "a slip" && error.error_type == "Rsql.UnknownWorkflow" => {}
                Err(error) => {
                    assert_eq!(error.error_type, "Rsql.AwsError", "{at}");
                    let told = &error.error_message;
                    assert!(told.contains(&format!("perform: {}", action.0)), "{at}: {told}");
                    assert!(told.contains("on resource: arn:aws:"), "{at}: {told}");
                    assert!(told.contains("rsqlflow template"), "{at}: {told}");
                }
            }
            let mended = handled(&cloud, name, Asking::new(cloud.local.connector()).client(), &event).await;
            assert_eq!(mended.is_ok(), undisturbed.is_ok(), "{at}, mended: {mended:?}");
            assert_eq!(left(&cloud).await, wanted, "{at}, mended");
            if action.0 == "sns:Publish" {
                let untold = cloud.run(&run_at("w", 1)).await.notify_error;
                assert!(untold.is_some_and(|why| why.contains("sns:Publish")), "{at}");
            }
        }
    }
    let never: Vec<_> = allowed().into_iter().filter(|action| !met.contains(action)).collect();
    assert!(never.is_empty(), "no event asks for {never:?}");
}
