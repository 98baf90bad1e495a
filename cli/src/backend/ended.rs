//! Runs whose execution ends in another way than by `rsqlflow cancel`: by `aws stepfunctions stop-execution`, say.
//!
//! Such an execution cannot close the run's audit record any more, and everyone who waits for the run looks at that.

use rsqlflow_config::audit::Status;
use rsqlflow_local::stepfunctions::StatusChange;
use rsqlflow_trigger::Trigger;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Closes the record of every run whose execution of the state machine `master` ends without having done so.
pub(super) async fn close_records(mut changes: Receiver<StatusChange>, trigger: Trigger, master: String) {
    loop {
        let change = match changes.recv().await {
            Ok(change) => change,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "ends of executions were missed");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let Some(status) = status(change.status) else { continue };
        if change.state_machine_arn != master {
            continue;
        }
        let message = format!("its execution ended in Step Functions: {}", change.status);
        if let Err(error) = trigger.close_ended(&change.name, status, &message).await {
            tracing::warn!(%error, run = change.name, "the run's record stays open");
        }
    }
}

/// The status of a run whose execution ended like this; nothing for one that goes on, or has closed its record.
fn status(execution: &str) -> Option<Status> {
    match execution {
        "ABORTED" => Some(Status::Cancelled),
        "TIMED_OUT" => Some(Status::TimedOut),
        "FAILED" => Some(Status::Failed),
        _ => None,
    }
}
