//! What people ask of the function by its alias, and what they may not say there.

use rsqlflow_config::audit::Status;
use rsqlflow_trigger::events::{self, Context};
use serde_json::{Value, json};

use crate::cloud::{Cloud, due, ended};

async fn ask(cloud: &Cloud, event: Value) -> Result<Value, events::EventError> {
    let context = Context { by_operator: true, ..Context::default() };
    events::handle(&cloud.trigger(), event, &context).await
}

fn operate(what: &str, value: Value) -> Value {
    json!({ "source": "rsqlflow.operate", "by": "maria", what: value })
}

#[tokio::test]
async fn an_operator_starts_cancels_and_restarts_a_run_and_is_named() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    let start = json!({ "workflow_id": "w", "workflow_execution_id": "one" });
    let started = ask(&cloud, operate("start", start.clone())).await.unwrap();
    assert_eq!(
        (&started["workflow_execution_id"], &started["already_started"]),
        (&json!("one"), &json!(false))
    );
    assert_eq!(cloud.run("one").await.started_by, "cli:maria");
    // An answer that was lost makes no second run.
    let again = ask(&cloud, operate("start", start)).await.unwrap();
    assert_eq!(again["already_started"], true);
    let cancelled = ask(&cloud, operate("cancel", json!("one"))).await.unwrap();
    assert_eq!(cancelled["workflow_id"], "w");
    let record = cloud.run("one").await;
    assert_eq!(record.execution_status, Status::Cancelled);
    assert_eq!(record.error_message.as_deref(), Some("cancelled by cli:maria"));
    let refused = ask(&cloud, operate("cancel", json!("none"))).await.unwrap_err();
    assert_eq!(refused.error_type, "Rsql.UnknownRun");
}

/// Whoever may call the function by its alias may not end a run that goes on, nor be a schedule.
#[tokio::test]
async fn people_do_not_speak_for_schedules_or_step_functions() {
    let cloud = Cloud::open().await;
    cloud.item("w", "skip").await;
    let start = json!({ "workflow_id": "w", "workflow_execution_id": "one" });
    ask(&cloud, operate("start", start)).await.unwrap();
    for event in [due("w", 1), ended("one", "ABORTED"), json!({ "source": "rsqlflow.sweep" })] {
        let refused = ask(&cloud, event).await.unwrap_err();
        assert_eq!(refused.error_type, "Rsql.NotForPeople");
    }
    assert!(!cloud.run("one").await.execution_status.is_final());
    for (by, what) in [("", "one"), ("ma\u{1b}ria", "one")] {
        let event = json!({ "source": "rsqlflow.operate", "by": by, "cancel": what });
        assert_eq!(ask(&cloud, event).await.unwrap_err().error_type, "Rsql.InvalidEvent");
    }
    let both = json!({ "source": "rsqlflow.operate", "by": "maria", "cancel": "one", "start": { "workflow_id": "w" } });
    assert_eq!(ask(&cloud, both).await.unwrap_err().error_type, "Rsql.InvalidEvent");
}
