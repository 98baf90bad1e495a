//! Reading one state: the fields its type may have, and no others.

use std::sync::Arc;

use serde_json::Value;

use super::fields::Fields;
use super::flow::Exit;
use super::read::{Reader, is_jsonata};
use super::retry::{Catcher, Retrier};
use super::template::Template;
use super::{Kind, MapState, Rule, State, StateName, Task, Wait};
use crate::asl::failure::names;
use crate::asl::integrations::Resource;
use crate::asl::limits;

pub(super) fn read(
    reader: &mut Reader<'_>,
    name: &StateName,
    value: &Value,
    at: String,
    jsonata_around: bool,
) -> Option<State> {
    let issues = reader.issues;
    let fields = Fields::of(value, at, issues)?;
    fields.require("Type")?;
    let kind = fields.text("Type")?;
    fields.text("Comment");
    let jsonata = is_jsonata(&fields, jsonata_around);
    if !jsonata {
        issues.schema(
            &fields.at,
            "JSONPath is not supported by the embedded default; set \"QueryLanguage\": \"JSONata\"",
        );
        return None;
    }
    let transitions = !matches!(kind, "Choice" | "Succeed" | "Fail");
    let next = if transitions { next(&fields) } else { None };
    let mut state = State {
        name: Arc::clone(name),
        kind: Kind::Pass,
        arguments: None,
        exit: Exit::default(),
        next,
        retry: Vec::new(),
        catch: Vec::new(),
    };
    if kind != "Fail" {
        state.exit = exit(&fields, kind != "Succeed");
    }
    if matches!(kind, "Task" | "Parallel" | "Map") {
        state.retry = retry(&fields);
        state.catch = catch(&fields);
    }
    if matches!(kind, "Task" | "Parallel") {
        state.arguments = fields.template("Arguments");
    }
    state.kind = match kind {
        "Pass" => Kind::Pass,
        "Succeed" => Kind::Succeed,
        "Task" => Kind::Task(task(&fields)?),
        "Choice" => choice(&fields)?,
        "Wait" => Kind::Wait(wait(&fields)?),
        "Fail" => {
            Kind::Fail { error: text_template(&fields, "Error"), cause: text_template(&fields, "Cause") }
        }
        "Parallel" => parallel(reader, &fields, jsonata)?,
        "Map" => Kind::Map(Box::new(map(reader, &fields, jsonata)?)),
        other => {
            fields.wrong("Type", format!("'{other}' is no type of state"));
            return None;
        }
    };
    fields.done();
    Some(state)
}

fn next(fields: &Fields<'_>) -> Option<StateName> {
    let (next, end) = (fields.text("Next"), fields.truth("End"));
    match (next, end) {
        (Some(_), Some(true)) => fields.wrong("End", "A state has either 'Next' or 'End', not both"),
        (None, None | Some(false)) => {
            fields.issues.schema(&fields.at, "These fields are required: one of 'Next' or 'End'");
        }
        _ => {}
    }
    next.map(Arc::from)
}

fn exit(fields: &Fields<'_>, may_assign: bool) -> Exit {
    let mut exit = Exit { assign: Vec::new(), output: fields.template("Output") };
    if may_assign && let Some(value) = fields.get("Assign") {
        let at = fields.at("Assign");
        match value {
            Value::Object(variables) => {
                for (name, value) in variables {
                    let at = format!("{at}/{name}");
                    if !is_variable(name) {
                        fields.issues.schema(&at, format!("'{name}' cannot be a variable's name"));
                    }
                    exit.assign.push((name.clone(), fields.read_template(value, &at)));
                }
            }
            _ => fields.wrong("Assign", "Expected value of type Object"),
        }
    }
    exit
}

/// Identifiers, and not the reserved `states`
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>).
fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic())
        && chars.all(|next| next.is_alphanumeric() || next == '_')
        && name.chars().count() <= limits::NAME_CHARS
        && name != "states"
}

fn text_template(fields: &Fields<'_>, name: &'static str) -> Option<Template> {
    fields.template_for(name, "a string", Value::is_string)
}

fn task(fields: &Fields<'_>) -> Option<Task> {
    fields.require("Resource")?;
    let resource = fields.text("Resource")?;
    let timeout_seconds = fields.integer_template("TimeoutSeconds", 1..=limits::SECONDS);
    let heartbeat_seconds = fields.integer_template("HeartbeatSeconds", 1..=limits::SECONDS);
    // Credentials choose a role; there are none to choose from here.
    fields.get("Credentials");
    let literal = |template: &Option<Template>| template.as_ref()?.literal()?.as_u64();
    if let (Some(heartbeat), Some(timeout)) = (literal(&heartbeat_seconds), literal(&timeout_seconds))
        && heartbeat >= timeout
    {
        fields.wrong("HeartbeatSeconds", "HeartbeatSeconds must be smaller than TimeoutSeconds");
    }
    match Resource::read(resource) {
        Ok(resource) => Some(Task { resource, timeout_seconds, heartbeat_seconds }),
        Err(why) => {
            fields.wrong("Resource", why);
            None
        }
    }
}

fn choice(fields: &Fields<'_>) -> Option<Kind> {
    fields.require("Choices")?;
    let choices = fields.list("Choices")?;
    if choices.is_empty() {
        fields.wrong("Choices", "There must be at least one choice");
    }
    let mut rules = Vec::new();
    for (index, value) in choices.iter().enumerate() {
        let Some(rule) = Fields::of(value, format!("{}/{index}", fields.at("Choices")), fields.issues) else {
            continue;
        };
        rule.text("Comment");
        rule.require("Condition");
        let condition = rule.template_for("Condition", "a boolean", Value::is_boolean);
        rule.require("Next");
        let next = rule.text("Next");
        let exit = exit(&rule, true);
        rule.done();
        if let (Some(condition), Some(next)) = (condition, next) {
            rules.push(Rule { condition, exit, next: Arc::from(next) });
        }
    }
    Some(Kind::Choice { rules, default: fields.text("Default").map(Arc::from) })
}

fn wait(fields: &Fields<'_>) -> Option<Wait> {
    let seconds = fields.integer_template("Seconds", 0..=limits::SECONDS);
    let timestamp = fields.template_for("Timestamp", "a timestamp", |value| {
        value.as_str().is_some_and(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok())
    });
    match (seconds, timestamp) {
        (Some(seconds), None) => Some(Wait::Seconds(seconds)),
        (None, Some(timestamp)) => Some(Wait::Timestamp(timestamp)),
        _ => {
            fields.issues.schema(&fields.at, "A Wait state has exactly one of 'Seconds' and 'Timestamp'");
            None
        }
    }
}

fn parallel(reader: &mut Reader<'_>, fields: &Fields<'_>, jsonata: bool) -> Option<Kind> {
    fields.require("Branches")?;
    let mut branches = Vec::new();
    for (index, value) in fields.list("Branches")?.iter().enumerate() {
        let branch = Fields::of(value, format!("{}/{index}", fields.at("Branches")), fields.issues)?;
        branch.text("Comment");
        branches.extend(reader.states(&branch, jsonata));
        branch.done();
    }
    if branches.is_empty() {
        fields.wrong("Branches", "There must be at least one branch");
    }
    Some(Kind::Parallel { branches })
}

fn map(reader: &mut Reader<'_>, fields: &Fields<'_>, jsonata: bool) -> Option<MapState> {
    for (name, what) in [
        ("ItemReader", "Reading items from another service"),
        ("ItemBatcher", "Batching items"),
        ("ResultWriter", "Writing results to another service"),
    ] {
        if fields.get(name).is_some() {
            fields.wrong(name, format!("{what} is not supported by the embedded default"));
        }
    }
    fields.text("Label");
    let items =
        fields.template_for("Items", "an array or an object", |value| value.is_array() || value.is_object());
    let selector = fields.template("ItemSelector");
    let max_concurrency = fields.integer_template("MaxConcurrency", 0..=limits::SECONDS);
    let tolerated_count = fields.integer_template("ToleratedFailureCount", 0..=limits::SECONDS);
    let tolerated_percentage =
        fields.template_for("ToleratedFailurePercentage", "a number from 0 to 100", |value| {
            value.as_f64().is_some_and(|percentage| (0.0..=100.0).contains(&percentage))
        });
    // `Iterator` is the older name of `ItemProcessor`.
    let processor = if fields.get("Iterator").is_some() { "Iterator" } else { "ItemProcessor" };
    let processor = Fields::of(fields.require(processor)?, fields.at(processor), fields.issues)?;
    processor.text("Comment");
    let mut distributed = false;
    if let Some(config) = processor.get("ProcessorConfig")
        && let Some(config) = Fields::of(config, processor.at("ProcessorConfig"), fields.issues)
    {
        match config.text("Mode") {
            None | Some("INLINE") => {}
            Some("DISTRIBUTED") => distributed = true,
            Some(_) => config.wrong("Mode", "The value must be 'INLINE' or 'DISTRIBUTED'"),
        }
        config.text("ExecutionType");
        config.done();
    }
    let start_at = reader.states(&processor, jsonata);
    processor.done();
    Some(MapState {
        start_at: start_at?,
        items,
        selector,
        max_concurrency,
        tolerated_count,
        tolerated_percentage,
        distributed,
    })
}

fn error_equals(entry: &Fields<'_>, last: bool) -> Vec<String> {
    entry.require("ErrorEquals");
    let errors: Vec<String> = entry
        .list("ErrorEquals")
        .into_iter()
        .flatten()
        .filter_map(|error| match error.as_str() {
            Some(error) => Some(error.to_owned()),
            None => {
                entry.wrong("ErrorEquals", "Expected an array of strings");
                None
            }
        })
        .collect();
    if errors.is_empty() && entry.get("ErrorEquals").is_some() {
        entry.wrong("ErrorEquals", "There must be at least one error");
    }
    if errors.iter().any(|error| error == names::ALL) && (errors.len() > 1 || !last) {
        entry.wrong("ErrorEquals", "States.ALL must stand alone and in the last entry");
    }
    errors
}

fn entries<'a>(fields: &Fields<'a>, name: &'static str) -> Vec<(Fields<'a>, bool)> {
    let list = fields.list(name).map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .enumerate()
        .filter_map(|(index, value)| {
            let entry = Fields::of(value, format!("{}/{index}", fields.at(name)), fields.issues)?;
            Some((entry, index + 1 == list.len()))
        })
        .collect()
}

fn retry(fields: &Fields<'_>) -> Vec<Retrier> {
    let mut retriers = Vec::new();
    for (entry, last) in entries(fields, "Retry") {
        entry.text("Comment");
        let unless_told = Retrier::default();
        let backoff_rate = entry.number("BackoffRate").unwrap_or(unless_told.backoff_rate);
        if backoff_rate < 1.0 {
            entry.wrong("BackoffRate", "BackoffRate must be at least 1.0");
        }
        let jitter = match entry.text("JitterStrategy") {
            None | Some("NONE") => false,
            Some("FULL") => true,
            Some(_) => {
                entry.wrong("JitterStrategy", "The value must be 'FULL' or 'NONE'");
                false
            }
        };
        let attempts = entry.integer("MaxAttempts", 0..=limits::SECONDS);
        let max_delay_seconds = entry.integer("MaxDelaySeconds", 1..=limits::MAX_DELAY_SECONDS - 1);
        let interval_seconds =
            entry.integer("IntervalSeconds", 1..=limits::SECONDS).unwrap_or(unless_told.interval_seconds);
        if max_delay_seconds.is_some_and(|limit| limit <= interval_seconds) {
            entry.wrong("MaxDelaySeconds", "MaxDelaySeconds must be greater than IntervalSeconds");
        }
        retriers.push(Retrier {
            error_equals: error_equals(&entry, last),
            interval_seconds,
            max_attempts: attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or(unless_told.max_attempts),
            backoff_rate,
            max_delay_seconds,
            jitter,
        });
        entry.done();
    }
    retriers
}

fn catch(fields: &Fields<'_>) -> Vec<Catcher> {
    let mut catchers = Vec::new();
    for (entry, last) in entries(fields, "Catch") {
        entry.text("Comment");
        entry.require("Next");
        let error_equals = error_equals(&entry, last);
        let exit = exit(&entry, true);
        if let Some(next) = entry.text("Next") {
            catchers.push(Catcher { error_equals, exit, next: Arc::from(next) });
        }
        entry.done();
    }
    catchers
}
