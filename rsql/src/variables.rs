//! The variables of a script: what `-v` and `\set` put there, and what each statement leaves behind.
//!
//! Names are case-sensitive, as in psql. The status variables start out as after a success, so that
//! a script may test them before its first statement.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexer::Lookup;
use crate::wire::ServerMessage;

/// SQLSTATE of a success.
pub const SUCCESS: &str = "00000";

/// All variables.
#[derive(Debug)]
pub struct Variables {
    values: BTreeMap<String, String>,
    /// Those whose values came with the job.
    given: BTreeSet<String>,
}

impl Default for Variables {
    fn default() -> Self {
        let mut variables = Self { values: BTreeMap::new(), given: BTreeSet::new() };
        variables.set("LAST_ERROR_MESSAGE", "");
        variables.set("LAST_ERROR_SQLSTATE", SUCCESS);
        variables.set("VERSION", concat!("rsql ", env!("CARGO_PKG_VERSION")));
        variables.record_success(0, 0);
        variables
    }
}

impl Lookup for Variables {
    fn lookup(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }
}

impl Variables {
    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.given.remove(name);
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets a variable to a value that came with the job, or was made of one.
    pub fn set_given(&mut self, name: &str, value: impl Into<String>) {
        self.set(name, value);
        self.given.insert(name.to_owned());
    }

    /// Forgets one.
    pub fn unset(&mut self, name: &str) {
        self.given.remove(name);
        self.values.remove(name);
    }

    /// Name and value of all, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Is the variable set to a truth word that means yes? An empty value counts as yes for
    /// switches such as `ON_ERROR_STOP`, as in psql's `\set ON_ERROR_STOP`.
    pub fn is_on(&self, name: &str) -> bool {
        self.lookup(name).is_some_and(|value| value.is_empty() || truth(value) == Some(true))
    }

    /// After a success. `activity` counts rows affected or returned, `affected` leaves out the rows
    /// that SELECT, COPY and UNLOAD moved, which is how RSQL defines `ROW_COUNT`.
    pub fn record_success(&mut self, activity: u64, affected: u64) {
        self.set("ERROR", "0");
        self.set("ERRORCODE", SUCCESS);
        self.set("SQLSTATE", SUCCESS);
        self.set("ACTIVITYCOUNT", activity.to_string());
        self.set("ROW_COUNT", affected.to_string());
    }

    /// After a failure.
    pub fn record_error(&mut self, error: &ServerMessage) {
        self.set("ERROR", "1");
        self.set("ACTIVITYCOUNT", "0");
        self.set("ROW_COUNT", "0");
        for name in ["ERRORCODE", "SQLSTATE", "LAST_ERROR_SQLSTATE"] {
            self.set(name, error.code.clone());
        }
        self.set("LAST_ERROR_MESSAGE", error.message.clone());
    }
}

/// psql's truth words: true, false, yes, no and their beginnings, on, off, 1, 0.
pub fn truth(word: &str) -> Option<bool> {
    let word = word.to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Some(false)
    } else {
        None
    }
}

/// May this be a variable's name?
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(crate::lexer::is_word)
}
