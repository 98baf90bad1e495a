//! Schedules as EventBridge Scheduler writes them: `cron(...)`, `rate(...)`, `at(...)`, and when they fire.
//!
//! [`Expression`] reads the text and says which field is wrong; [`Schedule`] adds the time zone and the dates between
//! which it holds, and knows the next firing time. Hand-written because AWS's cron differs from Unix's (six fields with
//! a year, `?`, `L`, `W`, `#`, days counted from Sunday = 1), because the rules for daylight saving are AWS's own, and
//! because the value is in messages that name the field.
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>

mod cron;
mod firing;

use std::str::FromStr;

use chrono::{Duration, NaiveDateTime};

pub use cron::Cron;
pub use firing::Schedule;

/// When a schedule fires, without a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// At times of the calendar.
    Cron(Cron),
    /// Again and again, so far apart.
    Rate(Duration),
    /// Once.
    At(NaiveDateTime),
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(expression: &str) -> Result<Self, String> {
        let inside = |prefix: &str| {
            expression
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('('))
                .and_then(|rest| rest.strip_suffix(')'))
        };
        if let Some(fields) = inside("cron") {
            fields.parse().map(Self::Cron)
        } else if let Some(text) = inside("rate") {
            rate(text).map(Self::Rate)
        } else if let Some(at) = inside("at") {
            NaiveDateTime::parse_from_str(at, "%Y-%m-%dT%H:%M:%S").map(Self::At).map_err(|_| {
                format!("`{at}` is not a date and time; write for instance at(2026-11-21T03:00:00)")
            })
        } else {
            Err("must be cron(...), rate(...) or at(...), for instance cron(0 3 * * ? *)".into())
        }
    }
}

/// Why `expression` is not a schedule, if it is not.
pub fn problem(expression: &str) -> Option<String> {
    expression.parse::<Expression>().err()
}

/// Why `name` is not a time zone, if it is not.
pub fn timezone_problem(name: &str) -> Option<String> {
    name.parse::<chrono_tz::Tz>().err().map(|_| {
        // Berlin for Europe/Berlin, too.
        let lower = name.to_lowercase();
        let distance = |zone: &str| {
            let zone = zone.to_lowercase();
            let city = zone.rsplit('/').next().unwrap_or(&zone);
            strsim::damerau_levenshtein(&zone, &lower).min(strsim::damerau_levenshtein(city, &lower))
        };
        let nearest = chrono_tz::TZ_VARIANTS.iter().map(|zone| (distance(zone.name()), zone.name())).min();
        match nearest {
            Some((distance, zone)) if distance <= name.chars().count() / 5 => {
                format!("is not an IANA time zone; did you mean {zone}?")
            }
            _ => "is not an IANA time zone; write for instance Europe/Berlin, or UTC".into(),
        }
    })
}

fn rate(text: &str) -> Result<Duration, String> {
    let mut words = text.split(' ');
    let (Some(value), Some(unit), None) = (words.next(), words.next(), words.next()) else {
        return Err("rate needs a value and a unit, for instance rate(1 hour)".into());
    };
    let value = match value.parse::<u32>() {
        Ok(0) | Err(_) => return Err(format!("rate value `{value}` must be a whole number above 0")),
        Ok(value) => i64::from(value),
    };
    match unit {
        "minute" | "minutes" => Ok(Duration::minutes(value)),
        "hour" | "hours" => Ok(Duration::hours(value)),
        // Twenty-four hours, whatever the clocks do.
        "day" | "days" => Ok(Duration::hours(24 * value)),
        "second" | "seconds" => {
            Err("nothing fires more often than once a minute; write rate(1 minute)".into())
        }
        _ => Err(format!("rate unit `{unit}` must be minutes, hours or days")),
    }
}

#[cfg(test)]
mod tests;
