//! The plain `aws` command line against the endpoint of an `rsqlflow up`.

use serde_json::Value;

use crate::up::Up;

/// Runs `aws ... --output json` and gives what it printed.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn aws(up: &Up<'_>, arguments: &str) -> Value {
    let ran = up.shell(&format!("aws {arguments} --output json")).expect(0);
    if ran.stdout.trim().is_empty() { Value::Null } else { ran.json() }
}

/// A DynamoDB item without its type marks.
pub fn plain(item: &Value) -> Value {
    let Some(map) = item.as_object() else { return Value::Null };
    Value::Object(map.iter().map(|(name, value)| (name.clone(), plain_value(value))).collect())
}

fn plain_value(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|map| map.iter().next()) else { return Value::Null };
    match kind.as_str() {
        "L" => value.as_array().into_iter().flatten().map(plain_value).collect(),
        "M" => plain(value),
        "N" => value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
        "NULL" => Value::Null,
        _ => value.clone(),
    }
}
