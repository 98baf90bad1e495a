//! `rsqlflow schedule list`: when workflows start next, and whether Scheduler says what the items say.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::schedule::Schedule;
use rsqlflow_config::validate;
use rsqlflow_config::workflow::Workflow;
use rsqlflow_trigger::{KeptSchedule, Schedules};
use serde_json::Value;

use crate::args::ScheduleCommand;
use crate::backend::{Backend, Need};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::print;
use crate::view::{self, Row, Standing};

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
    let names = context.settings.parameter_names();
    let rows = match only {
        Some(id) => one(&backend, &schedules, id, count, &names).await?,
        None => all(&backend, &schedules, count, &names).await?,
    };
    if context.json {
        context.print_json(&view::schedules_json(&rows))?;
    } else if let Some(id) = only.filter(|_| rows.is_empty()) {
        context.note(&format!("workflow {id} has no schedule"));
    } else if rows.is_empty() {
        context.note("no schedules yet; a schedule is part of a workflow: rsqlflow config schema");
    } else {
        print(&view::schedules(&rows, context.out))?;
    }
    let remedies: Vec<String> = rows.iter().filter_map(|row| row.standing.remedy(&row.workflow_id)).collect();
    if backend.carries_runs() && rows.iter().any(|row| !row.next.is_empty()) {
        context.note("note: schedules fire while rsqlflow up runs, and it does not run");
    }
    backend.close().await;
    for remedy in &remedies {
        context.note(remedy);
    }
    Ok(if remedies.is_empty() { Exit::Ok } else { Exit::Failed })
}

async fn one(
    backend: &Backend,
    schedules: &Schedules,
    id: &str,
    count: u32,
    names: &ParameterNames,
) -> Result<Vec<Row>, CliError> {
    let item = backend.items().get(id).await?;
    let kept = schedules.get(id).await?;
    if item.is_none() && kept.is_none() {
        return Err(super::config::unknown(&backend.items(), id).await?);
    }
    Ok(row(schedules, id, item, kept.as_ref(), count, names).into_iter().collect())
}

async fn all(
    backend: &Backend,
    schedules: &Schedules,
    count: u32,
    names: &ParameterNames,
) -> Result<Vec<Row>, CliError> {
    let kept = schedules.list().await?;
    let mut both: BTreeMap<String, (Option<Value>, Option<KeptSchedule>)> =
        kept.into_iter().map(|(id, kept)| (id, (None, Some(kept)))).collect();
    for item in backend.items().list().await? {
        let Some(id) = item.get("workflow_id").and_then(Value::as_str).map(str::to_string) else { continue };
        both.entry(id).or_default().0 = Some(item);
    }
    let rows = both
        .into_iter()
        .filter_map(|(id, (item, kept))| row(schedules, &id, item, kept.as_ref(), count, names));
    Ok(rows.collect())
}

/// What is to be told of one workflow, where it has a schedule on either side.
fn row(
    schedules: &Schedules,
    id: &str,
    item: Option<Value>,
    kept: Option<&KeptSchedule>,
    count: u32,
    names: &ParameterNames,
) -> Option<Row> {
    let now = Utc::now();
    let said = |name: &str| Some(item.as_ref()?.get(name)?.as_str()?.to_string());
    let (said, said_zone) = (said("schedule"), said("schedule_timezone"));
    // Somebody may have stored it past our checks.
    let workflow: Option<Result<Workflow, _>> = item.map(|item| validate::workflow(item, names));
    let (workflow, standing) = match workflow {
        Some(Ok(workflow)) => {
            let drift = schedules.drift(Some(&workflow), kept, now);
            (Some(workflow), Standing::Compared(drift))
        }
        Some(Err(_)) => (None, Standing::Invalid),
        None => (None, Standing::NoItem),
    };
    let (expression, zone) = match kept {
        Some(KeptSchedule { definition, .. }) => (definition.expression.clone(), definition.timezone.clone()),
        None => (said?, said_zone.unwrap_or_else(|| "UTC".into())),
    };
    // What will happen is what Scheduler has.
    let next: Vec<DateTime<Utc>> = kept
        .and_then(KeptSchedule::schedule)
        .map(|schedule: Schedule| {
            schedule.times_after(now).take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
        })
        .unwrap_or_default();
    let over = workflow.is_some_and(|workflow| rsqlflow_trigger::is_over(&workflow, kept, now));
    Some(Row {
        workflow_id: id.to_string(),
        expression,
        zone,
        state: Row::state(kept, &next, over),
        standing,
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
