//! Going on from an earlier run.

use std::collections::BTreeMap;

use rsqlflow_config::audit::Status;
use rsqlflow_trigger::{Choice, Restart, StartRequest, Started, TriggerError};
use serde_json::json;

use crate::cloud::Cloud;
use crate::orders::{Dying, Refusing};

const ITEM: &str = "
workflow_id: w
parameters: { day: item }
workflow_stages:
  - { stage_description: Load, execution_type: sequential, scripts: [a.sh, b.sh] }
  - stage_description: Marts
    execution_type: parallel
    scripts: [c.sh, { script: d.sh, parameters: { day: script } }, e.sh]
";

fn restart(of: &str, id: &str) -> StartRequest {
    StartRequest {
        workflow_execution_id: Some(id.into()),
        started_by: "cli:maria".into(),
        restart: Some(Restart { of: of.into(), as_it_was: false }),
        ..StartRequest::default()
    }
}

/// A run whose second stage failed in the middle: c completed, d failed, e was not heard of.
async fn failed(cloud: &Cloud) {
    cloud.put(ITEM).await;
    let event = json!({ "workflow_id": "w", "workflow_execution_id": "w-1", "parameters": { "day": "run" } });
    cloud.handle(event).await.unwrap();
    for (job, status) in
        [("a.sh", "completed"), ("b.sh", "completed"), ("c.sh", "completed"), ("d.sh", "failed")]
    {
        cloud.job(job, "w-1", status).await;
    }
    cloud.complete("w-1").await;
}

async fn start(cloud: &Cloud, request: StartRequest) -> Result<Started, TriggerError> {
    cloud.trigger().start(request).await
}

async fn jobs(cloud: &Cloud, run: &str) -> String {
    let input = cloud.input_of(run).await;
    let stage = |jobs: Vec<String>| jobs.concat().replace(".sh", "");
    let stages = input.stages.iter().map(|of| {
        format!("{}{}", of.number, stage(of.jobs.iter().map(|job| job.job_name.clone()).collect()))
    });
    stages.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_had_not_completed_runs_and_both_records_say_so() {
    let cloud = Cloud::open().await;
    failed(&cloud).await;
    start(&cloud, restart("w-1", "w-2")).await.unwrap();
    assert_eq!(jobs(&cloud, "w-2").await, "2de");
    let input = cloud.input_of("w-2").await;
    assert_eq!(input.run.parameters["day"], "run", "the parameters are those of the earlier run");
    assert!(input.stages[0].jobs[0].parameters.is_empty(), "which go over the script's own");
    let (first, second) = (cloud.run("w-1").await, cloud.run("w-2").await);
    assert_eq!(first.restarted_by.as_deref(), Some("w-2"));
    assert_eq!(second.restart_of.as_deref(), Some("w-1"));
    assert_eq!(second.completed_earlier, ["a.sh", "b.sh", "c.sh"]);
    assert_eq!(second.rsql_jobs, ["d.sh", "e.sh"]);
    assert_eq!(second.stages.len(), 2);
    // The same again is the same run; another is told where to go on.
    assert!(start(&cloud, restart("w-1", "w-2")).await.unwrap().already_started);
    let error = start(&cloud, restart("w-1", "w-3")).await.unwrap_err();
    assert_eq!(error.to_string(), "run `w-2` goes on from run `w-1`: restart that one");
    let error = start(&cloud, restart("w-2", "w-3")).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotEnded { .. }), "{error}");
    // A restart of the restart knows what completed in either.
    cloud.job("e.sh", "w-2", "completed").await;
    cloud.complete("w-2").await;
    start(&cloud, restart("w-2", "w-3")).await.unwrap();
    assert_eq!(jobs(&cloud, "w-3").await, "2d");
    assert_eq!(cloud.run("w-3").await.completed_earlier, ["a.sh", "b.sh", "c.sh", "e.sh"]);
}

#[tokio::test]
async fn the_item_is_as_it_is_now_or_as_it_was() {
    let cloud = Cloud::open().await;
    failed(&cloud).await;
    cloud
        .put(
            &ITEM
                .replace("e.sh", "new.sh")
                .replace("- { stage_description: Load", "- { stage_description: First"),
        )
        .await;
    let now = |id: &str| restart("w-1", id);
    let was = |id: &str| StartRequest {
        restart: Some(Restart { of: "w-1".into(), as_it_was: true }),
        parameters: BTreeMap::from([("day".into(), "over".into())]),
        ..restart("w-1", id)
    };
    start(&cloud, was("w-2")).await.unwrap();
    assert_eq!(jobs(&cloud, "w-2").await, "2de");
    let input = cloud.input_of("w-2").await;
    assert_eq!(input.run.parameters["day"], "over");
    assert_eq!(input.run.workflow_execution_id, "w-2");
    assert_eq!(cloud.run("w-2").await.stages[0].stage_description, "Load");
    // A second earlier run, for the item as it is now.
    cloud.stop("w-2").await;
    cloud.complete_record("w-2").await;
    start(
        &cloud,
        StartRequest { restart: Some(Restart { of: "w-2".into(), as_it_was: false }), ..now("w-3") },
    )
    .await
    .unwrap();
    assert_eq!(jobs(&cloud, "w-3").await, "2dnew");
    assert_eq!(cloud.run("w-3").await.stages[0].stage_description, "First");
}

#[tokio::test]
async fn stages_and_jobs_that_are_named_run_in_any_case() {
    let cloud = Cloud::open().await;
    failed(&cloud).await;
    let only = |job: &str| Choice::Only(vec![job.into()]);
    let named = StartRequest { choice: only("c.sh"), ..restart("w-1", "w-2") };
    start(&cloud, named.clone()).await.unwrap();
    assert_eq!(jobs(&cloud, "w-2").await, "2c");
    let from = StartRequest { choice: Choice::FromStage("Marts".into()), ..named };
    let error = start(&cloud, from).await.unwrap_err();
    assert!(error.to_string().contains("`w-2` with another choice of jobs"), "{error}");
    let record = cloud.run("w-2").await;
    assert_eq!(
        (record.completed_earlier, record.left_out),
        (vec!["a.sh".into(), "b.sh".into()], vec!["d.sh".to_string(), "e.sh".into()])
    );
    // Without an earlier run as well.
    let fresh = StartRequest {
        workflow_id: "w".into(),
        workflow_execution_id: Some("w-3".into()),
        choice: only("b.sh"),
        ..StartRequest::default()
    };
    start(&cloud, fresh.clone()).await.unwrap();
    assert_eq!(jobs(&cloud, "w-3").await, "1b");
    let unknown = StartRequest { choice: only("bb.sh"), workflow_execution_id: None, ..fresh };
    let error = start(&cloud, unknown).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no job `bb.sh`; did you mean `b.sh`?");
}

#[tokio::test]
async fn a_run_of_which_nothing_had_run_is_restarted_whole() {
    let cloud = Cloud::open().await;
    cloud.put(ITEM).await;
    cloud.handle(json!({ "workflow_id": "w", "workflow_execution_id": "w-1" })).await.unwrap();
    let error = start(&cloud, restart("w-1", "w-2")).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotEnded { .. }), "{error}");
    cloud.trigger().cancel("w-1", "cli:maria").await.unwrap();
    start(&cloud, restart("w-1", "w-2")).await.unwrap();
    assert_eq!(jobs(&cloud, "w-2").await, "1ab 2cde");
}

#[tokio::test]
async fn a_job_that_its_host_still_runs_is_not_started_a_second_time() {
    let cloud = Cloud::open().await;
    failed(&cloud).await;
    cloud.job("e.sh", "w-1", "running").await;
    let error = start(&cloud, restart("w-1", "w-2")).await.unwrap_err();
    assert!(error.to_string().contains("e.sh not yet"), "{error}");
    cloud.job("e.sh", "w-1", "completed").await;
    cloud.job("d.sh", "w-1", "completed").await;
    let error = start(&cloud, restart("w-1", "w-2")).await.unwrap_err();
    assert!(matches!(error, TriggerError::NothingToRun), "{error}");
    let error = start(&cloud, restart("w-9", "w-2")).await.unwrap_err();
    assert!(matches!(error, TriggerError::UnknownRun(_)), "{error}");
    let other = StartRequest { workflow_id: "x".into(), ..restart("w-1", "w-2") };
    assert_eq!(start(&cloud, other).await.unwrap_err().to_string(), "run `w-1` is one of workflow `w`");
    assert!(cloud.audit().run("w-2").await.unwrap().is_none());
}

#[tokio::test]
async fn a_restart_that_died_at_any_call_is_finished_by_the_same_command() {
    for arrives in [false, true] {
        for calls in 0.. {
            let cloud = Cloud::open().await;
            failed(&cloud).await;
            let dying = Dying::after(cloud.local.connector(), calls, arrives);
            let first = cloud.trigger_on(dying.client()).start(restart("w-1", "w-2")).await;
            if !dying.died() {
                first.unwrap();
                break;
            }
            start(&cloud, restart("w-1", "w-2")).await.unwrap();
            assert_eq!(cloud.running().await, ["w-2"]);
            assert_eq!(cloud.run("w-1").await.restarted_by.as_deref(), Some("w-2"));
            assert_ne!(cloud.run("w-2").await.execution_status, Status::Skipped);
        }
    }
}

#[tokio::test]
async fn a_restart_that_was_refused_gives_its_place_to_the_next() {
    let cloud = Cloud::open().await;
    failed(&cloud).await;
    let refusing =
        || Refusing::client(cloud.local.connector(), "StartExecution", 400, "AccessDeniedException");
    let error = cloud.trigger_on(refusing()).start(restart("w-1", "w-2")).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotStarted { certain: true, .. }), "{error}");
    assert_eq!(cloud.run("w-1").await.restarted_by.as_deref(), Some("w-2"));
    assert!(cloud.run("w-2").await.never_started);
    let error = cloud.trigger_on(refusing()).start(restart("w-1", "w-3")).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotStarted { certain: true, .. }), "{error}");
    start(&cloud, restart("w-1", "w-4")).await.unwrap();
    assert_eq!(cloud.running().await, ["w-4"]);
    assert_eq!(cloud.run("w-1").await.restarted_by.as_deref(), Some("w-4"));
    // Those whose place was taken do not come back.
    let error = start(&cloud, restart("w-1", "w-2")).await.unwrap_err();
    assert_eq!(error.to_string(), "run `w-4` goes on from run `w-1`: restart that one");
}
