//! Between the documents of an execution and the evaluator's values.
//!
//! The evaluator's numbers are IEEE doubles, as in JSONata itself: integers beyond 2^53 lose digits there.

use std::cell::RefCell;
use std::collections::VecDeque;

use jsonata_core::value::JValue;
use serde_json::{Map, Number, Value};

use super::demand::Demand;
use crate::asl::payload::Payload;
use crate::asl::scope::Scope;
use crate::clock::rfc3339 as iso;

/// How many converted values each thread keeps, and from how many nodes on it is worth it.
const KEPT: usize = 8;
const WORTH_KEEPING: usize = 64;

thread_local! {
    /// Large values converted lately, found by address; holding the payload keeps the address taken.
    static LATELY: RefCell<VecDeque<(Payload, *const Value, JValue)>> = const { RefCell::new(VecDeque::new()) };
}

/// What `demand` asks for of a payload.
pub(super) fn payload(payload: &Payload, demand: &Demand) -> JValue {
    part(payload, payload.value(), demand)
}

fn part(holder: &Payload, value: &Value, demand: &Demand) -> JValue {
    if demand.whole {
        return whole(holder, value);
    }
    match value {
        Value::Object(fields) => JValue::object(
            demand
                .fields
                .iter()
                .filter_map(|(name, demand)| Some((name.clone(), part(holder, fields.get(name)?, demand))))
                .collect(),
        ),
        // A path maps over an array: every item gives its fields.
        Value::Array(items) => JValue::array(items.iter().map(|item| part(holder, item, demand)).collect()),
        scalar => JValue::from(scalar.clone()),
    }
}

fn whole(holder: &Payload, value: &Value) -> JValue {
    if !value.is_array() && !value.is_object() {
        return JValue::from(value.clone());
    }
    let address: *const Value = value;
    let known = LATELY.with_borrow(|lately| {
        lately.iter().find(|(_, of, _)| *of == address).map(|(_, _, converted)| converted.clone())
    });
    if let Some(converted) = known {
        return converted;
    }
    let converted = JValue::from(value.clone());
    if larger_than(value, &mut { WORTH_KEEPING }) {
        LATELY.with_borrow_mut(|lately| {
            lately.push_front((holder.clone(), address, converted.clone()));
            lately.truncate(KEPT);
        });
    }
    converted
}

fn larger_than(value: &Value, budget: &mut usize) -> bool {
    let Some(left) = budget.checked_sub(1) else { return true };
    *budget = left;
    match value {
        Value::Array(items) => items.iter().any(|item| larger_than(item, budget)),
        Value::Object(fields) => fields.values().any(|field| larger_than(field, budget)),
        _ => false,
    }
}

/// The part of `$states` that `demand` asks for.
pub(super) fn states(scope: &Scope<'_>, demand: &Demand) -> JValue {
    let mut states = Fields::new(demand);
    states.add("input", |demand| Some(payload(scope.input, demand)));
    states.add("result", |demand| Some(payload(scope.result?, demand)));
    states.add("errorOutput", |demand| Some(payload(scope.error_output?, demand)));
    states.add("context", |demand| Some(context(scope, demand)));
    states.done()
}

fn context(scope: &Scope<'_>, demand: &Demand) -> JValue {
    let from = scope.context;
    let mut context = Fields::new(demand);
    context.add("Execution", |demand| {
        let mut execution = Fields::new(demand);
        execution.text("Id", &from.execution.arn);
        execution.add("Input", |demand| Some(payload(&from.execution.input, demand)));
        execution.text("Name", &from.execution.name);
        execution.text("RoleArn", &from.execution.role_arn);
        execution.text("StartTime", &iso(from.execution.started_ms));
        execution.add("RedriveCount", |_| Some(JValue::from(0_i64)));
        Some(execution.done())
    });
    context.add("StateMachine", |demand| {
        let mut machine = Fields::new(demand);
        machine.text("Id", &from.execution.machine_arn);
        machine.text("Name", &from.execution.machine_name);
        Some(machine.done())
    });
    context.add("State", |demand| {
        let mut state = Fields::new(demand);
        state.text("Name", from.state);
        state.text("EnteredTime", &iso(from.entered_ms));
        state.add("RetryCount", |_| Some(JValue::from(u64::from(from.retry_count))));
        Some(state.done())
    });
    context.add("Task", |demand| {
        let mut task = Fields::new(demand);
        task.text("Token", from.token?);
        Some(task.done())
    });
    context.add("Map", |demand| {
        let item = from.item.as_ref()?;
        let mut map = Fields::new(demand);
        map.add("Item", |demand| {
            let mut fields = Fields::new(demand);
            fields.add("Index", |_| Some(JValue::from(u64::from(item.index))));
            fields.add("Key", |_| item.key().map(JValue::from));
            fields.add("Value", |demand| Some(part(&item.items, item.value()?, demand)));
            Some(fields.done())
        });
        Some(map.done())
    });
    context.done()
}

/// An object of which only demanded fields are made.
struct Fields<'a> {
    demand: &'a Demand,
    made: Vec<(String, JValue)>,
}

impl<'a> Fields<'a> {
    fn new(demand: &'a Demand) -> Self {
        Self { demand, made: Vec::new() }
    }

    fn add(&mut self, name: &str, make: impl FnOnce(&Demand) -> Option<JValue>) {
        if let Some(value) = self.demand.field(name).and_then(make) {
            self.made.push((name.to_owned(), value));
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.add(name, |_| Some(JValue::from(text)));
    }

    fn done(self) -> JValue {
        JValue::object(self.made.into_iter().collect())
    }
}

/// The JSON form; `None` for a function, which has none.
pub(super) fn json(value: &JValue) -> Option<Value> {
    Some(match value {
        JValue::Null | JValue::Undefined => Value::Null,
        JValue::Bool(truth) => Value::Bool(*truth),
        JValue::Number(number) => number_json(*number),
        JValue::String(text) => Value::String(text.to_string()),
        JValue::Array(items) => Value::Array(items.iter().map(json).collect::<Option<_>>()?),
        JValue::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| Some((name.clone(), json(field)?)))
                .collect::<Option<Map<_, _>>>()?,
        ),
        _ => return None,
    })
}

/// Integers are written as integers, as JavaScript does.
fn number_json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
