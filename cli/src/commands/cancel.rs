//! `rsqlflow cancel`.

use serde_json::json;

use super::wait;
use crate::args::CancelArgs;
use crate::backend::Need;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::progress::Reporter;
use crate::screen::print;

pub(super) async fn cancel(context: &Context, args: CancelArgs) -> Result<Exit, CliError> {
    let backend = context.backend_told(Need::Runs).await?;
    let run_id = args.run.as_str();
    // First of all, so that a wrong id is answered with the nearest one.
    wait::records(&backend, run_id).await?;
    if !context.confirm(&format!("Cancel run {run_id} and end its scripts?"), args.yes)? {
        return Ok(Exit::Failed);
    }
    let cancelled = backend.trigger().cancel(run_id, &context.person()).await?;
    if backend.carries_runs() {
        // What this process carries ends with it, so it stays until the scripts have ended.
        let mut reporter = Reporter::new(context.err);
        wait::until_settled(context, &backend, run_id, &mut reporter).await?;
        drop(reporter);
        wait::until_idle(context, &backend).await?;
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
    backend.close().await;
    Ok(Exit::Ok)
}
