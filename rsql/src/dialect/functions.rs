//! Functions that Redshift has and PostgreSQL has not, or under another name.
//!
//! Calls are rewritten from the inside out: an argument is translated before it is put into its new place.

use super::call::{Call, call};
use super::rewrite::Rewrite;
use super::token::Kind;

/// SYSDATE is the start of the transaction, GETDATE() that of the statement, in whole seconds;
/// both without a time zone. <https://docs.aws.amazon.com/redshift/latest/dg/r_SYSDATE.html>
const SYSDATE: &str = "cast(now() as timestamp)";
const GETDATE: &str = "cast(date_trunc('second', statement_timestamp()) as timestamp)";

pub(super) fn rewrite(sql: &mut Rewrite<'_>) {
    let mut at = 0;
    while at < sql.len() {
        at = match replacement(sql, at) {
            Some((end, text)) => {
                sql.replace(at, end, text);
                end
            }
            None => at + 1,
        };
    }
}

/// What stands in place of the tokens from `at` up to the returned index.
fn replacement(sql: &Rewrite<'_>, at: usize) -> Option<(usize, String)> {
    if sql.kind(at) != Some(Kind::Word) {
        return None;
    }
    let word = sql.keyword(at);
    if word == "sysdate" {
        let part_of_a_name = sql.is(at + 1, ".") || (at > 0 && (sql.is(at - 1, ".") || sql.is(at - 1, "as")));
        return (!part_of_a_name && !sql.is(at + 1, "(")).then(|| (at + 1, SYSDATE.to_owned()));
    }
    let known = [
        "getdate",
        "nvl",
        "nvl2",
        "decode",
        "len",
        "charindex",
        "dateadd",
        "date_add",
        "datediff",
        "date_diff",
        "add_months",
        "last_day",
        "trunc",
    ];
    if !known.contains(&word.as_str()) {
        return None;
    }
    let call = call(sql, at)?;
    Some((call.end, rewritten(sql, &word, &call)?))
}

fn rewritten(sql: &Rewrite<'_>, function: &str, call: &Call) -> Option<String> {
    let arguments: Vec<String> =
        call.arguments.iter().map(|(from, to)| inner(sql.between(*from, *to))).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some(match (function, arguments.as_slice()) {
        ("getdate", []) => GETDATE.to_owned(),
        ("nvl", all) => format!("coalesce({})", all.join(", ")),
        ("nvl2", [test, then, otherwise]) => {
            format!("case when {test} is not null then {then} else {otherwise} end")
        }
        // With two arguments it is PostgreSQL's own.
        ("decode", [subject, pairs @ ..]) if pairs.len() >= 2 => decode(subject, pairs),
        ("len", [text]) => format!("length({text})"),
        ("charindex", [what, text]) => format!("strpos({text}, {what})"),
        ("dateadd" | "date_add", [part, count, date]) => {
            format!("({date} + ({count}) * interval '{}')", one(part)?)
        }
        ("datediff" | "date_diff", [part, from, to]) => date_difference(part, from, to)?,
        ("add_months", [date, count]) => {
            format!("cast({date} + ({count}) * interval '1 month' as timestamp)")
        }
        ("last_day", [date]) => {
            format!(
                "cast(date_trunc('month', cast({date} as timestamp)) + interval '1 month - 1 day' as date)"
            )
        }
        // TRUNC of a time is its date. Of a number it is PostgreSQL's own, and only these two are surely times.
        ("trunc", [_]) => {
            let (from, to) = call.arguments.first().copied()?;
            let time =
                (sql.is(from, "sysdate") && to == from + 1) || (sql.is(from, "getdate") && to == from + 3);
            return time.then(|| format!("cast({} as date)", arguments.concat()));
        }
        _ => return None,
    })
}

/// Translates the calls inside an argument.
fn inner(sql: &str) -> String {
    let mut rewrite = Rewrite::new(sql);
    self::rewrite(&mut rewrite);
    rewrite.finish().unwrap_or_else(|| sql.to_owned())
}

/// DECODE treats NULL as equal to NULL.
fn decode(subject: &str, pairs: &[&str]) -> String {
    let mut text = String::from("case");
    let mut rest = pairs;
    while let [value, result, after @ ..] = rest {
        text += &format!(" when {subject} is not distinct from {value} then {result}");
        rest = after;
    }
    if let [otherwise] = rest {
        text += &format!(" else {otherwise}");
    }
    text + " end"
}

/// `1 day` and so on, for the date parts that both sides know.
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_Dateparts_for_datetime_functions.html>
fn one(part: &str) -> Option<&'static str> {
    Some(match part.trim_matches(['\'', '"']).to_ascii_lowercase().as_str() {
        "year" | "years" | "y" | "yr" | "yrs" => "1 year",
        "quarter" | "quarters" | "qtr" | "qtrs" => "3 months",
        "month" | "months" | "mon" | "mons" => "1 month",
        "week" | "weeks" | "w" => "1 week",
        "day" | "days" | "d" => "1 day",
        "hour" | "hours" | "h" | "hr" | "hrs" => "1 hour",
        "minute" | "minutes" | "m" | "min" | "mins" => "1 minute",
        "second" | "seconds" | "s" | "sec" | "secs" => "1 second",
        _ => return None,
    })
}

/// DATEDIFF counts the boundaries between two times, not whole units of it.
fn date_difference(part: &str, from: &str, to: &str) -> Option<String> {
    let months = |per: u32| {
        let count = |date: &str| {
            format!(
                "(extract(year from cast({date} as timestamp)) * 12 + extract(month from cast({date} as timestamp)) - 1)"
            )
        };
        format!("cast(floor({} / {per}) - floor({} / {per}) as bigint)", count(to), count(from))
    };
    let seconds = |unit: &str, per: u32| {
        let epoch =
            |date: &str| format!("extract(epoch from date_trunc('{unit}', cast({date} as timestamp)))");
        format!("cast(({} - {}) / {per} as bigint)", epoch(to), epoch(from))
    };
    Some(match one(part)? {
        "1 year" => months(12),
        "3 months" => months(3),
        "1 month" => months(1),
        // Redshift's weeks begin on Sunday.
        "1 week" => {
            let sunday = |date: &str| {
                format!(
                    "extract(epoch from date_trunc('week', cast({date} as timestamp) + interval '1 day'))"
                )
            };
            format!("cast(({} - {}) / 604800 as bigint)", sunday(to), sunday(from))
        }
        "1 day" => seconds("day", 86_400),
        "1 hour" => seconds("hour", 3_600),
        "1 minute" => seconds("minute", 60),
        "1 second" => seconds("second", 1),
        _ => return None,
    })
}
