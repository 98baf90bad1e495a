//! A JSON document that travels through an execution.
//!
//! Inputs, outputs and variables are passed on far more often than they change, and some are big. A [`Payload`] is
//! shared, never copied; its text is made at most once; and it is written to the database at most once per
//! execution, however many events and rows mention it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::failure::Failure;
use super::limits;

/// A shared, immutable JSON document.
#[derive(Debug, Clone)]
pub(crate) struct Payload(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    value: Value,
    text: OnceLock<Box<str>>,
    /// The number of the database row that holds it, 0 while it has none.
    row: AtomicU32,
}

impl Payload {
    pub(crate) fn new(value: Value) -> Self {
        Self(Arc::new(Inner { value, text: OnceLock::new(), row: AtomicU32::new(0) }))
    }

    /// A document whose text came from a caller or from disk and is kept as it is.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let payload = Self::new(serde_json::from_str(text)?);
        let _ = payload.0.text.set(text.into());
        Ok(payload)
    }

    /// The same, remembered as row `row`.
    pub(crate) fn stored(text: &str, row: u32) -> Result<Self, serde_json::Error> {
        let payload = Self::parse(text)?;
        payload.0.row.store(row, Ordering::Relaxed);
        Ok(payload)
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0.value
    }

    pub(crate) fn text(&self) -> &str {
        self.0.text.get_or_init(|| self.0.value.to_string().into())
    }

    /// Refuses a document over the service's limit.
    pub(crate) fn within_limit(self, what: &str) -> Result<Self, Failure> {
        self.within_depth(what)?;
        if self.text().len() > limits::PAYLOAD_BYTES { Err(Failure::too_large(what)) } else { Ok(self) }
    }

    /// Refuses a document that could be written but not read again.
    pub(crate) fn within_depth(&self, what: &str) -> Result<(), Failure> {
        if nests_deeper(self.value(), limits::PAYLOAD_DEPTH) { Err(Failure::too_deep(what)) } else { Ok(()) }
    }

    /// The row that holds it, or the one `next` hands out and `true`: the caller must write it.
    pub(crate) fn row(&self, next: impl FnOnce() -> u32) -> (u32, bool) {
        match self.0.row.load(Ordering::Relaxed) {
            0 => {
                let row = next();
                self.0.row.store(row, Ordering::Relaxed);
                (row, true)
            }
            row => (row, false),
        }
    }
}

fn nests_deeper(value: &Value, levels: usize) -> bool {
    let deeper = |inner: &Value| nests_deeper(inner, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(deeper),
        Value::Object(fields) => levels == 0 || fields.values().any(deeper),
        _ => false,
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_the_depth_can_be_read_again() {
        let nested = |levels: usize| {
            (0..levels).fold(Value::Null, |inner, level| match level % 2 {
                0 => Value::Array(vec![inner]),
                _ => serde_json::json!({ "a": inner }),
            })
        };
        let deepest = Payload::new(nested(limits::PAYLOAD_DEPTH)).within_limit("it").unwrap();
        Payload::parse(deepest.text()).unwrap();
        for levels in [limits::PAYLOAD_DEPTH + 1, 1_000] {
            assert!(Payload::new(nested(levels)).within_limit("it").is_err());
        }
    }
}
