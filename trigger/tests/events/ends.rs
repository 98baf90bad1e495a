//! What follows from the end of an execution.

use chrono::{TimeDelta, Utc};
use rsqlflow_config::audit::Status;
use rsqlflow_trigger::events::{self, Context};
use rsqlflow_trigger::{StartRequest, TriggerError};
use serde_json::{Value, json};

use crate::cloud::{Cloud, due, ended, run_at};
use crate::orders::Refusing;

fn with(mut event: Value, error: &str, cause: &str) -> Value {
    event["detail"]["error"] = json!(error);
    event["detail"]["cause"] = json!(cause);
    event
}

fn by_hand() -> StartRequest {
    StartRequest {
        workflow_id: "w".into(),
        workflow_execution_id: Some("by-hand".into()),
        ..StartRequest::default()
    }
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
    cloud.job("a.sh", &run_at("w", 1), "running").await;
    cloud.stop(&run_at("w", 1)).await;
    let answer = cloud.handle(json!({ "source": "rsqlflow.sweep" })).await.unwrap();
    assert_eq!(answer, json!({ "started": [run_at("w", 2)] }));
    assert_eq!(cloud.run(&run_at("w", 1)).await.execution_status, Status::Cancelled);
    assert_eq!(cloud.audit().jobs(&run_at("w", 1)).await.unwrap()[0].execution_status, Status::Cancelled);
    assert_eq!(cloud.running().await, [run_at("w", 2)]);
}

#[tokio::test]
async fn a_sweep_closes_what_was_never_started_and_lets_go_what_waited_for_it() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    let refusing = Refusing::client(cloud.local.connector(), "StartExecution", 503, "ServiceUnavailable");
    cloud.trigger_on(refusing).start(by_hand()).await.unwrap_err();
    assert_eq!(cloud.run("by-hand").await.execution_status, Status::Triggered);
    assert_eq!(cloud.handle(due("w", 1)).await.unwrap()["waiting_for"], "by-hand");
    assert!(cloud.trigger().sweep().await.unwrap().is_empty(), "it may be about to start");
    cloud.record_is_from("by-hand", "2026-11-20T00:00:00.000Z").await;
    assert_eq!(cloud.trigger().sweep().await.unwrap(), [run_at("w", 1)]);
    assert_eq!(cloud.run("by-hand").await.execution_status, Status::Failed);
    assert!(cloud.trigger().sweep().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_schedules_run_waits_a_day_for_its_event_to_come_again() {
    let cloud = Cloud::open().await;
    cloud.item("w", "allow").await;
    let refusing = Refusing::client(cloud.local.connector(), "StartExecution", 400, "AccessDeniedException");
    let trigger = cloud.trigger_on(refusing);
    events::handle(&trigger, due("w", 1), &Context::default()).await.unwrap_err();
    let ago = |hours| rsqlflow_config::time::format(Utc::now() - TimeDelta::hours(hours));
    cloud.record_is_from(&run_at("w", 1), &ago(23)).await;
    cloud.trigger().sweep().await.unwrap();
    cloud.handle(due("w", 1)).await.unwrap();
    assert_eq!(cloud.running().await, [run_at("w", 1)]);
    events::handle(&trigger, due("w", 2), &Context::default()).await.unwrap_err();
    cloud.record_is_from(&run_at("w", 2), &ago(25)).await;
    cloud.trigger().sweep().await.unwrap();
    assert_eq!(cloud.run(&run_at("w", 2)).await.execution_status, Status::Failed);
}

#[tokio::test]
async fn a_run_that_waits_for_more_than_a_day_still_has_its_turn() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=2 {
        cloud.handle(due("w", hour)).await.unwrap();
        cloud.record_is_from(&run_at("w", hour), "2026-11-18T00:00:00.000Z").await;
    }
    assert!(cloud.trigger().sweep().await.unwrap().is_empty());
    assert_eq!(cloud.run(&run_at("w", 2)).await.execution_status, Status::Triggered);
    cloud.stop(&run_at("w", 1)).await;
    assert_eq!(cloud.trigger().sweep().await.unwrap(), [run_at("w", 2)]);
}

#[tokio::test]
async fn what_follows_from_an_end_is_done_by_the_sweep_where_somebody_died_over_it() {
    let cloud = Cloud::open().await;
    cloud.item("w", "allow").await;
    let run = run_at("w", 1);
    cloud.handle(due("w", 1)).await.unwrap();
    cloud.job("a.sh", &run, "running").await;
    // The record is closed, by the state machine say, and the event of its end never comes.
    cloud.complete(&run).await;
    cloud.trigger().sweep().await.unwrap();
    assert_eq!(cloud.audit().jobs(&run).await.unwrap()[0].execution_status, Status::Completed);
    // It is done once.
    cloud.job("b.sh", &run, "running").await;
    cloud.trigger().sweep().await.unwrap();
    assert_eq!(cloud.audit().jobs(&run).await.unwrap()[1].execution_status, Status::Running);
}

#[tokio::test]
async fn one_workflow_that_is_broken_keeps_no_other_from_being_looked_at() {
    let cloud = Cloud::open().await;
    for workflow in ["a", "b", "c"] {
        cloud.item(workflow, "queue").await;
        cloud.handle(due(workflow, 1)).await.unwrap();
        cloud.handle(due(workflow, 2)).await.unwrap();
        cloud.stop(&run_at(workflow, 1)).await;
    }
    let turn = json!({ "TableName": "workflow-audit", "Item": {
        "workflow_execution_id": { "S": "turn#b" }, "workflow_id": { "S": "b" }, "version": { "S": "?" } } });
    cloud.dynamodb("PutItem", turn).await;
    cloud.trigger().sweep().await.unwrap_err();
    assert_eq!(cloud.running().await, [run_at("a", 2), run_at("c", 2)]);
}

#[tokio::test]
async fn a_run_whose_execution_is_gone_is_in_nobodys_way() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.record("gone", "running").await;
    assert_eq!(cloud.handle(due("w", 1)).await.unwrap()["execution_status"], "skipped");
    cloud.record_is_from("gone", "2026-11-20T00:00:00.000Z").await;
    cloud.handle(due("w", 2)).await.unwrap();
    assert_eq!(cloud.running().await, [run_at("w", 2)]);
    let gone = cloud.run("gone").await;
    assert_eq!(gone.execution_status, Status::Failed);
    assert!(gone.error_message.unwrap().contains("gone from Step Functions"));
    assert_eq!(cloud.told().await.len(), 1);
}

#[tokio::test]
async fn a_job_that_nobody_recorded_the_end_of_is_closed_however_its_run_ended() {
    let cloud = Cloud::open().await;
    cloud.item("w", "allow").await;
    for (hour, end, error, status) in [
        (1, "SUCCEEDED", "", Status::Completed),
        (2, "FAILED", "Rsql.RunFailed", Status::Failed),
        (3, "TIMED_OUT", "", Status::TimedOut),
    ] {
        let run = run_at("w", hour);
        cloud.handle(due("w", hour)).await.unwrap();
        cloud.job("a.sh", &run, "running").await;
        let answer = cloud.handle(with(ended(&run, end), error, "")).await.unwrap();
        assert_eq!(answer["closed_jobs"], json!(["a.sh"]));
        let job = cloud.audit().jobs(&run).await.unwrap().remove(0);
        assert_eq!((job.execution_status, job.error.is_none()), (status, status == Status::Completed));
        assert!(job.error_message.unwrap().contains("host i-gone did not say within 0 seconds"));
    }
}

#[tokio::test]
async fn a_record_stays_open_until_people_are_told() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.handle(due("w", 1)).await.unwrap();
    let run = run_at("w", 1);
    let mut event = with(ended(&run, "ABORTED"), "Maria", "wrong day");
    event["detail"]["stopDate"] = json!(Utc::now().timestamp_millis());
    let busy = Refusing::client(cloud.local.connector(), "Publish", 503, "ServiceUnavailable");
    let error =
        events::handle(&cloud.trigger_on(busy), event.clone(), &Context::default()).await.unwrap_err();
    assert!(error.to_string().contains("telling people failed"), "{error}");
    assert!(!cloud.run(&run).await.execution_status.is_final());
    // One that will never be let tell them closes it.
    let refused = Refusing::client(cloud.local.connector(), "Publish", 403, "AuthorizationError");
    let answer = events::handle(&cloud.trigger_on(refused), event, &Context::default()).await.unwrap();
    assert_eq!((&answer["closed"], &answer["notified"]), (&json!(true), &json!(false)));
    let untold = cloud.run(&run).await.notify_error.unwrap();
    assert_eq!(untold, "telling people failed: AuthorizationError: no");
    // Nor does one that cannot be reached for an hour hold it open.
    cloud.handle(due("w", 2)).await.unwrap();
    let mut event = with(ended(&run_at("w", 2), "ABORTED"), "Maria", "wrong day");
    event["detail"]["stopDate"] = json!((Utc::now() - TimeDelta::hours(2)).timestamp_millis());
    let busy = Refusing::client(cloud.local.connector(), "Publish", 503, "ServiceUnavailable");
    let answer = events::handle(&cloud.trigger_on(busy), event, &Context::default()).await.unwrap();
    assert_eq!(answer["closed"], true);
}

#[tokio::test]
async fn a_run_that_waited_and_cannot_start_is_told_of() {
    let cloud = Cloud::open().await;
    cloud.item("w", "queue").await;
    for hour in 1..=2 {
        cloud.handle(due("w", hour)).await.unwrap();
    }
    let run = run_at("w", 1);
    cloud.item("w", "quite wrong").await;
    cloud.recorded_running(&run).await;
    cloud.stop(&run).await;
    cloud.handle(with(ended(&run, "ABORTED"), "Rsql.Cancelled", "cancelled by cli:maria")).await.unwrap();
    assert_eq!(cloud.run(&run).await.error_message.as_deref(), Some("cancelled by cli:maria"));
    assert_eq!(cloud.run(&run_at("w", 2)).await.execution_status, Status::Failed);
    let told = cloud.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("its turn came and it could not start: the item of workflow `w` is not valid"));
}

#[tokio::test]
async fn a_start_that_is_refused_for_good_leaves_nothing_open() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    let refusing = Refusing::client(cloud.local.connector(), "StartExecution", 400, "AccessDeniedException");
    let error = cloud.trigger_on(refusing).start(by_hand()).await.unwrap_err();
    assert!(error.to_string().contains("AccessDeniedException: no"), "{error}");
    let record = cloud.run("by-hand").await;
    assert_eq!(record.execution_status, Status::Failed);
    assert!(record.error_message.unwrap().starts_with("it could not be started"));
    assert!(record.never_started);
    cloud.handle(due("w", 1)).await.unwrap();
    assert_eq!(cloud.running().await, [run_at("w", 1)]);
    cloud.complete(&run_at("w", 1)).await;
    // Its id is free: the run that is asked for again is one that has never been.
    let started = cloud.trigger().start(by_hand()).await.unwrap();
    assert!(!started.already_started);
    assert_eq!(cloud.running().await, ["by-hand"]);
    cloud.recorded_running("by-hand").await;
    let record = cloud.run("by-hand").await;
    assert_eq!((record.error_message, record.execution_end_ts, record.never_started), (None, None, false));
}

#[tokio::test]
async fn who_may_not_start_a_run_that_goes_on_does_not_close_it() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.trigger().start(by_hand()).await.unwrap();
    let refusing =
        || Refusing::client(cloud.local.connector(), "StartExecution", 400, "AccessDeniedException");
    let again = cloud.trigger_on(refusing()).start(by_hand()).await.unwrap();
    assert!(again.already_started);
    assert!(!cloud.run("by-hand").await.execution_status.is_final());
}

#[tokio::test]
async fn a_start_without_an_answer_stays_open_and_names_its_run() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    let busy = Refusing::client(cloud.local.connector(), "StartExecution", 503, "ServiceUnavailable");
    let wish = StartRequest { workflow_execution_id: None, ..by_hand() };
    let error = cloud.trigger_on(busy).start(wish).await.unwrap_err();
    let TriggerError::NotStarted { run, certain: false, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().starts_with(&format!("whether run `{run}` was started is not known: ")));
    assert!(!cloud.run(run).await.execution_status.is_final());
}

#[tokio::test]
async fn a_cancel_that_fails_says_nothing_untrue() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    cloud.handle(due("w", 1)).await.unwrap();
    let run = run_at("w", 1);
    cloud.recorded_running(&run).await;
    let busy = Refusing::client(cloud.local.connector(), "StopExecution", 503, "ServiceUnavailable");
    cloud.trigger_on(busy).cancel(&run, "cli:maria").await.unwrap_err();
    assert_eq!(cloud.run(&run).await.execution_status, Status::Running);
    assert_eq!(cloud.handle(due("w", 2)).await.unwrap()["execution_status"], "skipped");
    cloud.trigger().cancel(&run, "cli:maria").await.unwrap();
    assert_eq!(cloud.run(&run).await.execution_status, Status::Cancelled);
    assert!(cloud.running().await.is_empty());
}
