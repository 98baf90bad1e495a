//! Values with expressions in them, and the door every query language comes in by.
//!
//! A template is what stands in `Arguments`, `Output`, `Condition` and so on: JSON in which some strings are
//! expressions. Which strings, and in which language, is decided while the definition is read; the interpreter only
//! asks a template for its value. JSONPath would be a second variant of [`Query`] and a second way to read.

use serde_json::{Map, Value};

use crate::asl::jsonata;
use crate::asl::scope::Scope;

/// JSON with expressions in it.
#[derive(Debug)]
pub(crate) enum Template {
    Literal(Value),
    Query(Query),
    Array(Vec<Template>),
    Object(Vec<(String, Template)>),
}

/// One expression, in whichever language the state uses.
#[derive(Debug)]
pub(crate) enum Query {
    Jsonata(jsonata::Expression),
}

/// An expression that did not give a usable value.
#[derive(Debug)]
pub(crate) struct QueryError {
    /// The field of the state, with the way into it, for instance `Arguments/Parameters/Job`.
    pub(crate) field: String,
    /// A sentence naming the expression, the field and what happened.
    pub(crate) message: String,
}

impl QueryError {
    /// The top-level field, which the `EvaluationFailed` event calls the location.
    pub(crate) fn location(&self) -> &str {
        self.field.split('/').next().unwrap_or_default()
    }
}

impl Template {
    /// Reads `value` as JSONata does: a string `{% ... %}` is an expression. Problems go to `problem`, with the way
    /// to them.
    pub(crate) fn jsonata(value: &Value, at: &str, problem: &mut dyn FnMut(&str, String)) -> Self {
        match value {
            Value::String(text) => match text.strip_prefix("{%").and_then(|rest| rest.strip_suffix("%}")) {
                Some(source) => match jsonata::Expression::parse(source) {
                    Ok(expression) => Self::Query(Query::Jsonata(expression)),
                    Err(error) => {
                        problem(at, format!("Invalid JSONata expression: {error}"));
                        Self::Literal(Value::Null)
                    }
                },
                None => Self::Literal(value.clone()),
            },
            Value::Array(items) => {
                let parts: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Self::jsonata(item, &format!("{at}/{index}"), problem))
                    .collect();
                if parts.iter().all(Self::is_literal) {
                    Self::Literal(value.clone())
                } else {
                    Self::Array(parts)
                }
            }
            Value::Object(fields) => {
                let parts: Vec<_> = fields
                    .iter()
                    .map(|(name, field)| {
                        (name.clone(), Self::jsonata(field, &format!("{at}/{name}"), problem))
                    })
                    .collect();
                if parts.iter().all(|(_, part)| part.is_literal()) {
                    Self::Literal(value.clone())
                } else {
                    Self::Object(parts)
                }
            }
            scalar => Self::Literal(scalar.clone()),
        }
    }

    pub(crate) fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    pub(crate) fn literal(&self) -> Option<&Value> {
        match self {
            Self::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The value; `field` is the state's field this template stands in.
    pub(crate) fn evaluate(&self, scope: &Scope<'_>, field: &str) -> Result<Value, QueryError> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Query(query) => query.evaluate(scope, field)?,
            Self::Array(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| item.evaluate(scope, &format!("{field}/{index}")))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, value)| {
                        Ok((name.clone(), value.evaluate(scope, &format!("{field}/{name}"))?))
                    })
                    .collect::<Result<Map<_, _>, _>>()?,
            ),
        })
    }

    /// The value, which `wanted` must accept; `expected` is the type's name for the error.
    pub(crate) fn evaluate_as<T>(
        &self,
        scope: &Scope<'_>,
        field: &str,
        expected: &str,
        wanted: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, QueryError> {
        let value = self.evaluate(scope, field)?;
        wanted(&value).ok_or_else(|| QueryError {
            field: field.to_owned(),
            message: format!(
                "The {} specified for the field '{field}' returned an unexpected result type. Expected \
                 '{expected}', but was '{}' for value: {}",
                self.describe(),
                type_name(&value),
                brief(&value),
            ),
        })
    }

    fn describe(&self) -> String {
        match self {
            Self::Query(query) => query.describe(),
            _ => "value".into(),
        }
    }
}

impl Query {
    fn evaluate(&self, scope: &Scope<'_>, field: &str) -> Result<Value, QueryError> {
        match self {
            Self::Jsonata(expression) => expression.evaluate(scope).map_err(|problem| QueryError {
                field: field.to_owned(),
                message: format!("The {} specified for the field '{field}' {problem}", self.describe()),
            }),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Jsonata(expression) => format!("JSONata expression '{}'", expression.source()),
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Enough of a value to recognise it.
fn brief(value: &Value) -> String {
    const CHARS: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(CHARS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
