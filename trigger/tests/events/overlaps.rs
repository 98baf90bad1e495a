//! What a scheduled start does while an earlier run goes on.

use rsqlflow_config::audit::Status;
use rsqlflow_trigger::events;
use serde_json::json;

use crate::cloud::{Cloud, due, ended, request, run_at};

#[tokio::test]
async fn skip_says_which_run_was_in_the_way() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.handle(due("w", 1)).await.unwrap();
    let answer = cloud.handle(due("w", 2)).await.unwrap();
    assert_eq!(answer["execution_status"], "skipped");
    let record = cloud.run(&run_at("w", 2)).await;
    assert_eq!(record.execution_status, Status::Skipped);
    assert_eq!(
        record.error_message.as_deref(),
        Some("run w-20261121T010000Z of this workflow had not ended (overlap: skip)")
    );
    assert!(record.execution_end_ts.is_some());
    cloud.complete(&run_at("w", 1)).await;
    cloud.handle(due("w", 3)).await.unwrap();
    assert_eq!(cloud.running().await, [run_at("w", 3)]);
    // The one that was skipped stays so, however late its event comes again.
    assert_eq!(cloud.handle(due("w", 2)).await.unwrap()["execution_status"], "skipped");
}

#[tokio::test]
async fn skip_knows_runs_that_people_have_started() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.handle(json!({ "workflow_id": "w", "workflow_execution_id": "by-hand" })).await.unwrap();
    let answer = cloud.handle(due("w", 2)).await.unwrap();
    assert!(answer["message"].as_str().unwrap().contains("by-hand"), "{answer}");
    // Whoever starts by hand is not asked.
    cloud.handle(json!({ "workflow_id": "w", "workflow_execution_id": "by-hand-2" })).await.unwrap();
    assert_eq!(cloud.running().await, ["by-hand", "by-hand-2"]);
}

#[tokio::test]
async fn allow_lets_them_overlap() {
    let cloud = Cloud::open().await;
    cloud.item("w", "allow").await;
    cloud.handle(due("w", 1)).await.unwrap();
    cloud.handle(due("w", 2)).await.unwrap();
    assert_eq!(cloud.running().await, [run_at("w", 1), run_at("w", 2)]);
}

#[tokio::test]
async fn queue_starts_one_after_the_other_in_their_order() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=3 {
        cloud.handle(due("w", hour)).await.unwrap();
    }
    let waiting = cloud.run(&run_at("w", 2)).await;
    assert_eq!(waiting.execution_status, Status::Triggered);
    assert_eq!(waiting.waiting_for, Some(run_at("w", 1)));
    assert_eq!(cloud.running().await, [run_at("w", 1)]);
    for hour in 1..=3 {
        let run = run_at("w", hour);
        assert_eq!(cloud.running().await, std::slice::from_ref(&run));
        cloud.complete(&run).await;
        let answer = cloud.handle(ended(&run, "SUCCEEDED")).await.unwrap();
        let next = if hour < 3 { json!([run_at("w", hour + 1)]) } else { json!([]) };
        assert_eq!(answer["started"], next);
        // The same word of its end again starts nothing more.
        assert_eq!(cloud.handle(ended(&run, "SUCCEEDED")).await.unwrap()["started"], json!([]));
    }
    assert!(cloud.running().await.is_empty());
}

#[tokio::test]
async fn queue_waits_for_a_run_that_people_have_started() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    cloud.handle(json!({ "workflow_id": "w", "workflow_execution_id": "by-hand" })).await.unwrap();
    assert_eq!(cloud.handle(due("w", 1)).await.unwrap()["waiting_for"], "by-hand");
    cloud.stop("by-hand").await;
    let answer = cloud.handle(ended("by-hand", "ABORTED")).await.unwrap();
    assert_eq!(answer["started"], json!([run_at("w", 1)]));
}

#[tokio::test]
async fn an_end_that_nobody_was_told_of_is_found_by_the_next_event() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=2 {
        cloud.handle(due("w", hour)).await.unwrap();
    }
    cloud.stop(&run_at("w", 1)).await;
    let answer = cloud.handle(due("w", 3)).await.unwrap();
    assert_eq!(answer["waiting_for"], run_at("w", 2));
    assert_eq!(cloud.running().await, [run_at("w", 2)]);
    assert_eq!(cloud.run(&run_at("w", 1)).await.execution_status, Status::Cancelled);
}

#[tokio::test]
async fn one_that_was_cancelled_while_it_waited_is_passed_over() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=3 {
        cloud.handle(due("w", hour)).await.unwrap();
    }
    cloud.trigger().cancel(&run_at("w", 2), "cli:maria").await.unwrap();
    cloud.complete(&run_at("w", 1)).await;
    cloud.handle(ended(&run_at("w", 1), "SUCCEEDED")).await.unwrap();
    assert_eq!(cloud.running().await, [run_at("w", 3)]);
    assert_eq!(cloud.status_of(&run_at("w", 2)).await, None);
}

#[tokio::test]
async fn one_whose_item_is_gone_when_its_turn_comes_is_closed_and_says_so() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=2 {
        cloud.handle(due("w", hour)).await.unwrap();
    }
    cloud
        .dynamodb("DeleteItem", json!({ "TableName": "config", "Key": { "workflow_id": { "S": "w" } } }))
        .await;
    cloud.complete(&run_at("w", 1)).await;
    cloud.handle(ended(&run_at("w", 1), "SUCCEEDED")).await.unwrap();
    let record = cloud.run(&run_at("w", 2)).await;
    assert_eq!(record.execution_status, Status::Failed);
    assert!(record.error_message.unwrap().contains("there is no workflow `w`"));
}

#[tokio::test]
async fn more_than_a_hundred_do_not_wait() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    cloud.handle(due("w", 1)).await.unwrap();
    let waiting: Vec<_> = (0..100).map(|n| json!({ "S": format!("w-{n}") })).collect();
    let update = json!({ "TableName": "workflow-audit",
        "Key": { "workflow_execution_id": { "S": "turn#w" }, "workflow_id": { "S": "w" } },
        "UpdateExpression": "SET waiting_runs = :w", "ExpressionAttributeValues": { ":w": { "L": waiting } } });
    cloud.dynamodb("UpdateItem", update).await;
    let answer = cloud.handle(due("w", 2)).await.unwrap();
    assert_eq!(answer["execution_status"], "skipped");
    assert!(answer["message"].as_str().unwrap().contains("100 runs wait"), "{answer}");
}

#[tokio::test]
async fn a_run_that_was_recorded_and_never_started_is_in_nobodys_way_for_long() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.record("by-hand", "triggered").await;
    // Whoever recorded it may be about to start it.
    assert_eq!(cloud.handle(due("w", 1)).await.unwrap()["execution_status"], "skipped");
    cloud.record_is_from("by-hand", "2026-11-20T00:00:00.000Z").await;
    cloud.handle(due("w", 2)).await.unwrap();
    assert_eq!(cloud.running().await, [run_at("w", 2)]);
    let orphan = cloud.run("by-hand").await;
    assert_eq!(orphan.execution_status, Status::Failed);
    assert!(orphan.error_message.unwrap().contains("never started"));
}

#[tokio::test]
async fn a_run_that_waited_has_the_item_of_its_turn_and_keeps_it() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=2 {
        cloud.handle(due("w", hour)).await.unwrap();
    }
    let item = |script: &str| {
        format!(
            "workflow_id: w\noverlap: queue\nworkflow_stages: [{{execution_type: sequential, scripts: [{script}]}}]"
        )
    };
    cloud.put(&item("b.sh")).await;
    cloud.complete(&run_at("w", 1)).await;
    cloud.handle(ended(&run_at("w", 1), "SUCCEEDED")).await.unwrap();
    let second = run_at("w", 2);
    cloud.recorded_running(&second).await;
    cloud.put(&item("c.sh")).await;
    assert_eq!(cloud.handle(due("w", 2)).await.unwrap()["already_started"], true);
    assert_eq!(cloud.run(&second).await.rsql_jobs, ["b.sh"]);
    assert_eq!(cloud.input_of(&second).await.stages[0].jobs[0].job_name, "b.sh");
}

#[tokio::test]
async fn scripts_that_a_host_still_ends_are_in_the_way_of_the_next_run() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    let first = run_at("w", 1);
    cloud.handle(due("w", 1)).await.unwrap();
    cloud.recorded_running(&first).await;
    cloud.job("a.sh", &first, "running").await;
    cloud.trigger().cancel(&first, "cli:maria").await.unwrap();
    let patient = cloud.patient_trigger(600);
    let answer = events::handle(&patient, due("w", 2), &request("r")).await.unwrap();
    assert_eq!(answer["waiting_for"], first);
    // The end waits for the host, and the next run for that.
    let end = tokio::spawn(async move {
        events::handle(&patient, ended(&run_at("w", 1), "ABORTED"), &request("r")).await
    });
    cloud.job("a.sh", &first, "cancelled").await;
    let answer = end.await.unwrap().unwrap();
    assert_eq!((&answer["closed_jobs"], &answer["started"]), (&json!([]), &json!([run_at("w", 2)])));
}
