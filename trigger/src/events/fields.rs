//! The members of an event, read one by one.
//!
//! Serde would do it in fewer lines, and its words are those of a library ("invalid type: integer `1`, expected a
//! string"): they stop at the first mistake and do not name the member. Whoever wrote the event needs its name, what is
//! there, and what to write, of every mistake at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Longest part of a wrong value in a message.
const SHOWN_MAX: usize = 60;

/// Members that are taken out as they are read, and what was wrong with them.
pub(super) struct Fields {
    /// Put before names: `detail.` for the detail of EventBridge's events.
    prefix: &'static str,
    members: Map<String, Value>,
    problems: Vec<String>,
}

impl Fields {
    pub(super) fn new(prefix: &'static str, members: Map<String, Value>) -> Self {
        Self { prefix, members, problems: vec![] }
    }

    /// A member that is not there and one that is null are the same.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(format!("{}{name} {what}", self.prefix));
    }

    /// Text that may be missing.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                self.problem(name, &format!("is {}, and has to be text", shown(&other)));
                None
            }
        }
    }

    /// Text that has to be there, and of which `problem` says what is wrong; `what` says what to write.
    pub(super) fn needed(
        &mut self,
        name: &str,
        what: &str,
        problem: impl FnOnce(&str) -> Option<String>,
    ) -> String {
        if self.members.get(name).is_none_or(Value::is_null) {
            self.problem(name, &format!("is missing: {what}"));
        }
        let problem = |text: &str| match text {
            "" => Some(format!("is empty: {what}")),
            text => problem(text),
        };
        let Some(text) = self.text(name) else { return String::new() };
        if let Some(problem) = problem(&text) {
            self.problem(name, &problem);
        }
        text
    }

    /// A whole number that may be missing.
    pub(super) fn number(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        let number = value.as_i64();
        if number.is_none() {
            self.problem(name, &format!("is {}, and has to be a whole number", shown(&value)));
        }
        number
    }

    /// An object whose members are text, and which may be missing.
    pub(super) fn texts(&mut self, name: &str) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        match self.take(name) {
            None => {}
            Some(Value::Object(members)) => {
                for (key, value) in members {
                    let path = format!("{name}.{}", cut(&key));
                    match value {
                        Value::String(text) => drop(texts.insert(key, text)),
                        Value::Number(_) | Value::Bool(_) => {
                            let text = Value::String(value.to_string());
                            let what = format!("is {}, and has to be text: write {text}", shown(&value));
                            self.problem(&path, &what);
                        }
                        value => self.problem(&path, &format!("is {}, and has to be text", shown(&value))),
                    }
                }
            }
            Some(other) => {
                let what = format!(
                    "is {}, and has to be an object of names and texts, for instance {{\"run_date\": \"2026-11-21\"}}",
                    shown(&other)
                );
                self.problem(name, &what);
            }
        }
        texts
    }

    /// A flag; one that is missing is false.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.problem(name, &format!("is {}, and has to be true or false", shown(&other)));
                false
            }
        }
    }

    /// A list of texts that may be missing.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let items = match self.take(name) {
            None => vec![],
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(name, &format!("is {}, and has to be a list of texts", shown(&other)));
                vec![]
            }
        };
        let mut texts = vec![];
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    let path = format!("{name}[{index}]");
                    self.problem(&path, &format!("is {}, and has to be text", shown(&other)));
                }
            }
        }
        texts
    }

    /// An object, of which `read` reads the members, and which may be missing.
    pub(super) fn object<T>(
        &mut self,
        name: &str,
        prefix: &'static str,
        read: impl FnOnce(Fields) -> (T, Vec<String>),
    ) -> Option<T> {
        match self.take(name)? {
            Value::Object(members) => {
                let (object, problems) = read(Self::new(prefix, members));
                self.problems.extend(problems);
                Some(object)
            }
            other => {
                self.problem(name, &format!("is {}, and has to be an object", shown(&other)));
                None
            }
        }
    }

    /// What is wrong, with every member that nothing is known of; `known` are those there could have been.
    pub(super) fn finish(mut self, known: &[&str]) -> Vec<String> {
        for name in std::mem::take(&mut self.members).keys().filter(|name| !known.contains(&name.as_str())) {
            let near = known.iter().map(|known| (strsim::damerau_levenshtein(known, name), known));
            let near = near.filter(|(distance, known)| *distance <= 1 + known.len() / 3).min();
            let meant = near.map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default();
            self.problem(&cut(name), &format!("is not known here{meant}"));
        }
        self.problems
    }

    /// What is wrong, where members that nothing is known of may be there.
    pub(super) fn lenient(self) -> Vec<String> {
        self.problems
    }
}

/// A wrong value, for a message.
pub(super) fn shown(value: &Value) -> String {
    let kind = match value {
        Value::Null | Value::Bool(_) => return value.to_string(),
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => return "a list".into(),
        Value::Object(_) => return "an object".into(),
    };
    format!("{kind} ({})", cut(&value.to_string()))
}

/// The beginning of what may be long.
pub(super) fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN_MAX {
        return text.escape_debug().collect::<String>().replace("\\\"", "\"").replace("\\'", "'");
    }
    cut(&text.chars().take(SHOWN_MAX).collect::<String>()) + "..."
}
