//! Reading one JSON object of a definition: every field by name and type, and at the end what nobody asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::issues::Issues;
use super::template::Template;

/// An object with its place in the definition.
pub(super) struct Fields<'a> {
    pub(super) at: String,
    fields: &'a Map<String, Value>,
    pub(super) issues: &'a Issues,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    /// `None`, and an issue, when `value` is no object.
    pub(super) fn of(value: &'a Value, at: String, issues: &'a Issues) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self { at, fields, issues, asked: RefCell::default() }),
            other => {
                issues.schema(&at, format!("Expected value of type Object, but found {}", kind(other)));
                None
            }
        }
    }

    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{}", self.at, name.replace('~', "~0").replace('/', "~1"))
    }

    pub(super) fn wrong(&self, name: &str, message: impl Into<String>) {
        self.issues.schema(&self.at(name), message);
    }

    pub(super) fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.fields.get(name)
    }

    pub(super) fn require(&self, name: &'static str) -> Option<&'a Value> {
        let value = self.get(name);
        if value.is_none() {
            self.issues.schema(&self.at, format!("The field '{name}' is required but was missing"));
        }
        value
    }

    fn typed<T>(
        &self,
        name: &'static str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(name, format!("Expected value of type {expected}, but found {}", kind(value)));
        }
        read
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&'a str> {
        self.typed(name, "String", Value::as_str)
    }

    pub(super) fn truth(&self, name: &'static str) -> Option<bool> {
        self.typed(name, "Boolean", Value::as_bool)
    }

    pub(super) fn list(&self, name: &'static str) -> Option<&'a Vec<Value>> {
        self.typed(name, "Array", Value::as_array)
    }

    pub(super) fn number(&self, name: &'static str) -> Option<f64> {
        self.typed(name, "Number", Value::as_f64)
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(name)?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(name, format!("Expected an integer from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// Anything, with expressions in it.
    pub(super) fn template(&self, name: &'static str) -> Option<Template> {
        self.get(name).map(|value| self.read_template(value, &self.at(name)))
    }

    pub(super) fn read_template(&self, value: &Value, at: &str) -> Template {
        Template::jsonata(value, at, &mut |at, message| self.issues.schema(at, message))
    }

    /// A value that `fits` accepts, or an expression for one.
    pub(super) fn template_for(
        &self,
        name: &'static str,
        expected: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Option<Template> {
        let template = self.template(name)?;
        if let Some(value) = template.literal()
            && !fits(value)
        {
            self.wrong(
                name,
                format!("Expected {expected} or a JSONata expression, but found {}", kind(value)),
            );
        }
        Some(template)
    }

    /// A whole number within `range`, or an expression for one.
    pub(super) fn integer_template(
        &self,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<Template> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        self.template_for(name, &expected, |value| {
            value.as_u64().is_some_and(|number| range.contains(&number))
        })
    }

    /// Reports what was never asked for.
    pub(super) fn done(self) {
        let asked = self.asked.borrow();
        for name in self.fields.keys().filter(|name| !asked.contains(name.as_str())) {
            self.wrong(name, format!("Field '{name}' is not supported here"));
        }
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "Null",
        Value::Bool(_) => "Boolean",
        Value::Number(_) => "Number",
        Value::String(_) => "String",
        Value::Array(_) => "Array",
        Value::Object(_) => "Object",
    }
}
