//! What an expression can see: `$states`, the variables, the time.
//!
//! It is a set of borrowed views, made anew for each evaluation and cheap to make; nothing is converted or copied
//! until an expression asks for it. It knows no query language.

use serde_json::Value;

use super::payload::Payload;

/// Looks a variable up in the state's scope and the scopes around it.
pub(crate) type Variables<'a> = dyn Fn(&str) -> Option<Payload> + 'a;

/// Everything visible at one moment of one state.
pub(crate) struct Scope<'a> {
    pub(crate) input: &'a Payload,
    pub(crate) result: Option<&'a Payload>,
    pub(crate) error_output: Option<&'a Payload>,
    pub(crate) context: &'a ContextObject<'a>,
    pub(crate) variables: &'a Variables<'a>,
    pub(crate) now_ms: i64,
    /// Fixes what `$random()` and `$uuid()` give.
    pub(crate) seed: u64,
}

/// The context object
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html>).
pub(crate) struct ContextObject<'a> {
    pub(crate) execution: &'a ExecutionFacts,
    pub(crate) state: &'a str,
    pub(crate) entered_ms: i64,
    pub(crate) retry_count: u32,
    pub(crate) token: Option<&'a str>,
    pub(crate) item: Option<Item>,
}

/// What never changes about an execution.
#[derive(Debug, Clone)]
pub(crate) struct ExecutionFacts {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) role_arn: String,
    pub(crate) started_ms: i64,
    pub(crate) input: Payload,
    pub(crate) machine_arn: String,
    pub(crate) machine_name: String,
}

/// The item of a Map's iteration: a place in its items.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) items: Payload,
    pub(crate) index: u32,
}

impl Item {
    /// The item, or the value when the Map runs over an object's fields.
    pub(crate) fn value(&self) -> Option<&Value> {
        match self.items.value() {
            Value::Array(items) => items.get(self.index as usize),
            Value::Object(fields) => fields.values().nth(self.index as usize),
            _ => None,
        }
    }

    /// The field's name when the Map runs over an object.
    pub(crate) fn key(&self) -> Option<&str> {
        self.items.value().as_object()?.keys().nth(self.index as usize).map(String::as_str)
    }

    /// The iteration's input when there is no `ItemSelector`.
    pub(crate) fn input(&self) -> Value {
        let value = self.value().cloned().unwrap_or_default();
        match self.key() {
            None => value,
            Some(key) => serde_json::json!({ "Key": key, "Value": value }),
        }
    }
}
