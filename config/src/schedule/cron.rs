//! The six fields of a cron expression, and which local minutes they name.
//!
//! Minutes are the finest grain there is, so nothing can fire every second. A day that a month does not have (`31` in
//! April, `5#5` where there are four Thursdays) is not moved to another: the month goes without.

use std::str::FromStr;

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Weekday};

/// One field of a cron expression.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Field = Field { name: "minutes", min: 0, max: 59, names: &[] };
const HOURS: Field = Field { name: "hours", min: 0, max: 23, names: &[] };
const DAY_OF_MONTH: Field = Field { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
const DAY_OF_WEEK: Field =
    Field { name: "day of week", min: 1, max: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };
const YEAR: Field = Field { name: "year", min: 1970, max: 2199, names: &[] };

/// The fields of a cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Vec<u32>,
    hours: Vec<u32>,
    days: Selector,
    months: Vec<u32>,
    years: Vec<u32>,
}

/// Which days of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selector {
    OfMonth(Vec<DayOfMonth>),
    OfWeek(Vec<DayOfWeek>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayOfMonth {
    /// `15`.
    Day(u32),
    /// `L`.
    Last,
    /// `15W`: the weekday nearest to it in the same month.
    NearestWeekday(u32),
    /// `LW`.
    LastWeekday,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayOfWeek {
    /// `2` is Monday; `L` is the last of the week, Saturday.
    Every(u32),
    /// `2#1`: the first Monday of the month.
    Nth(u32, u32),
    /// `6L`: the last Friday of the month.
    Last(u32),
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, day_of_month, month, day_of_week, year] = parts[..] else {
            return Err(format!(
                "cron needs six fields (minutes hours day-of-month month day-of-week year), this has {}",
                parts.len()
            ));
        };
        let numbers = |field: &Field, text: &str| items(field, text, |item| range(field, item));
        let minutes = numbers(&MINUTES, minutes)?;
        let hours = numbers(&HOURS, hours)?;
        let of_month = match day_of_month {
            "?" => None,
            text => Some(items(&DAY_OF_MONTH, text, day_of_month_item)?),
        };
        let months = numbers(&MONTH, month)?;
        let of_week = match day_of_week {
            "?" => None,
            text => Some(items(&DAY_OF_WEEK, text, day_of_week_item)?),
        };
        let years = numbers(&YEAR, year)?;
        let days = match (of_month, of_week) {
            (Some(days), None) => Selector::OfMonth(days),
            (None, Some(days)) => Selector::OfWeek(days),
            _ => return Err("cron needs `?` in exactly one of day of month and day of week".into()),
        };
        let sorted = |mut values: Vec<u32>| {
            values.sort_unstable();
            values.dedup();
            values
        };
        Ok(Self {
            minutes: sorted(minutes),
            hours: sorted(hours),
            days,
            months: sorted(months),
            years: sorted(years),
        })
    }
}

impl Cron {
    /// The first named minute after `after`, by a clock that knows no daylight saving.
    pub(super) fn next_local(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        // The first minute that is later.
        let from =
            after.with_second(0)?.with_nanosecond(0)?.checked_add_signed(chrono::Duration::minutes(1))?;
        let today = self.time_from(from.time()).map(|time| from.date().and_time(time));
        if let Some(today) = today
            && self.has_day(from.date())
        {
            return Some(today);
        }
        let day = self.day_from(from.date().checked_add_days(Days::new(1))?)?;
        Some(day.and_time(self.time_from(NaiveTime::MIN)?))
    }

    /// The first named time of a day, from `from` on.
    fn time_from(&self, from: NaiveTime) -> Option<NaiveTime> {
        self.hours.iter().copied().filter(|hour| *hour >= from.hour()).find_map(|hour| {
            let later_hour = hour > from.hour();
            let minute =
                self.minutes.iter().copied().find(|minute| later_hour || *minute >= from.minute())?;
            NaiveTime::from_hms_opt(hour, minute, 0)
        })
    }

    /// The first named day from `from` on.
    fn day_from(&self, from: NaiveDate) -> Option<NaiveDate> {
        let first_year = u32::try_from(from.year()).unwrap_or(0);
        for year in self.years.iter().copied().filter(|year| *year >= first_year) {
            for month in &self.months {
                let found = self.days_of(year, *month).into_iter().find(|day| *day >= from);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn has_day(&self, day: NaiveDate) -> bool {
        let Ok(year) = u32::try_from(day.year()) else { return false };
        self.years.contains(&year)
            && self.months.contains(&day.month())
            && self.days_of(year, day.month()).contains(&day)
    }

    /// The named days of one month, in order.
    fn days_of(&self, year: u32, month: u32) -> Vec<NaiveDate> {
        let Some(first) = i32::try_from(year).ok().and_then(|year| NaiveDate::from_ymd_opt(year, month, 1))
        else {
            return vec![];
        };
        let length = u32::from(first.num_days_in_month());
        let mut days: Vec<u32> = match &self.days {
            Selector::OfMonth(days) => days.iter().filter_map(|day| day.in_month(first, length)).collect(),
            Selector::OfWeek(days) => {
                (1..=length).filter(|day| days.iter().any(|named| named.is(first, length, *day))).collect()
            }
        };
        days.sort_unstable();
        days.dedup();
        days.into_iter().filter_map(|day| first.with_day(day)).collect()
    }
}

impl DayOfMonth {
    fn in_month(self, first: NaiveDate, length: u32) -> Option<u32> {
        let weekday = |day: u32| first.with_day(day).map(|date| date.weekday());
        match self {
            Self::Day(day) => (day <= length).then_some(day),
            Self::Last => Some(length),
            Self::NearestWeekday(day) => match weekday(day)? {
                Weekday::Sat if day == 1 => Some(3),
                Weekday::Sat => Some(day - 1),
                Weekday::Sun if day == length => Some(day - 2),
                Weekday::Sun => Some(day + 1),
                _ => Some(day),
            },
            Self::LastWeekday => match weekday(length)? {
                Weekday::Sat => Some(length - 1),
                Weekday::Sun => Some(length - 2),
                _ => Some(length),
            },
        }
    }
}

impl DayOfWeek {
    fn is(self, first: NaiveDate, length: u32, day: u32) -> bool {
        // Sunday is 1.
        let weekday = (first.weekday().num_days_from_sunday() + day - 1) % 7 + 1;
        match self {
            Self::Every(named) => weekday == named,
            Self::Nth(named, week) => weekday == named && (day - 1) / 7 + 1 == week,
            Self::Last(named) => weekday == named && day + 7 > length,
        }
    }
}

/// What each item between commas names, together.
fn items<T>(
    field: &Field,
    text: &str,
    item: impl Fn(&str) -> Result<Vec<T>, String>,
) -> Result<Vec<T>, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let found = item(part).map_err(|what| {
            let Field { name, min, max, names } = field;
            let words = match (names.first(), names.last()) {
                (Some(first), Some(last)) => format!(", {first} to {last}"),
                _ => String::new(),
            };
            format!("cron field {name} (`{text}`): {what}; allowed are {min} to {max}{words}")
        })?;
        all.extend(found);
    }
    Ok(all)
}

fn day_of_month_item(item: &str) -> Result<Vec<DayOfMonth>, String> {
    if item == "L" {
        return Ok(vec![DayOfMonth::Last]);
    }
    if item == "LW" {
        return Ok(vec![DayOfMonth::LastWeekday]);
    }
    if let Some(day) = item.strip_suffix('W') {
        let day = value(&DAY_OF_MONTH, day).ok_or_else(|| "`W` needs a day before it".to_string())?;
        return Ok(vec![DayOfMonth::NearestWeekday(day)]);
    }
    Ok(range(&DAY_OF_MONTH, item)?.into_iter().map(DayOfMonth::Day).collect())
}

fn day_of_week_item(item: &str) -> Result<Vec<DayOfWeek>, String> {
    if item == "L" {
        return Ok(vec![DayOfWeek::Every(DAY_OF_WEEK.max)]);
    }
    if let Some((day, week)) = item.split_once('#') {
        let week = week.parse::<u32>().ok().filter(|week| (1..=5).contains(week));
        return match (value(&DAY_OF_WEEK, day), week) {
            (Some(day), Some(week)) => Ok(vec![DayOfWeek::Nth(day, week)]),
            _ => Err("`#` needs a day before it and a week from 1 to 5 after it".into()),
        };
    }
    if let Some(day) = item.strip_suffix('L').and_then(|day| value(&DAY_OF_WEEK, day)) {
        return Ok(vec![DayOfWeek::Last(day)]);
    }
    Ok(range(&DAY_OF_WEEK, item)?.into_iter().map(DayOfWeek::Every).collect())
}

/// `*`, `7`, `7-9`, each with or without a step. A single value with a step goes on to the end: `5/15` is 5, 20, 35, 50.
fn range(field: &Field, item: &str) -> Result<Vec<u32>, String> {
    let (text, step) = match item.split_once('/') {
        Some((text, step)) => (text, Some(step)),
        None => (item, None),
    };
    let every = match step.map(str::parse::<u32>) {
        None => 1,
        Some(Ok(step)) if (1..=field.max).contains(&step) => step,
        Some(_) => return Err(format!("the step after `/` must be a whole number from 1 to {}", field.max)),
    };
    let bounds = match text.split_once('-') {
        _ if text == "*" => Some((field.min, field.max)),
        Some((from, to)) => value(field, from).zip(value(field, to)).filter(|(from, to)| from <= to),
        None => value(field, text).map(|one| (one, if step.is_some() { field.max } else { one })),
    };
    let (from, to) = bounds.ok_or_else(|| format!("`{item}` is not valid"))?;
    Ok((from..=to).step_by(usize::try_from(every).unwrap_or(usize::MAX)).collect())
}

/// One value of a field, as a number or by its name.
fn value(field: &Field, text: &str) -> Option<u32> {
    let by_name = field
        .names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
        .and_then(|at| u32::try_from(at).ok());
    let digits =
        || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    by_name.map(|at| at + field.min).or_else(digits).filter(|value| (field.min..=field.max).contains(value))
}
