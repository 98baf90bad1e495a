//! Schedule expressions as EventBridge Scheduler writes them: `cron(...)`, `rate(...)`, `at(...)`.
//!
//! Only whether an expression is one is decided here; when it fires is the scheduler's business. Hand-written because
//! AWS's cron differs from Unix's (six fields with a year, `?`, `L`, `W`, `#`, days counted from Sunday = 1) and the
//! value is in messages that name the field.
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>

use chrono::NaiveDateTime;

/// One field of a cron expression.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
    /// Letters and signs beyond `* , - /` that the field allows.
    extra: &'static str,
}

const FIELDS: [Field; 6] = [
    Field { name: "minutes", min: 0, max: 59, names: &[], extra: "" },
    Field { name: "hours", min: 0, max: 23, names: &[], extra: "" },
    Field { name: "day of month", min: 1, max: 31, names: &[], extra: "?LW" },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        extra: "",
    },
    Field {
        name: "day of week",
        min: 1,
        max: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        extra: "?L#",
    },
    Field { name: "year", min: 1970, max: 2199, names: &[], extra: "" },
];

/// Why `expression` is not a schedule, if it is not.
pub fn problem(expression: &str) -> Option<String> {
    let inside = |prefix: &str| {
        expression
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('('))
            .and_then(|rest| rest.strip_suffix(')'))
    };
    if let Some(fields) = inside("cron") {
        cron_problem(fields)
    } else if let Some(rate) = inside("rate") {
        rate_problem(rate)
    } else if let Some(at) = inside("at") {
        NaiveDateTime::parse_from_str(at, "%Y-%m-%dT%H:%M:%S")
            .err()
            .map(|_| format!("`{at}` is not a date and time; write for instance at(2026-11-21T03:00:00)"))
    } else {
        Some("must be cron(...), rate(...) or at(...), for instance cron(0 3 * * ? *)".into())
    }
}

/// Why `name` is not a time zone, if it is not.
pub fn timezone_problem(name: &str) -> Option<String> {
    name.parse::<chrono_tz::Tz>().err().map(|_| {
        let nearest = chrono_tz::TZ_VARIANTS
            .iter()
            .map(|zone| zone.name())
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        match nearest {
            Some(zone) => format!("is not an IANA time zone; did you mean {zone}?"),
            None => "is not an IANA time zone".into(),
        }
    })
}

fn rate_problem(rate: &str) -> Option<String> {
    let mut words = rate.split(' ');
    let (Some(value), Some(unit), None) = (words.next(), words.next(), words.next()) else {
        return Some("rate needs a value and a unit, for instance rate(1 hour)".into());
    };
    match value.parse::<u32>() {
        Ok(0) | Err(_) => return Some(format!("rate value `{value}` must be a whole number above 0")),
        Ok(_) => {}
    }
    (!["minute", "minutes", "hour", "hours", "day", "days"].contains(&unit))
        .then(|| format!("rate unit `{unit}` must be minutes, hours or days"))
}

fn cron_problem(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Some(format!(
            "cron needs six fields (minutes hours day-of-month month day-of-week year), this has {}",
            parts.len()
        ));
    }
    if let Some(problem) = FIELDS.iter().zip(&parts).find_map(|(field, text)| field_problem(field, text)) {
        return Some(problem);
    }
    ((parts[2] == "?") == (parts[4] == "?"))
        .then(|| "cron needs `?` in exactly one of day of month and day of week".into())
}

fn field_problem(field: &Field, text: &str) -> Option<String> {
    let bad = |what: &str| {
        Some(format!(
            "cron field {} (`{text}`): {what}; allowed are {} to {}",
            field.name, field.min, field.max
        ))
    };
    for item in text.split(',') {
        if (item == "*")
            || (item == "?" && field.extra.contains('?'))
            || (item == "L" && field.extra.contains('L'))
        {
            continue;
        }
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        if step.is_some_and(|step| step.parse::<u32>().map_or(true, |step| step == 0)) {
            return bad("the step after `/` must be a whole number above 0");
        }
        if range == "*" {
            continue;
        }
        if field.extra.contains('W')
            && (range == "LW" || range.strip_suffix('W').is_some_and(|day| in_range(field, day).is_some()))
        {
            continue;
        }
        if field.extra.contains('#')
            && let Some((day, week)) = range.split_once('#')
        {
            if in_range(field, day).is_some() && week.parse::<u32>().is_ok_and(|week| (1..=5).contains(&week))
            {
                continue;
            }
            return bad("`#` needs a day before it and a week from 1 to 5 after it");
        }
        if field.extra.contains('L')
            && range.strip_suffix('L').is_some_and(|day| in_range(field, day).is_some())
        {
            continue;
        }
        let ok = match range.split_once('-') {
            Some((from, to)) => match (in_range(field, from), in_range(field, to)) {
                (Some(from), Some(to)) => from <= to,
                _ => false,
            },
            None => in_range(field, range).is_some(),
        };
        if !ok {
            return bad(&format!("`{item}` is not valid"));
        }
    }
    None
}

fn in_range(field: &Field, text: &str) -> Option<u32> {
    let by_name = field
        .names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
        .and_then(|at| u32::try_from(at).ok());
    by_name
        .map(|at| at + field.min)
        .or_else(|| text.parse::<u32>().ok())
        .filter(|value| (field.min..=field.max).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_scheduler_accepts() {
        for good in [
            "cron(0 3 * * ? *)",
            "cron(15 10 ? * MON-FRI *)",
            "cron(0 8 1 * ? *)",
            "cron(0/15 8-17 ? * 2#1 2026-2030)",
            "cron(0 18 L * ? *)",
            "cron(0 18 3W JAN,MAR ? *)",
            "cron(0 18 ? * 6L *)",
            "rate(5 minutes)",
            "rate(1 day)",
            "at(2026-11-21T03:00:00)",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
    }

    #[test]
    fn says_which_field_is_wrong() {
        for (bad, says) in [
            ("every night", "must be cron"),
            ("cron(0 3 * * *)", "this has 5"),
            ("cron(61 3 * * ? *)", "minutes"),
            ("cron(0 24 * * ? *)", "hours"),
            ("cron(0 3 * * * *)", "exactly one"),
            ("cron(0 3 ? * FUN *)", "day of week"),
            ("cron(0/0 3 * * ? *)", "step"),
            ("rate(0 hours)", "above 0"),
            ("rate(3 fortnights)", "minutes, hours or days"),
            ("at(tomorrow)", "tomorrow"),
        ] {
            let problem = problem(bad).unwrap_or_else(|| panic!("{bad} passed"));
            assert!(problem.contains(says), "{bad}: {problem}");
        }
        assert!(timezone_problem("Europe/Berln").unwrap().contains("Europe/Berlin"));
        assert_eq!(timezone_problem("America/New_York"), None);
    }
}
