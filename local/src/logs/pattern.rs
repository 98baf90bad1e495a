//! Filter patterns for unstructured text
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>).
//!
//! Terms and quoted phrases must all occur, `-term` must not, and of the `?term`s one must. Case counts.
//! JSON (`{...}`), column (`[...]`) and regular expression (`%...%`) patterns are refused rather than misread.

use crate::service::AwsError;

use super::invalid;

/// "A filter pattern can have at most 1,024 characters"
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>).
const MAX_PATTERN: usize = 1_024;

/// A pattern; the default one matches everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, AwsError> {
        let text = text.trim();
        if text.chars().count() > MAX_PATTERN {
            return Err(invalid("The filter pattern has more than 1024 characters."));
        }
        if text.starts_with(['{', '[', '%']) {
            return Err(invalid(
                "The embedded default knows terms in filter patterns, not JSON, column or regular expression patterns.",
            ));
        }
        let mut pattern = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let kind = match first {
                '?' => &mut pattern.any,
                '-' => &mut pattern.none,
                _ => &mut pattern.all,
            };
            let body = rest.strip_prefix(['?', '-']).unwrap_or(rest);
            let (term, after) = match body.strip_prefix('"') {
                Some(quoted) => quoted
                    .split_once('"')
                    .ok_or_else(|| invalid("Invalid filter pattern: a quote is not closed."))?,
                None => body.split_once(char::is_whitespace).unwrap_or((body, "")),
            };
            if !term.is_empty() {
                kind.push(term.to_owned());
            }
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        self.all.iter().all(|term| message.contains(term))
            && !self.none.iter().any(|term| message.contains(term))
            && (self.any.is_empty() || self.any.iter().any(|term| message.contains(term)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, message: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(message)
    }

    #[test]
    fn terms_phrases_exclusions_and_alternatives() {
        assert!(matches("", "anything"));
        assert!(matches("ERROR load", "a load had an ERROR"));
        assert!(!matches("ERROR load", "an error in the load"));
        assert!(matches("\"table t\" -WARN", "table t is there"));
        assert!(!matches("\"table t\" -WARN", "WARN table t"));
        assert!(matches("?a1 ?b2", "has b2"));
        assert!(!matches("?a1 ?b2", "has neither"));
        assert!(matches("-\"not this\"", "but that"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for pattern in ["{ $.a = 1 }", "[a, b]", "%x%", "\"open"] {
            assert_eq!(Pattern::parse(pattern).unwrap_err().code, "InvalidParameterException", "{pattern}");
        }
    }
}
