//! What follows from the end of an execution.

use rsqlflow_config::audit::Status;
use serde_json::{Value, json};

use crate::cloud::{Cloud, due, ended, run_at};

fn with(mut event: Value, error: &str, cause: &str) -> Value {
    event["detail"]["error"] = json!(error);
    event["detail"]["cause"] = json!(cause);
    event
}

#[tokio::test]
async fn a_run_that_was_stopped_is_closed_with_its_jobs_and_people_are_told_once() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    let run = run_at("w", 1);
    cloud.handle(due("w", 1)).await.unwrap();
    cloud.recorded_running(&run).await;
    cloud.job("a.sh", &run, "completed").await;
    cloud.job("b.sh", &run, "running").await;
    cloud.stop(&run).await;
    let event = with(ended(&run, "ABORTED"), "Maria", "wrong day");
    let answer = cloud.handle(event.clone()).await.unwrap();
    assert_eq!(
        answer,
        json!({ "workflow_id": "w", "workflow_execution_id": run, "execution_status": "cancelled", "closed": true,
            "notified": true, "closed_jobs": ["b.sh"], "started": [] })
    );
    let record = cloud.run(&run).await;
    assert_eq!(record.execution_status, Status::Cancelled);
    assert_eq!(
        record.error_message.as_deref(),
        Some("its execution was stopped in Step Functions: Maria: wrong day")
    );
    let jobs = cloud.audit().jobs(&run).await.unwrap();
    let states: Vec<_> = jobs.iter().map(|job| (job.job_name.as_str(), job.execution_status)).collect();
    assert_eq!(states, [("a.sh", Status::Completed), ("b.sh", Status::Cancelled)]);
    assert_eq!(jobs[1].error.as_deref(), Some("Rsql.HostLost"));
    let again = cloud.handle(event).await.unwrap();
    assert_eq!((&again["closed"], &again["notified"]), (&json!(false), &json!(false)));
    let told = cloud.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("rsqlflow: w cancelled\nRun w-20261121T010000Z of workflow w ended cancelled.")
    );
}

#[tokio::test]
async fn a_run_that_ran_out_of_time_is_timed_out() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.handle(due("w", 1)).await.unwrap();
    let answer = cloud.handle(ended(&run_at("w", 1), "TIMED_OUT")).await.unwrap();
    assert_eq!((&answer["execution_status"], &answer["notified"]), (&json!("timed_out"), &json!(true)));
    assert_eq!(cloud.run(&run_at("w", 1)).await.execution_status, Status::TimedOut);
}

#[tokio::test]
async fn an_execution_that_broke_is_failed_and_told_one_that_failed_has_told_itself() {
    let cloud = Cloud::open().await;
    cloud.item("w", "allow").await;
    for (hour, error, notified) in [(1, "States.Runtime", true), (2, "Rsql.RunFailed", false)] {
        cloud.handle(due("w", hour)).await.unwrap();
        let answer = cloud.handle(with(ended(&run_at("w", hour), "FAILED"), error, "{}")).await.unwrap();
        assert_eq!((&answer["execution_status"], &answer["notified"]), (&json!("failed"), &json!(notified)));
    }
    cloud.handle(due("w", 3)).await.unwrap();
    let answer = cloud.handle(ended(&run_at("w", 3), "SUCCEEDED")).await.unwrap();
    assert_eq!((&answer["execution_status"], &answer["closed"]), (&json!("completed"), &json!(true)));
    assert_eq!(cloud.told().await.len(), 1);
}

#[tokio::test]
async fn the_jobs_of_a_cancelled_run_are_closed_although_its_record_is() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    let run = run_at("w", 1);
    cloud.handle(due("w", 1)).await.unwrap();
    cloud.job("a.sh", &run, "running").await;
    cloud.trigger().cancel(&run, "cli:maria").await.unwrap();
    let answer = cloud.handle(ended(&run, "ABORTED")).await.unwrap();
    assert_eq!((&answer["closed"], &answer["closed_jobs"]), (&json!(false), &json!(["a.sh"])));
    assert_eq!(cloud.run(&run).await.error_message.as_deref(), Some("cancelled by cli:maria"));
    assert!(cloud.told().await.is_empty(), "whoever cancels knows");
}

#[tokio::test]
async fn other_executions_and_beginnings_are_nobodys_business() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.handle(due("w", 1)).await.unwrap();
    let mut other = ended(&run_at("w", 1), "ABORTED");
    other["detail"]["stateMachineArn"] = json!("arn:aws:states:us-east-1:000000000000:stateMachine:other");
    for event in [other, ended(&run_at("w", 1), "RUNNING"), ended("unknown", "FAILED")] {
        assert!(cloud.handle(event).await.unwrap()["ignored"].is_string());
    }
    assert!(!cloud.run(&run_at("w", 1)).await.execution_status.is_final());
}

#[tokio::test]
async fn a_sweep_makes_up_for_events_that_never_came() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=2 {
        cloud.handle(due("w", hour)).await.unwrap();
    }
    cloud.stop(&run_at("w", 1)).await;
    cloud.trigger().sweep().await.unwrap();
    assert_eq!(cloud.run(&run_at("w", 1)).await.execution_status, Status::Cancelled);
    assert_eq!(cloud.running().await, [run_at("w", 2)]);
}
