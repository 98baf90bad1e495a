//! `rsqlflow runs`.

use chrono::Utc;

use crate::args::RunsArgs;
use crate::backend::Need;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::print;
use crate::view;

pub(super) async fn runs(context: &Context, args: RunsArgs) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let runs = backend.audit().runs(args.workflow.as_deref(), limit).await?;
    if runs.is_empty()
        && let Some(workflow) = &args.workflow
        && backend.items().get(workflow).await?.is_none()
    {
        return Err(super::config::unknown(&backend.items(), workflow).await?);
    }
    if context.json {
        context.print_json(&runs)?;
    } else if runs.is_empty() {
        let workflow = args.workflow.as_deref().unwrap_or("WORKFLOW");
        context.note(&format!("no runs yet; start one with: rsqlflow run {workflow} --wait"));
    } else {
        print(&view::runs(&runs, context.out, Utc::now()))?;
    }
    backend.close().await;
    Ok(Exit::Ok)
}
