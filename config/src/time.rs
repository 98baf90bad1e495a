//! One time format everywhere: RFC 3339, UTC, milliseconds. It sorts as text, which the audit indexes rely on.

use chrono::{DateTime, SecondsFormat, Utc};

/// The time as every record, log and page writes it, for instance `2026-11-21T03:00:00.000Z`.
pub fn format(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A time in milliseconds since 1970, formatted.
pub fn of_millis(millis: i64) -> String {
    format(DateTime::from_timestamp_millis(millis).unwrap_or_default())
}

/// The current time, formatted.
pub fn now() -> String {
    format(Utc::now())
}

/// Reads a time that [`format`] wrote; any RFC 3339 time will do.
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}
