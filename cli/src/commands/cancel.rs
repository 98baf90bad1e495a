//! `rsqlflow cancel`.
//!
//! Where no `rsqlflow up` is running, cancelling takes a process that carries runs, and that takes up every run that
//! was left. So the id is looked up and the question asked before, with the records alone.

use rsqlflow_config::audit::Status;
use rsqlflow_trigger::TriggerError;
use serde_json::json;

use super::wait;
use crate::args::CancelArgs;
use crate::backend::{Backend, Need};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::interrupted;
use crate::progress::Reporter;
use crate::screen::print;

pub(super) async fn cancel(context: &Context, args: CancelArgs) -> Result<Exit, CliError> {
    let run_id = args.run.as_str();
    let backend = context.backend_told(Need::Records).await?;
    let known = cancellable(&backend, run_id).await;
    backend.close().await;
    known?;
    if !context.confirm(&format!("Cancel run {run_id} and end its scripts?"), args.yes)? {
        return Ok(Exit::Failed);
    }
    let backend = context.backend(Need::Runs).await?;
    let ended = cancelled(context, &backend, run_id).await;
    wait::leave(context, backend, ended).await
}

/// That there is such a run, or the nearest one is told, and that it has not ended in another way.
async fn cancellable(backend: &Backend, run_id: &str) -> Result<(), CliError> {
    let status = wait::records(backend, run_id).await?.run.execution_status;
    if status.is_final() && status != Status::Cancelled {
        return Err(TriggerError::Ended { id: run_id.into(), status }.into());
    }
    Ok(())
}

async fn cancelled(context: &Context, backend: &Backend, run_id: &str) -> Result<Exit, CliError> {
    let cancelled = backend.cancel(run_id, &context.person()).await?;
    if backend.carries_runs() {
        // What this process carries ends with it, so it stays until the scripts have ended.
        let mut reporter = Reporter::new(context.err);
        tokio::select! {
            settled = wait::until_settled(context, backend, run_id, &mut reporter) => settled.map(drop)?,
            // Whoever is in a hurry; closing ends the scripts.
            () = interrupted() => {}
        }
    } else {
        context.note(&format!(
            "its scripts are told within {} s; look with: rsqlflow status {run_id}",
            cancelled.scripts_told_within_seconds
        ));
    }
    if context.json {
        let workflow = cancelled.workflow_id;
        let status = "cancelled";
        context.print_json(
            &json!({ "workflow_execution_id": run_id, "workflow_id": workflow, "execution_status": status }),
        )?;
    } else {
        print(&format!("{run_id}: cancelled\n"))?;
    }
    Ok(Exit::Ok)
}
