//! Times and durations as people read them. Times are UTC everywhere, as in the records.

use chrono::{DateTime, TimeZone, Timelike, Utc};

/// `2026-11-21 03:00:00` from a record's time; the text itself where it is not one.
pub(crate) fn date_time(text: &str) -> String {
    shown(text, "%Y-%m-%d %H:%M:%S")
}

/// `03:00:00` from a record's time.
pub(crate) fn time_of_day(text: &str) -> String {
    shown(text, "%H:%M:%S")
}

/// `2026-11-22 03:00 Europe/Berlin`, with the seconds where there are any.
pub(crate) fn in_zone(time: DateTime<Utc>, zone: chrono_tz::Tz) -> String {
    format!("{} {}", minutes(time.with_timezone(&zone)), zone.name())
}

/// `2026-11-22 03:00`, with the seconds where there are any.
pub(crate) fn minutes<Z: TimeZone<Offset: std::fmt::Display>>(time: DateTime<Z>) -> String {
    let format = if time.second() == 0 { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d %H:%M:%S" };
    time.format(format).to_string()
}

fn shown(text: &str, format: &str) -> String {
    rsqlflow_config::time::parse(text).map_or_else(|| text.into(), |time| time.format(format).to_string())
}

/// How long from `start` to `end`, or until `now` where it has not ended; nothing where a time is not one.
pub(crate) fn between(start: &str, end: Option<&str>, now: DateTime<Utc>) -> String {
    let start = rsqlflow_config::time::parse(start);
    let end = end.map_or(Some(now), rsqlflow_config::time::parse);
    match (start, end) {
        (Some(start), Some(end)) => duration((end - start).num_milliseconds()),
        _ => String::new(),
    }
}

/// Milliseconds with the precision that still matters: `1.2 s`, `2 m 10 s`, `1 h 02 m`.
fn duration(milliseconds: i64) -> String {
    let milliseconds = milliseconds.max(0);
    // Rounded first, so that 59.96 s is a minute and not 60.0 s.
    let tenths = (milliseconds + 50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (milliseconds + 500) / 1000;
    if seconds < 3600 {
        return format!("{} m {:02} s", seconds / 60, seconds % 60);
    }
    let minutes = (seconds + 30) / 60;
    format!("{} h {:02} m", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_what_matters() {
        let shown: Vec<String> =
            [-5, 0, 1_240, 59_949, 59_960, 130_000, 3_599_600, 3_720_000].map(duration).into();
        let expected = ["0.0 s", "0.0 s", "1.2 s", "59.9 s", "1 m 00 s", "2 m 10 s", "1 h 00 m", "1 h 02 m"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_strange_time_is_shown_as_it_is() {
        assert_eq!(date_time("yesterday"), "yesterday");
        assert_eq!(time_of_day("2026-11-21T03:00:01.500Z"), "03:00:01");
        assert_eq!(between("yesterday", None, Utc::now()), "");
    }
}
