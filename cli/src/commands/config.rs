//! `rsqlflow config`: the config items, in files and in the config table.

use std::path::{Path, PathBuf};

use chrono::Utc;
use rsqlflow_config::{settings, workflow};
use rsqlflow_trigger::{Drift, Items, TriggerError};
use serde_json::{Value, json};

use super::{files, put};
use crate::args::ConfigCommand;
use crate::backend::Need;
use crate::context::Context;
use crate::error::{CliError, nearest};
use crate::exit::Exit;
use crate::screen::{Tone, print, print_as_is, tell};
use crate::view::{self, Difference};

pub(super) async fn config(context: &Context, command: ConfigCommand) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Validate { files } => validate(context, &files),
        ConfigCommand::Put { files } => put::put(context, &files).await,
        ConfigCommand::Get { id } => get(context, &id).await,
        ConfigCommand::List => list(context).await,
        ConfigCommand::Delete { id, yes } => put::delete(context, &id, yes).await,
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

pub(super) fn note_missing_scripts(context: &Context, workflow: &workflow::Workflow) {
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

async fn diff(context: &Context, path: &Path) -> Result<Exit, CliError> {
    let mut workflows = files::workflows(&[path.to_path_buf()], context, None)?;
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
