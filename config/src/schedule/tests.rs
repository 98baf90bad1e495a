use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;

fn utc(text: &str) -> DateTime<Utc> {
    crate::time::parse(text).unwrap()
}

fn schedule(expression: &str, zone: &str) -> Schedule {
    Schedule {
        expression: expression.parse().unwrap(),
        zone: zone.parse().unwrap(),
        start: None,
        end: None,
        made: utc("2026-01-01T00:00:00Z"),
    }
}

/// The next `count` firing times as local times.
fn local(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(expression, zone);
    let times = schedule.times_after(utc(after)).take(count);
    times.map(|time| time.with_timezone(&schedule.zone).format("%m-%d %H:%M%:z").to_string()).collect()
}

#[test]
fn accepts_what_the_scheduler_accepts() {
    for good in [
        "cron(0 3 * * ? *)",
        "cron(15 10 ? * MON-FRI *)",
        "cron(0 8 1 * ? *)",
        "cron(0/15 8-17 ? * 2#1 2026-2030)",
        "cron(0 18 L * ? *)",
        "cron(0 18 3W JAN,MAR ? *)",
        "cron(0 18 LW * ? *)",
        "cron(0 18 ? * 6L *)",
        "cron(0 18 ? * FRIL *)",
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
        ("cron(0 3 ? * ? *)", "exactly one"),
        ("cron(0 3 ?,3 * ? *)", "day of month"),
        ("cron(0 3 ? * FUN *)", "day of week"),
        ("cron(0 3 ? * 2#6 *)", "week from 1 to 5"),
        ("cron(0 3 W * ? *)", "needs a day"),
        ("cron(0/0 3 * * ? *)", "step"),
        ("cron(*/60 * * * ? *)", "minutes (`*/60`): the step after `/` must be a whole number from 1 to 59"),
        ("cron(0 0/24 * * ? *)", "from 1 to 23"),
        ("cron(0 3 1/32 * ? *)", "from 1 to 31"),
        ("cron(0 3 1 1/13 ? *)", "from 1 to 12"),
        ("cron(0 3 ? * 1/8 *)", "from 1 to 7"),
        ("cron(0 3-1 * * ? *)", "`3-1` is not valid"),
        ("cron(+1 3 * * ? *)", "`+1` is not valid"),
        ("rate(0 hours)", "above 0"),
        ("rate(3 fortnights)", "minutes, hours or days"),
        ("rate(30 seconds)", "once a minute"),
        ("at(tomorrow)", "tomorrow"),
    ] {
        let problem = problem(bad).unwrap_or_else(|| panic!("{bad} passed"));
        assert!(problem.contains(says), "{bad}: {problem}");
    }
    assert!(timezone_problem("Europe/Berln").unwrap().contains("Europe/Berlin"));
    assert_eq!(timezone_problem("America/New_York"), None);
    assert!(timezone_problem("berlin").unwrap().contains("did you mean Europe/Berlin?"));
    for far in ["Mars/Base", "", "CEST", "local"] {
        let told = timezone_problem(far).unwrap();
        assert!(!told.contains("did you mean") && told.contains("for instance"), "{far}: {told}");
    }
}

#[test]
fn days_are_found_as_they_are_written() {
    let on = |days: &str| local(&format!("cron(0 3 {days} *)"), "UTC", "2026-11-21T12:00:00Z", 3);
    assert_eq!(on("* * ?"), ["11-22 03:00+00:00", "11-23 03:00+00:00", "11-24 03:00+00:00"]);
    assert_eq!(on("31 * ?"), ["12-31 03:00+00:00", "01-31 03:00+00:00", "03-31 03:00+00:00"]);
    assert_eq!(on("L * ?"), ["11-30 03:00+00:00", "12-31 03:00+00:00", "01-31 03:00+00:00"]);
    // The 31st of January 2027 is a Sunday, the 28th of February as well.
    assert_eq!(on("LW * ?"), ["11-30 03:00+00:00", "12-31 03:00+00:00", "01-29 03:00+00:00"]);
    // The 1st of August 2026 was a Saturday, the 1st of May 2027 is one: then the 3rd, never the month before.
    assert_eq!(on("1W MAY ?"), ["05-03 03:00+00:00", "05-01 03:00+00:00", "05-01 03:00+00:00"]);
    assert_eq!(on("? * MON-FRI"), ["11-23 03:00+00:00", "11-24 03:00+00:00", "11-25 03:00+00:00"]);
    assert_eq!(on("? * 2#1"), ["12-07 03:00+00:00", "01-04 03:00+00:00", "02-01 03:00+00:00"]);
    assert_eq!(on("? * 6L"), ["11-27 03:00+00:00", "12-25 03:00+00:00", "01-29 03:00+00:00"]);
    assert_eq!(on("? * L"), ["11-28 03:00+00:00", "12-05 03:00+00:00", "12-12 03:00+00:00"]);
    assert_eq!(on("29 2 ?"), ["02-29 03:00+00:00", "02-29 03:00+00:00", "02-29 03:00+00:00"]);
    assert_eq!(local("cron(0 3 30 2 ? *)", "UTC", "2026-11-21T12:00:00Z", 1), [""; 0]);
    assert_eq!(local("cron(0 3 * * ? 2025)", "UTC", "2026-11-21T12:00:00Z", 1), [""; 0]);
}

#[test]
fn a_time_the_clocks_leap_over_is_skipped() {
    // In Berlin 02:00 to 03:00 does not exist on the 29th of March 2026.
    let nights = local("cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
    assert_eq!(nights, ["03-28 02:30+01:00", "03-30 02:30+02:00", "03-31 02:30+02:00"]);
    let hourly = local("cron(0 * * * ? *)", "Europe/Berlin", "2026-03-28T23:30:00Z", 3);
    assert_eq!(hourly, ["03-29 01:00+01:00", "03-29 03:00+02:00", "03-29 04:00+02:00"]);
    assert_eq!(
        schedule("at(2026-03-29T02:30:00)", "Europe/Berlin").next_after(utc("2026-01-01T00:00:00Z")),
        None
    );
}

#[test]
fn a_time_that_comes_twice_fires_once() {
    // In New York 01:00 to 02:00 comes twice on the 1st of November 2026.
    let nights = local("cron(30 1 * * ? *)", "America/New_York", "2026-10-31T12:00:00Z", 2);
    assert_eq!(nights, ["11-01 01:30-04:00", "11-02 01:30-05:00"]);
    let half_hours = local("cron(0/30 * * * ? *)", "America/New_York", "2026-11-01T04:45:00Z", 4);
    assert_eq!(
        half_hours,
        ["11-01 01:00-04:00", "11-01 01:30-04:00", "11-01 02:00-05:00", "11-01 02:30-05:00"]
    );
    // Asked in the second of the two hours.
    let next = local("cron(30 1 * * ? *)", "America/New_York", "2026-11-01T06:10:00Z", 1);
    assert_eq!(next, ["11-02 01:30-05:00"]);
}

#[test]
fn a_rate_takes_no_notice_of_the_clocks() {
    let mut daily = schedule("rate(1 day)", "Europe/Berlin");
    daily.start = Some(utc("2026-03-28T01:30:00Z"));
    let times: Vec<String> =
        daily.times_after(utc("2026-03-01T00:00:00Z")).take(3).map(crate::time::format).collect();
    let expected = ["2026-03-28T01:30:00.000Z", "2026-03-29T01:30:00.000Z", "2026-03-30T01:30:00.000Z"];
    assert_eq!(times, expected);
    // Without a start it counts from when it was made, which is its first time.
    let made = utc("2026-01-01T00:00:00Z");
    let hourly = schedule("rate(1 hour)", "UTC");
    assert_eq!(hourly.next_after(made - TimeDelta::seconds(1)), Some(made));
    assert_eq!(hourly.next_after(made), Some(made + TimeDelta::hours(1)));
    assert_eq!(hourly.last_between(made, made + TimeDelta::minutes(150)), Some(made + TimeDelta::hours(2)));
    assert_eq!(hourly.last_between(made, made + TimeDelta::minutes(50)), None);
    assert_eq!(schedule("rate(4294967295 days)", "UTC").next_after(made), None);
}

#[test]
fn start_and_end_are_its_bounds() {
    let mut nightly = schedule("cron(0 3 * * ? *)", "UTC");
    nightly.start = Some(utc("2026-12-01T03:00:00Z"));
    nightly.end = Some(utc("2026-12-03T03:00:00Z"));
    let times: Vec<u32> = nightly.times_after(utc("2026-11-21T00:00:00Z")).map(|time| time.day()).collect();
    assert_eq!(times, [1, 2, 3]);
    // They mean nothing to a schedule that fires once.
    let mut once = schedule("at(2026-11-22T03:00:07)", "Europe/Berlin");
    once.end = Some(utc("2026-11-21T00:00:00Z"));
    assert_eq!(once.next_after(utc("2026-11-21T00:00:00Z")), Some(utc("2026-11-22T02:00:07Z")));
    assert_eq!(once.next_after(utc("2026-11-22T02:00:07Z")), None);
}

fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_string()),
        3 => (min..=max).prop_map(|value| value.to_string()),
        2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        2 => (min..=max, 1..=max).prop_map(|(from, step)| format!("{from}/{step}")),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn days() -> impl Strategy<Value = (String, String)> {
    let question = || Just("?".to_string());
    let of_month = prop_oneof![
        4 => field(1, 31),
        1 => Just("L".to_string()),
        1 => Just("LW".to_string()),
        2 => (1..=31u32).prop_map(|day| format!("{day}W")),
    ];
    let of_week = prop_oneof![
        4 => field(1, 7),
        1 => Just("L".to_string()),
        1 => (1..=7u32).prop_map(|day| format!("{day}L")),
        1 => (1..=7u32, 1..=5u32).prop_map(|(day, week)| format!("{day}#{week}")),
    ];
    prop_oneof![(of_month, question()), (question(), of_week)]
}

fn cron() -> impl Strategy<Value = String> {
    let month = prop_oneof![3 => Just("*".to_string()), 1 => field(1, 12)];
    (field(0, 59), field(0, 23), days(), month)
        .prop_map(|(minute, hour, (dom, dow), month)| format!("{minute} {hour} {dom} {month} {dow} *"))
}

/// Whether a local time fits the text, decided without the parser: one minute, one item at a time.
fn fits(cron: &str, at: chrono::NaiveDateTime) -> bool {
    let parts: Vec<&str> = cron.split(' ').collect();
    let one = |text: &str, value: u32| {
        text.split(',').any(|item| {
            let (text, step) =
                item.split_once('/').map_or((item, 1), |(text, step)| (text, step.parse().unwrap()));
            let number = |text: &str| text.parse::<u32>().unwrap();
            match text.split_once('-') {
                _ if text == "*" => true,
                Some((from, to)) => (number(from)..=number(to)).contains(&value),
                None if item.contains('/') => {
                    value >= number(text) && (value - number(text)).is_multiple_of(step)
                }
                None => value == number(text),
            }
        })
    };
    let last = u32::from(at.date().num_days_in_month());
    let weekday = at.weekday().num_days_from_sunday() + 1;
    let work = |day: u32| at.date().with_day(day).is_some_and(|day| day.weekday().num_days_from_monday() < 5);
    let dom = match parts[2] {
        "?" => true,
        "L" => at.day() == last,
        "LW" => work(at.day()) && (at.day() + 1..=last).all(|day| !work(day)),
        near if near.ends_with('W') => {
            let wanted: u32 = near.trim_end_matches('W').parse().unwrap();
            // The working day of the month with the smallest distance; a Saturday has one on one side only.
            let best = (1..=last).filter(|day| work(*day)).min_by_key(|day| day.abs_diff(wanted)).unwrap();
            wanted <= last && at.day() == best
        }
        text => one(text, at.day()),
    };
    let dow = match parts[4] {
        "?" => true,
        "L" => weekday == 7,
        text if text.ends_with('L') => {
            text.trim_end_matches('L') == weekday.to_string() && at.day() + 7 > last
        }
        text => match text.split_once('#') {
            Some((day, week)) => {
                day == weekday.to_string() && week.parse::<u32>().unwrap() == at.day().div_ceil(7)
            }
            None => one(text, weekday),
        },
    };
    one(parts[0], at.minute()) && one(parts[1], at.hour()) && one(parts[3], at.month()) && dom && dow
}

proptest! {
    #[test]
    fn the_next_time_is_later_fits_and_is_the_first_that_does(
        cron in cron(),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        // 2024 to 2030, some of it next to a change of the clocks.
        after in prop_oneof![
            1_704_067_200i64..1_900_000_000,
            (1_774_746_000i64 - 90_000)..(1_774_746_000 + 90_000),
            (1_793_509_200i64 - 90_000)..(1_793_509_200 + 90_000),
        ],
    ) {
        let schedule = schedule(&format!("cron({cron})"), zone);
        let zone: Tz = zone.parse().unwrap();
        let after = Utc.timestamp_opt(after, 0).unwrap();
        let next = schedule.next_after(after);
        if let Some(next) = next {
            prop_assert!(next > after);
            prop_assert!(fits(&cron, next.with_timezone(&zone).naive_local()), "{next}");
            prop_assert_eq!(schedule.last_between(after, next), Some(next));
            prop_assert!(schedule.next_after(next).is_none_or(|later| later > next));
        }
        // Minute by minute for two days: nothing between fits, unless it is the second of two equal local times.
        let first = after + TimeDelta::seconds(60 - after.timestamp().rem_euclid(60));
        for minute in 0..2 * 24 * 60 {
            let time = first + TimeDelta::minutes(minute);
            if next.is_some_and(|next| time >= next) {
                break;
            }
            let local = time.with_timezone(&zone).naive_local();
            let again = zone.from_local_datetime(&local).earliest().is_some_and(|earliest| earliest < time);
            prop_assert!(again || !fits(&cron, local), "{time} is before {next:?}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_fail(text in "(cron|rate|at)?[(]?[-0-9A-Z*/,#?LW ]{0,30}[)]?") {
        let _ = problem(&text);
    }
}
