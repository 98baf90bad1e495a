//! `rsqlflow config`: the config items, in files and in the config table.

use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};
use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::{settings, validate, workflow};
use rsqlflow_trigger::{Drift, Items, KeptSchedule, Put, Reconciled, Schedules, TriggerError};
use serde_json::{Value, json};

use super::files;
use crate::args::ConfigCommand;
use crate::backend::Need;
use crate::clock;
use crate::context::Context;
use crate::error::{CliError, nearest};
use crate::exit::Exit;
use crate::screen::{Tone, print, print_as_is, tell};
use crate::view::{self, Difference};

pub(super) async fn config(context: &Context, command: ConfigCommand) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Validate { files } => validate(context, &files),
        ConfigCommand::Put { files } => put(context, &files).await,
        ConfigCommand::Get { id } => get(context, &id).await,
        ConfigCommand::List => list(context).await,
        ConfigCommand::Delete { id, yes } => delete(context, &id, yes).await,
        ConfigCommand::Diff { file } => diff(context, &file).await,
        ConfigCommand::Defaults => {
            print_as_is(settings::DEFAULTS)?;
            Ok(Exit::Ok)
        }
        ConfigCommand::Schema => {
            context.print_json(&workflow::json_schema())?;
            Ok(Exit::Ok)
        }
    }
}

fn validate(context: &Context, paths: &[PathBuf]) -> Result<Exit, CliError> {
    let checked = files::check(paths, &context.settings.parameter_names());
    let wrong = checked.iter().filter(|one| !one.problems.is_empty()).count();
    if context.json {
        context.print_json(&checked)?;
    } else {
        tell(files::problems(&checked, context.err).trim_end());
        for one in checked.iter().filter(|one| one.problems.is_empty()) {
            let good = context.out.paint(Tone::Good, "valid");
            print(&format!("{}: {good}: {}\n", one.file, contents(one.workflow.as_ref())))?;
        }
    }
    for workflow in checked.iter().filter_map(|one| one.workflow.as_ref()) {
        note_missing_scripts(context, workflow);
    }
    if wrong == 0 {
        return Ok(Exit::Ok);
    }
    let what = files::counted(wrong, "file");
    tell(&format!("{what} of {} not valid; rsqlflow config schema prints what a file may have", paths.len()));
    Ok(Exit::Usage)
}

fn contents(workflow: Option<&workflow::Workflow>) -> String {
    let Some(workflow) = workflow else { return String::new() };
    let jobs = workflow.workflow_stages.iter().map(|stage| stage.scripts.len()).sum();
    let stages = files::counted(workflow.workflow_stages.len(), "stage");
    format!("workflow {}, {stages}, {}", workflow.workflow_id, files::counted(jobs, "script"))
}

fn note_missing_scripts(context: &Context, workflow: &workflow::Workflow) {
    /// More of them than this are counted.
    const NAMED: usize = 5;
    let missing = files::missing_scripts(workflow, &context.settings);
    if missing.is_empty() {
        return;
    }
    let named = missing.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    context.note(&format!("note: {} has no {named}{more}", context.settings.scripts_dir.display()));
}

async fn put(context: &Context, paths: &[PathBuf]) -> Result<Exit, CliError> {
    let workflows = files::workflows(paths, context)?;
    let backend = context.backend_told(Need::Records).await?;
    let items = backend.items();
    let schedules = backend.schedules();
    if schedules.is_none()
        && let Some((_, workflow)) = workflows.iter().find(|(_, workflow)| workflow.schedule.is_some())
    {
        return Err(CliError::NoTrigger { id: workflow.workflow_id.clone() });
    }
    let names = context.settings.parameter_names();
    let mut told = Vec::new();
    for (file, workflow) in &workflows {
        let action = match items.put(workflow).await? {
            Put::Created => "created",
            Put::Updated => "updated",
            Put::Unchanged => "unchanged",
        };
        let id = &workflow.workflow_id;
        // After the item: what is left if this fails is an item without its schedule, which the same again mends.
        let scheduled = match &schedules {
            Some(schedules) => reconcile(&items, schedules, workflow, &names).await?,
            None => Reconciled::None,
        };
        let schedule = reconciled(scheduled);
        if !context.json {
            let about =
                if scheduled == Reconciled::None { "".into() } else { format!(", schedule {schedule}") };
            print(&format!("{id}: {}{about}\n", context.out.paint(Tone::Good, action)))?;
        }
        told.push(json!({ "file": file, "workflow_id": id, "action": action, "schedule": schedule }));
        if let Some(schedules) = schedules.as_ref().filter(|_| workflow.schedule.is_some()) {
            note_schedule(context, workflow, schedules.get(id).await?);
        }
        note_missing_scripts(context, workflow);
    }
    if context.json {
        context.print_json(&told)?;
    }
    backend.close().await;
    Ok(Exit::Ok)
}

/// Makes the schedule say what is stored. That may be something else by now than was put: of two who put at once the one
/// who stored last is to be heard, whoever of them looks at the schedule last.
async fn reconcile(
    items: &Items,
    schedules: &Schedules,
    put: &workflow::Workflow,
    names: &ParameterNames,
) -> Result<Reconciled, CliError> {
    let id = &put.workflow_id;
    let mut done = Reconciled::Unchanged;
    let mut stored = items.get(id).await?;
    loop {
        let now = match stored.clone().map(|item| validate::workflow(item, names)) {
            Some(Ok(workflow)) => schedules.reconcile(&workflow, Utc::now()).await?,
            // Stored past our checks: what it wants is not known.
            Some(Err(_)) => schedules.reconcile(put, Utc::now()).await?,
            None if schedules.delete(id).await? => Reconciled::Deleted,
            None => Reconciled::None,
        };
        if now != Reconciled::Unchanged || done == Reconciled::None {
            done = now;
        }
        let again = items.get(id).await?;
        if again == stored {
            return Ok(done);
        }
        stored = again;
    }
}

fn reconciled(what: Reconciled) -> &'static str {
    match what {
        Reconciled::None => "none",
        Reconciled::Unchanged => "unchanged",
        Reconciled::Created => "created",
        Reconciled::Updated => "updated",
        Reconciled::Deleted => "deleted",
    }
}

/// When a workflow starts next, or why it does not.
fn note_schedule(context: &Context, workflow: &workflow::Workflow, kept: Option<KeptSchedule>) {
    let id = &workflow.workflow_id;
    // A rate that has just been made fires at once: a time of this very second is still to come.
    let now = Utc::now() - TimeDelta::seconds(1);
    let schedule = kept.as_ref().and_then(KeptSchedule::schedule);
    let next = schedule.and_then(|schedule| Some((schedule.next_after(now)?, schedule.zone)));
    context.note(&match (next, kept) {
        (Some((next, zone)), _) => format!("note: {id} starts next at {}", clock::in_zone(next, zone)),
        (None, Some(_)) => format!("note: {id} is switched off, so its schedule is disabled"),
        (None, None) => format!("note: the schedule of {id} is over; no run will start"),
    });
}

async fn get(context: &Context, id: &str) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let items = backend.items();
    let item = match items.get(id).await? {
        Some(item) => item,
        None => return Err(unknown(&items, id).await?),
    };
    context.print_json(&view::in_order(&item, &context.settings.parameter_names()))?;
    backend.close().await;
    Ok(Exit::Ok)
}

async fn list(context: &Context) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let items = backend.items().list().await?;
    let names = context.settings.parameter_names();
    if context.json {
        context.print_json(&items.iter().map(|item| view::in_order(item, &names)).collect::<Vec<_>>())?;
    } else if items.is_empty() {
        context.note("no workflows yet; store one with: rsqlflow config put FILE");
    } else {
        print(&view::items(&items, &names, context.out))?;
    }
    backend.close().await;
    Ok(Exit::Ok)
}

async fn delete(context: &Context, id: &str, yes: bool) -> Result<Exit, CliError> {
    let backend = context.backend_told(Need::Records).await?;
    let items = backend.items();
    let schedules = backend.schedules();
    // A schedule whose item is gone is deleted like the item it belonged to.
    let scheduled = match &schedules {
        Some(schedules) => schedules.get(id).await?.is_some(),
        None => false,
    };
    if !scheduled && items.get(id).await?.is_none() {
        return Err(unknown(&items, id).await?);
    }
    if !context.confirm(&format!("Delete workflow {id}?"), yes)? {
        return Ok(Exit::Failed);
    }
    // The schedule first: it must not fire for an item that is gone.
    let unscheduled = match schedules.filter(|_| scheduled) {
        Some(schedules) => schedules.delete(id).await?,
        None => false,
    };
    let deleted = items.delete(id).await?;
    if context.json {
        context
            .print_json(&json!({ "workflow_id": id, "deleted": deleted, "schedule_deleted": unscheduled }))?;
    } else {
        let about = if unscheduled { ", and its schedule" } else { "" };
        print(&format!("{id}: deleted{about}\n"))?;
    }
    backend.close().await;
    Ok(Exit::Ok)
}

async fn diff(context: &Context, path: &Path) -> Result<Exit, CliError> {
    let mut workflows = files::workflows(&[path.to_path_buf()], context)?;
    // One file is one workflow.
    let Some((file, workflow)) = workflows.pop() else { return Ok(Exit::Ok) };
    let backend = context.backend(Need::Records).await?;
    let id = &workflow.workflow_id;
    let stored = backend.items().get(id).await?;
    let names = context.settings.parameter_names();
    let difference = view::difference(stored.as_ref(), &workflow, &names, context.out);
    let drift = match backend.schedules() {
        Some(schedules) => {
            let kept = schedules.get(id).await?;
            schedules.drift(Some(&workflow), kept.as_ref(), Utc::now())
        }
        None => Drift::None,
    };
    let differs = matches!(difference, Difference::Lines(_)) || drift != Drift::None;
    if context.json {
        let item = serde_json::to_value(&workflow).map_err(std::io::Error::from)?;
        context.print_json(&json!({
            "workflow_id": id,
            "differs": differs,
            "stored": stored.as_ref().map(|item| view::in_order(item, &names)),
            "file": item,
            "schedule": view::drift_json(&drift),
        }))?;
    } else {
        match (difference, &stored) {
            (Difference::None, _) => context.note(&format!("{file} says what is stored as {id}")),
            (Difference::Lines(lines), None) => {
                context.note(&format!("{id} is not stored yet; all of {file} is new"));
                print(&lines)?;
            }
            (Difference::Lines(lines), Some(_)) => print(&lines)?,
        }
        print(&view::drift_lines(&drift, context.out))?;
    }
    backend.close().await;
    Ok(if differs { Exit::Failed } else { Exit::Ok })
}

/// The error for a workflow that is not stored, with the nearest that is.
pub(super) async fn unknown(items: &Items, id: &str) -> Result<CliError, TriggerError> {
    let known = items.list().await?;
    let ids = known.iter().filter_map(|item| item.get("workflow_id").and_then(Value::as_str));
    Ok(CliError::UnknownWorkflow { id: id.into(), nearest: nearest(id, ids) })
}
