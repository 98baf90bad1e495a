//! What each form of event does, and what a wrong one is told.

use rsqlflow_trigger::events;
use serde_json::json;

use crate::cloud::{Cloud, due, request, run_at};

#[tokio::test]
async fn a_plain_event_starts_a_run_and_again_is_the_same_run() {
    let cloud = Cloud::open().await;
    cloud.item("nightly", "skip").await;
    let event =
        json!({ "workflow_id": "nightly", "workflow_execution_id": "night-1", "parameters": { "day": "1" } });
    let first = cloud.handle(event.clone()).await.unwrap();
    assert_eq!(
        (&first["workflow_execution_id"], &first["already_started"]),
        (&json!("night-1"), &json!(false))
    );
    let second = cloud.handle(event).await.unwrap();
    assert_eq!(second["already_started"], true);
    assert_eq!(cloud.run("night-1").await.started_by, "lambda");
    let other =
        json!({ "workflow_id": "nightly", "workflow_execution_id": "night-1", "parameters": { "day": "2" } });
    let error = cloud.handle(other).await.unwrap_err();
    assert_eq!(error.error_type, "Rsql.RunExists", "{error}");
}

#[tokio::test]
async fn a_plain_event_without_a_run_id_is_one_run_for_each_request() {
    let cloud = Cloud::open().await;
    cloud.item("nightly", "skip").await;
    let event = json!({ "workflow_id": "nightly" });
    let request = request("6f4b0c1e-2d3a-4b5c-8d9e-0f1a2b3c4d5e");
    for already in [false, true] {
        let answer = events::handle(&cloud.trigger(), event.clone(), &request).await.unwrap();
        assert_eq!(answer["workflow_execution_id"], "nightly-6f4b0c1e2d3a");
        assert_eq!(answer["already_started"], already);
    }
    assert_eq!(cloud.running().await, ["nightly-6f4b0c1e2d3a"]);
}

#[tokio::test]
async fn a_schedules_event_is_the_run_of_its_time() {
    let cloud = Cloud::open().await;
    cloud.item("nightly", "skip").await;
    let run = run_at("nightly", 2);
    for already in [false, true, true] {
        let answer = cloud.handle(due("nightly", 2)).await.unwrap();
        assert_eq!(answer["workflow_execution_id"], run);
        assert_eq!(answer["already_started"], already);
    }
    cloud.recorded_running(&run).await;
    let record = cloud.run(&run).await;
    assert_eq!(record.scheduled_time.as_deref(), Some("2026-11-21T02:00:00.000Z"));
    assert_eq!(record.started_by, "schedule");
    cloud.complete(&run).await;
    let late = cloud.handle(due("nightly", 2)).await.unwrap();
    assert_eq!(late["execution_status"], "completed");
    assert!(cloud.running().await.is_empty());
}

#[tokio::test]
async fn errors_say_what_kind_they_are_and_what_is_wrong() {
    let cloud = Cloud::open().await;
    cloud.item("nightly", "skip").await;
    let unknown = cloud.handle(due("nigthly", 2)).await.unwrap_err();
    assert_eq!(
        serde_json::to_value(&unknown).unwrap(),
        json!({ "errorType": "Rsql.UnknownWorkflow",
            "errorMessage": "there is no workflow `nigthly`; did you mean `nightly`?" })
    );
    let too_large = json!({ "workflow_id": "nightly", "parameters": { "big": "x".repeat(300_000) } });
    let error = cloud.handle(too_large).await.unwrap_err();
    assert_eq!(error.error_type, "Rsql.InputTooLarge");
    assert!(error.error_message.contains("256000"), "{error}");
    for name in ["PATH", "DAY", "http_proxy", "a-b"] {
        let parameter = json!({ "workflow_id": "nightly", "parameters": { name: "x" } });
        let error = cloud.handle(parameter).await.unwrap_err();
        assert_eq!(error.error_type, "Rsql.InvalidParameter", "{name}: {error}");
    }
    let nul = json!({ "workflow_id": "nightly", "parameters": { "day": "a\0b" } });
    assert_eq!(cloud.handle(nul).await.unwrap_err().error_type, "Rsql.InvalidParameter");
    assert!(cloud.audit().runs(None, 10).await.unwrap().is_empty(), "a refused event leaves no record");
}

#[tokio::test]
async fn a_workflow_that_is_switched_off_is_left_alone_by_its_schedule() {
    let cloud = Cloud::open().await;
    cloud.item("nightly", "skip").await;
    let update = json!({ "TableName": "config", "Key": { "workflow_id": { "S": "nightly" } },
        "UpdateExpression": "SET execution_flag = :n", "ExpressionAttributeValues": { ":n": { "S": "n" } } });
    cloud.dynamodb("UpdateItem", update).await;
    assert_eq!(cloud.handle(due("nightly", 2)).await.unwrap()["ignored"], "the workflow is switched off");
    let error = cloud.handle(json!({ "workflow_id": "nightly" })).await.unwrap_err();
    assert_eq!(error.error_type, "Rsql.WorkflowDisabled");
}
