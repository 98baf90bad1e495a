//! What the stream itself says about events that are not in it.

use std::path::Path;

/// The longest reason of the service that is quoted, in bytes.
const WHY_MAX: usize = 500;

/// Events that the service did not take.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Older than the service takes.
    pub too_old: usize,
    /// Older than the log group keeps.
    pub expired: usize,
    /// Of a time that has not come yet.
    pub too_new: usize,
    /// Refused for what they are, and the service's last word on that.
    pub refused: usize,
    pub why: String,
}

impl Missing {
    pub(crate) fn count(&self) -> usize {
        self.too_old + self.expired + self.too_new + self.refused
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.too_old += more.too_old;
        self.expired += more.expired;
        self.too_new += more.too_new;
        self.refused += more.refused;
        if more.refused > 0 {
            self.why = more.why;
        }
    }

    /// The line in the stream.
    pub(crate) fn text(&self, host: &str, path: &Path) -> String {
        let refused = format!("refused: {}", self.why.get(..WHY_MAX).unwrap_or(&self.why));
        let reasons: Vec<String> = [
            (self.too_old, "too old"),
            (self.expired, "older than the log group keeps"),
            (self.too_new, "from the future: compare the host's clock"),
            (self.refused, &refused),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{} {reason}", grouped(*count as u64)))
        .collect();
        format!(
            "[rsqlflow: CloudWatch Logs did not take {} of the log events before this one ({}); all of the output is \
             on host {host} in {}]",
            grouped(self.count() as u64),
            reasons.join(", "),
            path.display()
        )
    }
}

/// The line before a log that is shipped anew because its file of marks is not there any more.
pub(crate) const AGAIN: &str =
    "[rsqlflow: the agent has lost its notes of how far this log was shipped; lines above may come again]";

/// The line before events that carry the service's time because it did not take the host's.
pub(crate) const REDATED: &str = "[rsqlflow: CloudWatch Logs does not take the times of this host's clock; from here on lines \
     have its own time. Compare the host's clock: it is wrong, or was set back]";

/// Why the rest of a log is not shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// It is more than is wanted.
    Limit,
    /// It may show a password that nobody can tell any more.
    NoSecret(String),
    /// It cannot be read.
    Unreadable(String),
}

impl std::fmt::Display for Withheld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limit => f.write_str("log_limit_bytes"),
            Self::NoSecret(id) => {
                write!(
                    f,
                    "they may show the password of secret {id}, which is not there any more to be masked"
                )
            }
            Self::Unreadable(error) => write!(f, "the file cannot be read: {error}"),
        }
    }
}

/// The line that ends a stream whose file is longer than is shipped.
pub(crate) fn not_shipped(bytes: u64, why: &Withheld, host: &str, path: &Path) -> String {
    format!(
        "[rsqlflow: {} more bytes are not shipped ({why}); all of it is on host {host} in {}]",
        grouped(bytes),
        path.display()
    )
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_counted_with_its_reasons() {
        let mut missing = Missing { too_old: 1, ..Missing::default() };
        missing.add(Missing { too_old: 1200, refused: 1, why: "no such thing".into(), ..Missing::default() });
        assert_eq!(
            missing.text("i-1", Path::new("/logs/1.log")),
            "[rsqlflow: CloudWatch Logs did not take 1,202 of the log events before this one (1,201 too old, \
             1 refused: no such thing); all of the output is on host i-1 in /logs/1.log]"
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 52_166_656].map(grouped), ["0", "999", "1,000", "52,166,656"]);
    }
}
