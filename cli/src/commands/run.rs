//! `rsqlflow run`: start a run, and watch it where asked to or where this process carries it.

use std::collections::BTreeMap;

use chrono::Utc;
use rsqlflow_config::audit::{Status, WorkflowAudit};
use rsqlflow_trigger::{Choice, Restart, StartRequest, TriggerError};
use serde_json::json;

use super::wait;
use crate::args::RunArgs;
use crate::backend::{Backend, Need};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::interrupted;
use crate::progress::Reporter;
use crate::records::Records;
use crate::screen::{print, tell};
use crate::view;

pub(super) async fn run(context: &Context, args: RunArgs) -> Result<Exit, CliError> {
    let names = context.settings.parameter_names();
    let wrong = args.params.iter().find_map(|(name, _)| Some((name.clone(), names.problem(name)?)));
    if let Some((name, problem)) = wrong {
        return Err(TriggerError::InvalidParameter { name, problem }.into());
    }
    let mut backend = context.backend_told(Need::Runs).await?;
    // So that status, logs and cancel work in another shell while this process carries the run.
    if let Err(error) = backend.serve().await {
        tracing::warn!(%error, "other commands cannot reach this run");
    }
    let ended = carried(context, &backend, args).await;
    wait::leave(context, backend, ended).await
}

async fn carried(context: &Context, backend: &Backend, args: RunArgs) -> Result<Exit, CliError> {
    let request = StartRequest {
        workflow_id: args.workflow.unwrap_or_default(),
        workflow_execution_id: args.id,
        parameters: args.params.into_iter().collect::<BTreeMap<_, _>>(),
        started_by: context.person(),
        restart: args.restart_from.map(|of| Restart { of, as_it_was: args.as_it_was }),
        choice: match args.from_stage {
            Some(stage) => Choice::FromStage(stage),
            None if args.only.is_empty() => Choice::All,
            None => Choice::Only(args.only),
        },
        ..StartRequest::default()
    };
    let started = backend.start(request).await?;
    let run_id = started.workflow_execution_id.as_str();
    let earlier = match started.already_started {
        true => Some(wait::records(backend, run_id).await?),
        false => None,
    };
    let ended = earlier.filter(|records| records.run.execution_status.is_final());
    if let Some(Records { run, .. }) = &ended {
        context.note(&format!(
            "note: run {run_id} has ended before, {}; nothing was started",
            run.execution_status
        ));
    } else if started.already_started {
        context.note(&format!("note: run {run_id} was already started; this is the same run"));
    }
    let wait = args.wait || backend.carries_runs();
    if !(context.json) {
        print(&format!("{run_id}\n"))?;
    } else if !wait {
        context.print_json(&json!({
            "workflow_execution_id": run_id,
            "execution_arn": started.execution_arn,
            "already_started": started.already_started,
        }))?;
    }
    let instead = ended.as_ref().map(|records| instead(&records.run));
    if let Some(records) = ended.filter(|_| !wait) {
        instead.iter().for_each(|next| context.note(next));
        return Ok(wait::exit(&records));
    }
    if !wait {
        context.note(&format!("next: rsqlflow status {run_id} --watch"));
        return Ok(Exit::Ok);
    }
    if !args.wait && instead.is_none() {
        context.note("no rsqlflow up is running, so this command carries the run and waits for its end");
    }
    let exit = watch(context, backend, run_id).await?;
    instead.iter().for_each(|next| context.note(next));
    Ok(exit)
}

/// What to type for a run that has ended before: its own id starts nothing.
fn instead(run: &WorkflowAudit) -> String {
    let other = format!("next: rsqlflow run {} --id OTHER", run.workflow_id);
    match run.execution_status {
        Status::Completed => other,
        _ => format!("{other}, or rsqlflow run --restart-from {}", run.workflow_execution_id),
    }
}

/// Shows progress until the run has ended, then the summary. Ctrl-C, like SIGTERM and SIGHUP, cancels a run that this
/// process carries, and otherwise only stops the showing.
pub(crate) async fn watch(context: &Context, backend: &Backend, run_id: &str) -> Result<Exit, CliError> {
    let mut reporter = Reporter::new(context.err);
    let waited = tokio::select! {
        records = wait::until_settled(context, backend, run_id, &mut reporter) => Some(records?),
        () = interrupted() => None,
    };
    let records = match waited {
        Some(records) => records,
        None if backend.carries_runs() => cancel(context, backend, run_id, &mut reporter).await?,
        None => {
            drop(reporter);
            tell(&format!("the run goes on; look again with: rsqlflow status {run_id} --watch"));
            tell(&format!("           or end it with: rsqlflow cancel {run_id}"));
            return Ok(Exit::Failed);
        }
    };
    drop(reporter);
    summary(context, &records)?;
    Ok(wait::exit(&records))
}

async fn cancel(
    context: &Context,
    backend: &Backend,
    run_id: &str,
    reporter: &mut Reporter,
) -> Result<Records, CliError> {
    match backend.cancel(run_id, &context.person()).await {
        Ok(cancelled) => reporter.say(&format!(
            "cancelled; its scripts are told within {} s. Ctrl-C again leaves at once",
            cancelled.scripts_told_within_seconds
        )),
        // It ended in the same moment.
        Err(CliError::Trigger(TriggerError::Ended { .. })) => {}
        Err(error) => return Err(error),
    }
    tokio::select! {
        records = wait::until_settled(context, backend, run_id, reporter) => records,
        () = interrupted() => wait::records(backend, run_id).await,
    }
}

/// The end of a run: for people on standard error, because standard output has the run id; for programs as JSON.
fn summary(context: &Context, records: &Records) -> Result<(), CliError> {
    if context.json {
        return context.print_json(records);
    }
    tell("");
    tell(view::status(records, &[], context.err, Utc::now()).trim_end());
    Ok(())
}
