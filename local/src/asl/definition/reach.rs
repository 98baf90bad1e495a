//! Transitions: every target exists, every state can be reached, and there is a way to end.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields::Fields;

/// Checks one map of states; states of nested ones are checked by their own call.
pub(super) fn check(start_at: Option<&str>, states: &Map<String, Value>, around: &Fields<'_>) {
    let at = around.at("States");
    let Some(start_at) = start_at else { return };
    if !states.contains_key(start_at) {
        around.issues.target(&around.at("StartAt"), format!("Missing 'StartAt' target: {start_at}"));
        return;
    }
    let mut reached = BTreeSet::from([start_at]);
    let mut ahead = vec![start_at];
    while let Some(name) = ahead.pop() {
        let Some(state) = states.get(name) else { continue };
        for (_, target) in targets(state) {
            if states.contains_key(target) && reached.insert(target) {
                ahead.push(target);
            }
        }
    }
    let mut can_end = false;
    for (name, state) in states {
        let at = format!("{at}/{name}");
        let targets = targets(state);
        // A state that leads nowhere is reported as such, not as the lack of an end.
        can_end |= targets.is_empty();
        for (place, target) in targets {
            if !states.contains_key(target) {
                can_end = true;
                let field = place.rsplit('/').next().unwrap_or_default();
                around.issues.target(&format!("{at}/{place}"), format!("Missing '{field}' target: {target}"));
            }
        }
        if !reached.contains(name.as_str()) {
            around.issues.target(&at, format!("State \"{name}\" is not reachable."));
        }
        can_end |= state.get("End").is_some_and(|end| *end == Value::Bool(true))
            || matches!(state.get("Type").and_then(Value::as_str), Some("Succeed" | "Fail"));
    }
    if !can_end {
        around.issues.schema(&at, "There must be at least one terminal state: End, Succeed or Fail");
    }
}

/// Every transition a state can make, with the field that names it.
fn targets(state: &Value) -> Vec<(String, &str)> {
    let mut targets = Vec::new();
    for field in ["Next", "Default"] {
        if let Some(target) = state.get(field).and_then(Value::as_str) {
            targets.push((field.to_owned(), target));
        }
    }
    for field in ["Choices", "Catch"] {
        for (index, entry) in state.get(field).and_then(Value::as_array).into_iter().flatten().enumerate() {
            if let Some(target) = entry.get("Next").and_then(Value::as_str) {
                targets.push((format!("{field}/{index}/Next"), target));
            }
        }
    }
    targets
}
