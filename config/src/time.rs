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

/// The current time.
pub fn wall() -> DateTime<Utc> {
    #[cfg(debug_assertions)]
    return Utc::now() + stepped::by();
    #[cfg(not(debug_assertions))]
    Utc::now()
}

/// The current time, formatted.
pub fn now() -> String {
    format(wall())
}

/// Reads a time that [`format`] wrote; any RFC 3339 time will do.
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

/// A clock that tests set while real processes run: the machine's belongs to everybody. Not in release builds.
#[cfg(debug_assertions)]
mod stepped {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use chrono::TimeDelta;

    /// Names a file with the milliseconds that the wall clock is ahead; looked for once.
    const FILE: &str = "TEST_CLOCK_OFFSET_FILE";

    pub(super) fn by() -> TimeDelta {
        static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
        let ahead =
            PATH.get_or_init(|| std::env::var_os(FILE).map(PathBuf::from)).as_ref().and_then(|path| {
                let text = std::fs::read_to_string(path).ok()?;
                TimeDelta::try_milliseconds(text.trim().parse().ok()?)
            });
        ahead.unwrap_or_default()
    }
}
