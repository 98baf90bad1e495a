//! `rsqlflow config list` and `config diff`.

use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::validate;
use rsqlflow_config::workflow::Workflow;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::screen::{Screen, Tone};

/// The stored items as a table. An item that someone stored past our checks is listed with the number of its
/// mistakes.
pub(crate) fn items(items: &[Value], names: &ParameterNames, screen: Screen) -> String {
    let rows = items.iter().map(|item| match validate::workflow(item.clone(), names) {
        Ok(workflow) => valid(&workflow),
        Err(_) => {
            let id = item.get("workflow_id").and_then(Value::as_str).unwrap_or("?");
            let problems = validate::problems(item, names).len();
            let plural = if problems == 1 { "" } else { "s" };
            let told = format!("invalid, {problems} problem{plural}: rsqlflow run {id} names them");
            let empty = || (Tone::Plain, String::new());
            vec![(Tone::Plain, id.to_string()), empty(), empty(), empty(), (Tone::Bad, told)]
        }
    });
    screen.table(&["WORKFLOW", "STAGES", "JOBS", "SCHEDULE", "DESCRIPTION"], rows.collect())
}

fn valid(workflow: &Workflow) -> Vec<(Tone, String)> {
    let enabled = workflow.workflow_stages.iter().filter(|stage| stage.enabled());
    let jobs: usize = enabled.clone().map(|stage| stage.scripts.len()).sum();
    let off = workflow.workflow_stages.len() - enabled.count();
    let stages = match off {
        0 => workflow.workflow_stages.len().to_string(),
        off => format!("{} ({off} off)", workflow.workflow_stages.len()),
    };
    let schedule = workflow.schedule.clone().unwrap_or_default();
    let zone = workflow.schedule_timezone.as_ref().map(|zone| format!(" {zone}")).unwrap_or_default();
    vec![
        (Tone::Plain, workflow.workflow_id.clone()),
        (Tone::Plain, stages),
        (Tone::Plain, jobs.to_string()),
        (Tone::Plain, schedule + &zone),
        (Tone::Faint, workflow.workflow_description.clone().unwrap_or_default()),
    ]
}

/// How a file and a stored item differ.
pub(crate) enum Difference {
    /// They mean the same.
    None,
    /// The lines that differ, with three around them.
    Lines(String),
}

/// Compares what the stored item means with what the file means, so neither the order of keys nor YAML against JSON
/// is a difference. A stored item that is not valid is compared as it is.
pub(crate) fn difference(
    stored: Option<&Value>,
    file: &Workflow,
    names: &ParameterNames,
    screen: Screen,
) -> Difference {
    let old = match stored {
        Some(item) => pretty(&in_order(item, names)),
        None => String::new(),
    };
    let new = pretty(&plain(file));
    if old == new {
        return Difference::None;
    }
    Difference::Lines(lines(&old, &new, screen))
}

/// The lines in which two texts differ, with three around them.
pub(crate) fn lines(old: &str, new: &str, screen: Screen) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    for group in diff.grouped_ops(3) {
        if !text.is_empty() {
            text.push_str("...\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, tone) = match change.tag() {
                ChangeTag::Delete => ('-', Tone::Bad),
                ChangeTag::Insert => ('+', Tone::Good),
                ChangeTag::Equal => (' ', Tone::Plain),
            };
            let line = format!("{sign} {}", change.value().trim_end());
            text.push_str(&screen.paint(tone, line.trim_end()));
            text.push('\n');
        }
    }
    text
}

/// A stored item as JSON. DynamoDB keeps no order of keys: they come in that of the schema, or in their own where the
/// item is not valid.
pub(crate) fn in_order(item: &Value, names: &ParameterNames) -> Value {
    match validate::workflow(item.clone(), names) {
        Ok(workflow) => plain(&workflow),
        Err(_) => {
            let mut item = item.clone();
            item.sort_all_objects();
            item
        }
    }
}

/// The item as JSON; a workflow's members always serialize.
pub(crate) fn plain(workflow: &Workflow) -> Value {
    serde_json::to_value(workflow).unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FILE: &str = "
workflow_id: nightly
workflow_description: Loads the marts
schedule: cron(0 3 * * ? *)
schedule_timezone: Europe/Berlin
workflow_stages:
  - { execution_type: parallel, scripts: [a.sh, b.sh] }
  - { execution_type: sequential, execution_flag: n, scripts: [c.sh] }
";

    fn names() -> ParameterNames {
        ParameterNames::default()
    }

    #[test]
    fn items_are_lines() {
        let stored = validate::parse(FILE).unwrap();
        insta::assert_snapshot!(items(&[stored, json!({"workflow_id": "old"})], &names(), Screen::plain()));
    }

    #[test]
    fn members_come_in_one_order() {
        let item = validate::parse(
            "{\"workflow_stages\": [{\"scripts\": [\"a.sh\"], \"execution_type\": \"parallel\"}], \"workflow_id\": \"w\"}",
        );
        let text = in_order(&item.unwrap(), &names()).to_string();
        assert!(
            text.starts_with("{\"workflow_id\":\"w\",\"workflow_stages\":[{\"execution_flag\""),
            "{text}"
        );
        let wrong = in_order(&json!({"z": 1, "a": {"y": 1, "b": 2}}), &names()).to_string();
        assert_eq!(wrong, "{\"a\":{\"b\":2,\"y\":1},\"z\":1}");
    }

    #[test]
    fn only_what_is_meant_differs() {
        let file = validate::workflow_from_text(FILE).unwrap();
        let mut stored = validate::parse(FILE).unwrap();
        stored["workflow_stages"][0]["execution_flag"] = "y".into();
        assert!(matches!(difference(Some(&stored), &file, &names(), Screen::plain()), Difference::None));
        stored["workflow_stages"][0]["scripts"] = json!(["a.sh"]);
        stored["workflow_description"] = "Loads".into();
        let Difference::Lines(text) = difference(Some(&stored), &file, &names(), Screen::plain()) else {
            panic!("same")
        };
        insta::assert_snapshot!(text);
    }
}
