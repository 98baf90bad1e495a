//! Reading a definition's frame: the top level, and every map of states in it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::fields::Fields;
use super::issues::{Diagnostic, Issues};
use super::{Definition, State, StateName, reach, states};
use crate::asl::limits;

/// What reading states needs to know and to fill.
pub(super) struct Reader<'a> {
    pub(super) issues: &'a Issues,
    pub(super) states: HashMap<StateName, State>,
}

pub(super) fn definition(text: &str) -> Result<Definition, Vec<Diagnostic>> {
    let issues = Issues::default();
    let read = if text.len() > limits::DEFINITION_BYTES {
        issues.schema("", format!("The definition exceeds {} bytes", limits::DEFINITION_BYTES));
        None
    } else {
        match serde_json::from_str(text) {
            Ok(value) => top(&value, &issues),
            Err(error) => {
                issues.add("INVALID_JSON_DESCRIPTION", "", format!("The definition is not JSON: {error}"));
                None
            }
        }
    };
    let issues = issues.into_vec();
    match read {
        Some(definition) if issues.is_empty() => Ok(definition),
        _ => Err(issues),
    }
}

fn top(value: &Value, issues: &Issues) -> Option<Definition> {
    let fields = Fields::of(value, String::new(), issues)?;
    fields.text("Comment");
    if fields.text("Version").is_some_and(|version| version != "1.0") {
        fields.wrong("Version", "The only supported version is '1.0'");
    }
    let jsonata = is_jsonata(&fields, false);
    let timeout_seconds = fields.integer("TimeoutSeconds", 1..=limits::SECONDS);
    let mut reader = Reader { issues, states: HashMap::new() };
    let start_at = reader.states(&fields, jsonata);
    fields.done();
    Some(Definition { start_at: start_at?, states: reader.states, timeout_seconds })
}

/// Whether `QueryLanguage` here, or what holds around it, is JSONata.
pub(super) fn is_jsonata(fields: &Fields<'_>, around: bool) -> bool {
    match fields.text("QueryLanguage") {
        None => around,
        Some("JSONata") => true,
        Some("JSONPath") => false,
        Some(_) => {
            fields.wrong("QueryLanguage", "The value must be 'JSONata' or 'JSONPath'");
            true
        }
    }
}

impl Reader<'_> {
    /// Reads `StartAt` and `States`, adds the states, and says where to start.
    pub(super) fn states(&mut self, fields: &Fields<'_>, jsonata: bool) -> Option<StateName> {
        let start_at = fields.require("StartAt").and_then(|_| fields.text("StartAt"));
        let states = fields.require("States")?;
        let at = fields.at("States");
        let Value::Object(states) = states else {
            self.issues.schema(&at, "Expected value of type Object");
            return None;
        };
        if states.is_empty() {
            self.issues.schema(&at, "There must be at least one state");
            return None;
        }
        reach::check(start_at, states, fields);
        for (name, value) in states {
            let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            if name.is_empty() || name.chars().count() > limits::NAME_CHARS {
                self.issues.schema(&at, format!("A state's name has 1 to {} characters", limits::NAME_CHARS));
            }
            let name: StateName = Arc::from(name.as_str());
            if let Some(state) = states::read(self, &name, value, at.clone(), jsonata)
                && self.states.insert(name, state).is_some()
            {
                self.issues.add(
                    "DUPLICATE_STATE_NAME",
                    &at,
                    "A state's name must be unique in the definition",
                );
            }
        }
        Some(Arc::from(start_at?))
    }
}
