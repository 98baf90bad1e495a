//! `rsqlflow schedule list`, and what `config diff` says of a schedule.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rsqlflow_config::time;
use rsqlflow_trigger::{Drift, KeptSchedule};
use serde_json::{Value, json};

use crate::clock::minutes;
use crate::screen::{Screen, Tone};

/// A workflow and its schedule.
#[derive(Debug)]
pub(crate) struct Row {
    /// The workflow.
    pub(crate) workflow_id: String,
    /// What Scheduler says, or else the item.
    pub(crate) expression: String,
    /// The zone it is read in.
    pub(crate) zone: String,
    /// Whether it is there and fires.
    pub(crate) state: &'static str,
    /// The next times.
    pub(crate) next: Vec<DateTime<Utc>>,
    /// How item and schedule stand.
    pub(crate) drift: Drift,
}

impl Row {
    /// `absent`, `disabled`, `over` or `enabled`.
    pub(crate) fn state(kept: Option<&KeptSchedule>, next: &[DateTime<Utc>], over: bool) -> &'static str {
        match kept {
            None if over => "over",
            None => "absent",
            Some(kept) if !kept.definition.enabled => "disabled",
            Some(_) if next.is_empty() => "over",
            Some(_) => "enabled",
        }
    }

    fn local(&self, at: DateTime<Utc>) -> DateTime<Tz> {
        at.with_timezone(&self.zone.parse().unwrap_or(Tz::UTC))
    }
}

/// The schedules as a table: a line for each, with its next time, and a line for each further time.
pub(crate) fn schedules(rows: &[Row], screen: Screen) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let tone = match row.state {
            "enabled" => Tone::Good,
            "absent" => Tone::Bad,
            _ => Tone::Faint,
        };
        let times = |at: usize| {
            let time = row.next.get(at);
            let local = time.map_or_else(String::new, |time| minutes(row.local(*time)));
            let utc = time.map_or_else(String::new, |time| minutes(*time));
            [(Tone::Plain, local), (Tone::Faint, utc)]
        };
        let [local, utc] = times(0);
        lines.push(vec![
            (Tone::Plain, row.workflow_id.clone()),
            (Tone::Plain, row.expression.clone()),
            (Tone::Plain, row.zone.clone()),
            local,
            utc,
            (tone, row.state.to_string()),
            (if row.drift == Drift::None { Tone::Faint } else { Tone::Bad }, short(&row.drift)),
        ]);
        for at in 1..row.next.len() {
            let [local, utc] = times(at);
            let empty = || (Tone::Plain, String::new());
            lines.push(vec![empty(), empty(), empty(), local, utc, empty(), empty()]);
        }
    }
    screen.table(&["WORKFLOW", "SCHEDULE", "ZONE", "NEXT", "NEXT (UTC)", "STATE", "DRIFT"], lines)
}

/// The schedules for programs.
pub(crate) fn schedules_json(rows: &[Row]) -> Value {
    let shown = rows.iter().map(|row| {
        let next = row
            .next
            .iter()
            .map(|at| json!({ "utc": time::format(*at), "local": row.local(*at).to_rfc3339() }));
        let mut shown = json!({
            "workflow_id": row.workflow_id,
            "schedule": row.expression,
            "schedule_timezone": row.zone,
            "state": row.state,
            "next": next.collect::<Vec<_>>(),
        });
        if let (Value::Object(shown), Value::Object(drift)) = (&mut shown, drift_json(&row.drift)) {
            shown.extend(drift);
        }
        shown
    });
    shown.collect()
}

fn short(drift: &Drift) -> String {
    match drift {
        Drift::None => "none".into(),
        Drift::Missing => "missing in Scheduler".into(),
        Drift::Unwanted => "the item has none".into(),
        Drift::Differs(differences) => {
            let fields: Vec<&str> = differences.iter().map(|difference| difference.field).collect();
            format!("differs: {}", fields.join(", "))
        }
    }
}

/// Drift for programs.
pub(crate) fn drift_json(drift: &Drift) -> Value {
    let word = match drift {
        Drift::None => "none",
        Drift::Missing => "missing",
        Drift::Unwanted => "unwanted",
        Drift::Differs(_) => "differs",
    };
    let differences = if let Drift::Differs(differences) = drift { differences.as_slice() } else { &[] };
    json!({ "drift": word, "differences": differences })
}

/// Drift for people, against a file that is to be put.
pub(crate) fn drift_lines(drift: &Drift, screen: Screen) -> String {
    let line = |sign: char, tone: Tone, text: &str| screen.paint(tone, &format!("{sign} {text}")) + "\n";
    match drift {
        Drift::None => String::new(),
        Drift::Missing => line('+', Tone::Good, "the schedule, which is not in EventBridge Scheduler"),
        Drift::Unwanted => line('-', Tone::Bad, "the schedule in EventBridge Scheduler"),
        Drift::Differs(differences) => {
            let mut text = String::from("in EventBridge Scheduler:\n");
            for difference in differences {
                let said = |value: &str| format!("{}: {value}", difference.field);
                text.push_str(&line('-', Tone::Bad, &said(&difference.schedule)));
                text.push_str(&line('+', Tone::Good, &said(&difference.item)));
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsqlflow_trigger::Difference;

    fn rows() -> Vec<Row> {
        let at = |text: &str| time::parse(text).unwrap();
        let row = |id: &str, expression: &str, zone: &str, state, next: Vec<DateTime<Utc>>, drift| Row {
            workflow_id: id.into(),
            expression: expression.into(),
            zone: zone.into(),
            state,
            next,
            drift,
        };
        let differs = Drift::Differs(vec![Difference {
            field: "schedule_timezone",
            item: "Europe/Berlin".into(),
            schedule: "UTC".into(),
        }]);
        vec![
            row(
                "nightly",
                "cron(0 3 * * ? *)",
                "Europe/Berlin",
                "enabled",
                vec![at("2026-03-28T02:00:00Z"), at("2026-03-29T01:00:00Z")],
                Drift::None,
            ),
            row("hourly", "rate(1 hour)", "UTC", "disabled", vec![], differs),
            row(
                "new",
                "at(2027-01-01T00:00:30)",
                "UTC",
                "absent",
                vec![at("2027-01-01T00:00:30Z")],
                Drift::Missing,
            ),
            row("gone", "rate(1 day)", "UTC", "over", vec![], Drift::Unwanted),
        ]
    }

    #[test]
    fn schedules_are_lines() {
        insta::assert_snapshot!(schedules(&rows(), Screen::plain()));
    }

    #[test]
    fn what_programs_read_is_stable() {
        insta::assert_snapshot!(format!("{:#}", schedules_json(&rows()[..2])));
        let lines: String = rows().iter().map(|row| drift_lines(&row.drift, Screen::plain())).collect();
        insta::assert_snapshot!(lines);
    }
}
