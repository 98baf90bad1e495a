//! Every problem of a config item at once, each with its path, what is wrong and what would be right.
//!
//! serde stops at the first mistake; an operator who edits an item wants the whole list. So an item is walked as plain
//! JSON against the tables below, and only a walk without problems is followed by serde. A test keeps the tables and
//! the types in step: whatever the walk accepts, serde must accept.

mod fields;
mod schedule;
mod values;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::names::{self, ParameterNames};
use crate::workflow::Workflow;

/// One thing wrong with an item.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where, for instance `workflow_stages[1].scripts[0]`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// What is wrong with an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidItem {
    /// Not YAML and not JSON.
    #[error("not readable as YAML or JSON: {0}")]
    Syntax(String),
    /// Readable, but not a workflow.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the text of an item, YAML or JSON (every JSON text is YAML as well).
///
/// # Errors
/// [`InvalidItem::Syntax`], with line and column.
pub fn parse(text: &str) -> Result<Value, InvalidItem> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(json) if text.trim_start().starts_with('{') => Err(InvalidItem::Syntax(json.to_string())),
        Err(_) => serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
            // An option of the library is none of the operator's.
            .map_err(|yaml| {
                InvalidItem::Syntax(
                    yaml.to_string().replace(", set DuplicateKeyPolicy in Options if acceptable", ""),
                )
            }),
    }
}

/// Reads and checks the text of an item, by the rules that hold without settings.
///
/// # Errors
/// Everything that is wrong with it.
pub fn workflow_from_text(text: &str) -> Result<Workflow, InvalidItem> {
    workflow(parse(text)?, &ParameterNames::default())
}

/// Checks an item and types it. `names` says what its parameters may be called here.
///
/// # Errors
/// Everything that is wrong with it.
pub fn workflow(mut item: Value, names: &ParameterNames) -> Result<Workflow, InvalidItem> {
    let problems = problems(&item, names);
    if !problems.is_empty() {
        return Err(InvalidItem::Problems(problems));
    }
    drop_nulls(&mut item);
    serde_json::from_value(item).map_err(|error| {
        InvalidItem::Problems(vec![Problem { path: String::new(), message: error.to_string() }])
    })
}

/// An attribute that says nothing is one that is not there.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Everything that is wrong with an item. `names` says what its parameters may be called here.
pub fn problems(item: &Value, names: &ParameterNames) -> Vec<Problem> {
    let mut walk = Walk { names: names.clone(), ..Walk::default() };
    match item {
        Value::Object(map) => {
            walk.object("", map, fields::WORKFLOW);
            walk.duplicate_jobs();
            walk.nothing_to_run(map);
            walk.schedule(map);
            let size = item.to_string().len();
            if size > names::ITEM_MAX {
                walk.add("", format!("the item has {size} bytes, DynamoDB takes {}", names::ITEM_MAX));
            } else if size > names::RUN_INPUT_MAX {
                let max = names::RUN_INPUT_MAX;
                walk.add(
                    "",
                    format!("the item has {size} bytes, a run's input may have {max}: split the workflow"),
                );
            }
        }
        other => walk.add("", format!("must be an object with a workflow_id, is {}", kind(other))),
    }
    walk.problems
}

/// The walk's findings, and what it has to remember from one place for another.
#[derive(Default)]
struct Walk {
    problems: Vec<Problem>,
    /// Job name to the paths where it stands.
    jobs: BTreeMap<String, Vec<String>>,
    /// What parameters may be called.
    names: ParameterNames,
}

/// Checks the value of one key.
type Check = fn(&mut Walk, &str, &Value);

/// One key an object may have.
struct Key {
    name: &'static str,
    required: bool,
    check: Check,
}

const fn required(name: &'static str, check: Check) -> Key {
    Key { name, required: true, check }
}

const fn optional(name: &'static str, check: Check) -> Key {
    Key { name, required: false, check }
}

impl Walk {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_string(), message: message.into() });
    }

    fn object(&mut self, path: &str, map: &Map<String, Value>, keys: &[Key]) {
        for (name, value) in map {
            let here = join(path, name);
            match keys.iter().find(|key| key.name == name) {
                // An absent attribute and a null one are the same to whoever wrote the item.
                Some(key) if value.is_null() && !key.required => {}
                Some(key) => (key.check)(self, &here, value),
                None => {
                    let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
                    self.add(&here, unknown_key(name, &known));
                }
            }
        }
        for key in keys.iter().filter(|key| key.required && !map.contains_key(key.name)) {
            self.add(&join(path, key.name), "is missing");
        }
    }

    fn duplicate_jobs(&mut self) {
        for (name, paths) in std::mem::take(&mut self.jobs) {
            for path in paths.iter().skip(1) {
                let first = &paths[0];
                self.add(
                    path,
                    format!("job name `{name}` is already taken by {first}; give one of them a job_name"),
                );
            }
        }
    }

    fn nothing_to_run(&mut self, map: &Map<String, Value>) {
        let Some(stages) = map.get("workflow_stages").and_then(Value::as_array) else { return };
        let skipped = |stage: &Value| {
            let flag = stage.get("execution_flag").and_then(Value::as_str);
            flag.is_some_and(|flag| !crate::workflow::flag_is_set(flag))
        };
        if !stages.is_empty() && stages.iter().all(skipped) {
            self.add(
                "workflow_stages",
                "every stage is switched off: nothing would run; set an execution_flag to y",
            );
        }
    }
}

/// What to say of a key that nobody knows.
pub(crate) fn unknown_key(name: &str, known: &[&str]) -> String {
    unknown("key", name, known)
}

/// What to say of a word that is none of the known ones.
fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3);
    match nearest {
        Some((_, candidate)) => format!("unknown {what}; did you mean `{candidate}`?"),
        None => format!("unknown {what}; known are {}", known.join(", ")),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
