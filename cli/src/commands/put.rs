//! `rsqlflow config put` and `config delete`: items and their schedules, and what became of each.
//!
//! Every file is checked before anything is stored. After that there is no all or none: an item is in DynamoDB and its
//! schedule in EventBridge Scheduler, and no transaction spans the two. So it is told of each file what became of it, the
//! first that goes wrong is the last that is tried, and the same command again does what is missing and nothing twice.
//!
//! The item is stored before its schedule is made, and deleted after it: what is left in between is an item without its
//! schedule, which `rsqlflow schedule list` shows, never a schedule that starts what is not there.

use std::path::PathBuf;

use chrono::{TimeDelta, Utc};
use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::{validate, workflow};
use rsqlflow_trigger::{Items, KeptSchedule, Put, Reconciled, Schedules};
use serde::Serialize;
use serde_json::json;

use super::config::{note_missing_scripts, unknown};
use super::files;
use crate::backend::Need;
use crate::backend::refused::explain;
use crate::clock;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::{Screen, Tone, print};

/// What became of one file; also what `config put --json` prints, so the shape is stable.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    file: &'a str,
    workflow_id: &'a str,
    /// `created`, `updated`, `unchanged`, `failed`, `unknown` or `not_tried`.
    action: &'static str,
    /// The same, `deleted` or `none`.
    schedule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Not done, or nobody knows: without an answer it may have been.
fn undone(error: &CliError) -> &'static str {
    if error.exit() == Exit::Unreachable { "unknown" } else { "failed" }
}

const NOT_TRIED: &str = "not_tried";

impl Outcome<'_> {
    /// For people.
    fn line(&self, screen: Screen) -> String {
        let tone = |word: &str| match word {
            "failed" | "unknown" => Tone::Bad,
            NOT_TRIED => Tone::Faint,
            _ => Tone::Good,
        };
        let action = screen.paint(tone(self.action), &self.action.replace('_', " "));
        let schedule = match self.schedule {
            // Of one that was not tried its item says so already.
            "none" | NOT_TRIED => String::new(),
            word @ ("failed" | "unknown") => format!(", schedule {}", screen.paint(tone(word), word)),
            word => format!(", schedule {word}"),
        };
        format!("{}: {action}{schedule}\n", self.workflow_id)
    }
}

pub(super) async fn put(context: &Context, paths: &[PathBuf]) -> Result<Exit, CliError> {
    let workflows = files::workflows(paths, context, Some(NOT_TRIED)).inspect_err(|error| {
        if let CliError::InvalidFiles { wrong, .. } = error {
            context.note(&nothing_stored(paths.len().saturating_sub(*wrong)));
        }
    })?;
    let backend = context.backend_told(Need::Records).await?;
    let items = backend.items();
    let schedules = backend.schedules();
    if schedules.is_none()
        && let Some((_, workflow)) = workflows.iter().find(|(_, workflow)| workflow.schedule.is_some())
    {
        return Err(CliError::NoTrigger { id: workflow.workflow_id.clone() });
    }
    let names = context.settings.parameter_names();
    let mut outcomes: Vec<Outcome<'_>> = Vec::new();
    let mut wrong = None;
    for (file, workflow) in &workflows {
        let id = &workflow.workflow_id;
        let mut outcome =
            Outcome { file, workflow_id: id, action: NOT_TRIED, schedule: NOT_TRIED, error: None };
        if wrong.is_none() {
            wrong = put_one(&items, schedules.as_ref(), workflow, &names, &mut outcome)
                .await
                .map_err(|error| explain(error, &context.settings))
                .err();
            outcome.error = wrong.as_ref().map(ToString::to_string);
        }
        if !context.json {
            print(&outcome.line(context.out))?;
        }
        if outcome.error.is_none() && outcome.action != NOT_TRIED {
            if let Some(schedules) = schedules.as_ref().filter(|_| workflow.schedule.is_some()) {
                note_schedule(context, workflow, schedules).await;
            }
            note_missing_scripts(context, workflow);
        }
        outcomes.push(outcome);
    }
    if context.json {
        context.print_json(&outcomes)?;
    }
    backend.close().await;
    wrong.map_or(Ok(Exit::Ok), |wrong| Err(stopped(&outcomes, wrong)))
}

/// That one wrong file keeps all from being stored, the right ones too.
fn nothing_stored(right: usize) -> String {
    match right {
        0 => "nothing was stored".into(),
        1 => "nothing was stored; the other file is right".into(),
        right => format!("nothing was stored; the {right} other files are right"),
    }
}

/// Stores an item and brings its schedule up to date; `outcome` says how far it came.
async fn put_one(
    items: &Items,
    schedules: Option<&Schedules>,
    workflow: &workflow::Workflow,
    names: &ParameterNames,
    outcome: &mut Outcome<'_>,
) -> Result<(), CliError> {
    match items.put(workflow).await.map_err(CliError::from) {
        Ok(Put::Created) => outcome.action = "created",
        Ok(Put::Updated) => outcome.action = "updated",
        Ok(Put::Unchanged) => outcome.action = "unchanged",
        Err(error) => {
            outcome.action = undone(&error);
            return Err(error);
        }
    }
    let Some(schedules) = schedules else {
        outcome.schedule = "none";
        return Ok(());
    };
    match reconcile(items, schedules, workflow, names).await {
        Ok(done) => outcome.schedule = reconciled(done),
        Err(error) => {
            outcome.schedule = undone(&error);
            return Err(error);
        }
    }
    Ok(())
}

/// The error of the file that went wrong, with what is stored and what is not.
fn stopped(outcomes: &[Outcome<'_>], source: CliError) -> CliError {
    let before = outcomes.iter().take_while(|outcome| outcome.error.is_none()).count();
    let after = outcomes.len().saturating_sub(before + 1);
    let Some(wrong) = outcomes.get(before) else { return source };
    let id = wrong.workflow_id;
    let what = match (wrong.action, wrong.schedule) {
        ("failed", _) => format!("workflow {id} was not stored"),
        ("unknown", _) => format!("whether workflow {id} was stored is not known"),
        (_, "failed") => format!("workflow {id} is stored, and its schedule is not what it says"),
        _ => format!("workflow {id} is stored, and whether its schedule is what it says is not known"),
    };
    let others = match outcomes.len() {
        1 => String::new(),
        all => format!(" ({before} of {all} files done before, {after} not tried)"),
    };
    CliError::Partly {
        said: format!("{}: {what}{others}", wrong.file),
        then: "the same command again: it does what is missing".into(),
        source: Box::new(source),
    }
}

/// Makes the schedule say what is stored, which another put may have changed meanwhile: the last writer wins, whichever of
/// them looks at the schedule last.
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
async fn note_schedule(context: &Context, workflow: &workflow::Workflow, schedules: &Schedules) {
    let id = &workflow.workflow_id;
    let kept = match schedules.get(id).await {
        Ok(kept) => kept,
        Err(error) => {
            return context.note(&format!("note: when {id} starts next could not be looked up: {error}"));
        }
    };
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

pub(super) async fn delete(context: &Context, id: &str, yes: bool) -> Result<Exit, CliError> {
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
    let done = items.delete(id).await.map_err(|error| explain(error.into(), &context.settings));
    let (deleted, wrong) = match done {
        Ok(deleted) => (deleted, None),
        Err(error) => (false, Some(error)),
    };
    if context.json {
        let mut told = json!({ "workflow_id": id, "deleted": deleted, "schedule_deleted": unscheduled });
        if let Some(error) = &wrong {
            told["error"] = error.to_string().into();
        }
        context.print_json(&told)?;
    } else if wrong.is_none() {
        let about = if unscheduled { ", and its schedule" } else { "" };
        print(&format!("{id}: deleted{about}\n"))?;
    }
    backend.close().await;
    let Some(source) = wrong else { return Ok(Exit::Ok) };
    let what = match undone(&source) {
        "unknown" => "whether its item was deleted is not known",
        _ => "its item was not deleted",
    };
    let said = if unscheduled {
        format!("workflow {id}: its schedule is deleted, and {what}")
    } else {
        format!("workflow {id}: {what}")
    };
    let then = "the same command again: it does what is missing".into();
    Err(CliError::Partly { said, then, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(
        id: &'static str,
        action: &'static str,
        schedule: &'static str,
        error: Option<&str>,
    ) -> Outcome<'static> {
        let file = match id {
            "a" => "a.yaml",
            "b" => "b.yaml",
            _ => "c.yaml",
        };
        Outcome { file, workflow_id: id, action, schedule, error: error.map(Into::into) }
    }

    fn denied(exit: Exit) -> CliError {
        let said = "storing the config item: maria may not dynamodb:PutItem".into();
        CliError::Account { said, next: Some("attach the stack's OperatorPolicy".into()), exit }
    }

    #[test]
    fn files_that_are_right_and_were_not_stored_are_counted() {
        let told: Vec<String> = (0..3).map(nothing_stored).collect();
        assert_eq!(
            told,
            [
                "nothing was stored",
                "nothing was stored; the other file is right",
                "nothing was stored; the 2 other files are right"
            ]
        );
    }

    /// Every way in which one of three may go wrong, as people and programs read it.
    #[test]
    fn each_file_is_told_with_what_became_of_it() {
        let mut told = String::new();
        for (action, schedule, exit) in [
            ("failed", NOT_TRIED, Exit::Failed),
            ("unknown", NOT_TRIED, Exit::Unreachable),
            ("updated", "failed", Exit::Failed),
            ("created", "unknown", Exit::Unreachable),
        ] {
            let error = denied(exit);
            let all = [
                outcome("a", "created", "created", None),
                outcome("b", action, schedule, Some(&error.to_string())),
                outcome("c", NOT_TRIED, NOT_TRIED, None),
            ];
            told.extend(all.iter().map(|outcome| outcome.line(Screen::plain())));
            let error = stopped(&all, error);
            told.push_str(&format!(
                "{error}\n  exit {} next: {}\n",
                error.exit().code(),
                error.next().unwrap()
            ));
        }
        insta::assert_snapshot!(told);
        let one = stopped(&[outcome("a", "failed", NOT_TRIED, Some("x"))], denied(Exit::Failed));
        assert!(one.to_string().starts_with("a.yaml: workflow a was not stored: "), "{one}");
        let json = serde_json::to_value(outcome("b", "failed", NOT_TRIED, Some("x"))).unwrap();
        assert_eq!(
            json,
            json!({"file": "b.yaml", "workflow_id": "b", "action": "failed", "schedule": "not_tried", "error": "x"})
        );
    }
}
