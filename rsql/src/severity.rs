//! Severities: BTEQ's way to say how bad an error is, kept by RSQL.
//!
//! `\rset errorlevel SQLSTATE severity N` gives a code its severity, `\rset maxerror N` ends the
//! script at the first statement whose severity is greater than N. Unlisted errors weigh 8, as in
//! BTEQ (<https://docs.aws.amazon.com/redshift/latest/mgmt/rsql-query-tool-variables.html>).

use std::collections::HashMap;

/// The severity of an error that has none of its own.
pub const DEFAULT_SEVERITY: u8 = 8;

/// The severity table and what it has seen.
#[derive(Debug, Default)]
pub struct Severities {
    levels: HashMap<String, u8>,
    limit: Option<u8>,
    highest: u8,
}

impl Severities {
    /// Gives `sqlstate` a severity.
    pub fn set_level(&mut self, sqlstate: &str, severity: u8) {
        self.levels.insert(sqlstate.to_ascii_uppercase(), severity);
    }

    /// Sets the limit; `None` is RSQL's default, no limit.
    pub fn set_limit(&mut self, limit: Option<u8>) {
        self.limit = limit;
    }

    /// Takes note of an error. Returns its severity if it is over the limit.
    pub fn record(&mut self, sqlstate: &str) -> Option<u8> {
        let severity = self.levels.get(sqlstate).copied().unwrap_or(DEFAULT_SEVERITY);
        self.highest = self.highest.max(severity);
        self.limit.is_some_and(|limit| severity > limit).then_some(severity)
    }

    /// The highest severity so far.
    pub fn highest(&self) -> u8 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_greater_than_the_limit_ends_a_script() {
        let mut severities = Severities::default();
        assert_eq!(severities.record("42P01"), None);
        severities.set_limit(Some(8));
        assert_eq!(severities.record("42P01"), None);
        severities.set_limit(Some(7));
        assert_eq!(severities.record("42P01"), Some(8));
        severities.set_level("42p01", 0);
        assert_eq!(severities.record("42P01"), None);
        assert_eq!(severities.highest(), 8);
    }
}
