//! `rsqlflow schedule list`: when workflows start next, and whether Scheduler says what the items say.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rsqlflow_config::schedule::Schedule;
use rsqlflow_config::validate;
use rsqlflow_config::workflow::Workflow;
use rsqlflow_trigger::{Drift, KeptSchedule, Schedules};
use serde_json::Value;

use crate::args::ScheduleCommand;
use crate::backend::{Backend, Need};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::print;
use crate::view::{self, Row};

pub(super) async fn schedule(context: &Context, command: ScheduleCommand) -> Result<Exit, CliError> {
    match command {
        ScheduleCommand::List { workflow, next } => list(context, workflow.as_deref(), next).await,
    }
}

async fn list(context: &Context, only: Option<&str>, count: u32) -> Result<Exit, CliError> {
    let backend = context.backend(Need::Records).await?;
    let Some(schedules) = backend.schedules() else {
        return Err(CliError::NoSchedules);
    };
    let rows = match only {
        Some(id) => one(&backend, &schedules, id, count).await?,
        None => all(&backend, &schedules, count).await?,
    };
    if context.json {
        context.print_json(&view::schedules_json(&rows))?;
    } else if rows.is_empty() {
        context.note("no schedules yet; a schedule is part of a workflow: rsqlflow config schema");
    } else {
        print(&view::schedules(&rows, context.out))?;
    }
    let drifted: Vec<&str> =
        rows.iter().filter(|row| row.drift != Drift::None).map(|row| row.workflow_id.as_str()).collect();
    if backend.carries_runs() && rows.iter().any(|row| !row.next.is_empty()) {
        context.note("note: schedules fire while rsqlflow up runs, and it does not run");
    }
    backend.close().await;
    if drifted.is_empty() {
        return Ok(Exit::Ok);
    }
    let names = drifted.join(", ");
    context.note(&format!(
        "drift: {names}; store the item again to mend it: rsqlflow config get WORKFLOW | rsqlflow config put -"
    ));
    Ok(Exit::Failed)
}

async fn one(backend: &Backend, schedules: &Schedules, id: &str, count: u32) -> Result<Vec<Row>, CliError> {
    let item = backend.items().get(id).await?;
    let kept = schedules.get(id).await?;
    if item.is_none() && kept.is_none() {
        return Err(super::config::unknown(&backend.items(), id).await?);
    }
    let workflow = item.and_then(|item| validate::workflow(item).ok());
    Ok(row(schedules, id, workflow.as_ref(), kept.as_ref(), count).into_iter().collect())
}

async fn all(backend: &Backend, schedules: &Schedules, count: u32) -> Result<Vec<Row>, CliError> {
    let kept = schedules.list().await?;
    let mut both: BTreeMap<String, (Option<Workflow>, Option<KeptSchedule>)> =
        kept.into_iter().map(|(id, kept)| (id, (None, Some(kept)))).collect();
    for item in backend.items().list().await? {
        let Some(id) = item.get("workflow_id").and_then(Value::as_str).map(str::to_string) else { continue };
        // One that somebody stored past our checks says nothing that could be compared.
        if let Ok(workflow) = validate::workflow(item) {
            both.entry(id).or_default().0 = Some(workflow);
        }
    }
    let rows = both
        .iter()
        .filter_map(|(id, (workflow, kept))| row(schedules, id, workflow.as_ref(), kept.as_ref(), count));
    Ok(rows.collect())
}

/// What is to be told of one workflow, where it has a schedule on either side.
fn row(
    schedules: &Schedules,
    id: &str,
    workflow: Option<&Workflow>,
    kept: Option<&KeptSchedule>,
    count: u32,
) -> Option<Row> {
    let now = Utc::now();
    let wanted = workflow.and_then(|workflow| schedules.wanted(workflow));
    let told = kept.map(|kept| &kept.definition).or(wanted.as_ref())?;
    // What will happen is what Scheduler has.
    let next: Vec<DateTime<Utc>> = kept
        .and_then(KeptSchedule::schedule)
        .map(|schedule: Schedule| {
            schedule.times_after(now).take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
        })
        .unwrap_or_default();
    let over = workflow.is_some_and(|workflow| rsqlflow_trigger::is_over(workflow, kept, now));
    Some(Row {
        workflow_id: id.to_string(),
        expression: told.expression.clone(),
        zone: told.timezone.clone(),
        state: Row::state(kept, &next, over),
        drift: schedules.drift(workflow, kept, now),
        next,
    })
}

/// How many schedules will fire, and the workflow that starts next.
pub(super) type Soonest = (usize, Option<(String, DateTime<Utc>, Schedule)>);

/// Looks at all of them.
pub(super) async fn soonest(schedules: &Schedules) -> Result<Soonest, CliError> {
    let now = Utc::now();
    let kept = schedules.list().await?;
    let live = kept.iter().filter_map(|(id, kept)| {
        let schedule = kept.schedule()?;
        Some((id.clone(), schedule.next_after(now)?, schedule))
    });
    let live: Vec<_> = live.collect();
    Ok((live.len(), live.into_iter().min_by_key(|(_, next, _)| *next)))
}
