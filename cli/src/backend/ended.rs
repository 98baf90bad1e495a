//! Ends of executions, handed to the trigger as EventBridge hands them to the trigger function in an account.
//!
//! So the records of runs that were stopped from outside are closed, people are told, and runs that waited start, all
//! by the same code. What ended while no process carried runs is made up for at the beginning.

use aws_sdk_sfn::Client;
use rsqlflow_local::stepfunctions::StatusChange;
use rsqlflow_trigger::events::{self, Context};
use rsqlflow_trigger::{SWEEP_EVERY, Trigger};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Hands every end of an execution of the state machine `master` to the trigger. Ends with the engine; what is being
/// handled then is made up for by the next process.
pub(super) async fn handle_ends(
    mut changes: Receiver<StatusChange>,
    trigger: Trigger,
    sfn: Client,
    master: String,
) {
    // A run that has ended is looked after for as long as its hosts take to tell, so none may wait for another.
    let mut handling = JoinSet::new();
    let mut sweeps = tokio::time::interval(SWEEP_EVERY);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            // The first is at once.
            _ = sweeps.tick() => {
                handling.spawn(sweep(trigger.clone()));
                continue;
            }
            Some(_) = handling.join_next() => continue,
        };
        match change {
            Ok(change) if change.state_machine_arn == master && change.status != "RUNNING" => {
                handling.spawn(handle(trigger.clone(), sfn.clone(), change));
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "ends of executions were missed; looking at all that is open");
                handling.spawn(sweep(trigger.clone()));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn sweep(trigger: Trigger) {
    if let Err(error) = trigger.sweep().await {
        tracing::warn!(%error, "runs that ended unseen stay open");
    }
}

async fn handle(trigger: Trigger, sfn: Client, change: StatusChange) {
    let run = change.name.clone();
    if let Err(error) = events::handle(&trigger, event(&sfn, change).await, &Context::default()).await {
        tracing::warn!(%error, run, "what follows from the run's end was not all done");
    }
}

/// The event as EventBridge writes it.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html>
async fn event(sfn: &Client, change: StatusChange) -> Value {
    let execution = sfn.describe_execution().execution_arn(&change.execution_arn).send().await.ok();
    let (input, error, cause) =
        execution.map_or((None, None, None), |known| (known.input, known.error, known.cause));
    json!({
        "source": "aws.states",
        "detail-type": "Step Functions Execution Status Change",
        "resources": [change.execution_arn],
        "detail": {
            "executionArn": change.execution_arn,
            "stateMachineArn": change.state_machine_arn,
            "name": change.name,
            "status": change.status,
            "input": input,
            "error": error,
            "cause": cause,
        },
    })
}
