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
    pub(crate) standing: Standing,
}

/// How a workflow's item and its schedule stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The item can be compared with it.
    Compared(Drift),
    /// The item is not valid, so what it wants is not known.
    Invalid,
    /// There is a schedule and no item.
    NoItem,
}

impl Standing {
    /// Whether there is anything to mend.
    pub(crate) fn is_drift(&self) -> bool {
        *self != Self::Compared(Drift::None)
    }

    /// What mends it: why, and the commands.
    pub(crate) fn remedy(&self, id: &str) -> Option<String> {
        match self {
            Self::Compared(Drift::None) => None,
            Self::Compared(_) => Some(format!(
                "drift: {id}: store the item again: rsqlflow config get {id} | rsqlflow config put -"
            )),
            Self::Invalid => Some(format!(
                "drift: {id}: its item is not valid, and no run can start: \
                 rsqlflow config get {id} | rsqlflow config validate -"
            )),
            Self::NoItem => Some(format!(
                "drift: {id}: its item is gone, its schedule is not: rsqlflow config delete {id}"
            )),
        }
    }

    fn short(&self) -> String {
        match self {
            Self::Compared(Drift::None) => "none".into(),
            Self::Compared(Drift::Missing) => "missing in Scheduler".into(),
            Self::Compared(Drift::Unwanted) => "the item has none".into(),
            Self::Compared(Drift::Differs(differences)) => {
                let fields: Vec<&str> = differences.iter().map(|difference| difference.field).collect();
                format!("differs: {}", fields.join(", "))
            }
            Self::Invalid => "the item is not valid".into(),
            Self::NoItem => "there is no item".into(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Compared(drift) => drift_json(drift),
            Self::Invalid => json!({ "drift": "invalid", "differences": [] }),
            Self::NoItem => drift_json(&Drift::Unwanted),
        }
    }
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
            (if row.standing.is_drift() { Tone::Bad } else { Tone::Faint }, row.standing.short()),
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
        if let (Value::Object(shown), Value::Object(drift)) = (&mut shown, row.standing.json()) {
            shown.extend(drift);
        }
        shown
    });
    shown.collect()
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
        let row = |id: &str, expression: &str, zone: &str, state, next: Vec<DateTime<Utc>>, standing| Row {
            workflow_id: id.into(),
            expression: expression.into(),
            zone: zone.into(),
            state,
            next,
            standing,
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
                Standing::Compared(Drift::None),
            ),
            row("hourly", "rate(1 hour)", "UTC", "disabled", vec![], Standing::Compared(differs)),
            row(
                "new",
                "at(2027-01-01T00:00:30)",
                "UTC",
                "absent",
                vec![at("2027-01-01T00:00:30Z")],
                Standing::Compared(Drift::Missing),
            ),
            row("past", "rate(1 day)", "UTC", "over", vec![], Standing::Compared(Drift::Unwanted)),
            row("typo", "rate(1 day)", "UTC", "enabled", vec![at("2027-01-01T00:00:00Z")], Standing::Invalid),
            row("gone", "rate(1 day)", "UTC", "over", vec![], Standing::NoItem),
        ]
    }

    #[test]
    fn schedules_are_lines() {
        insta::assert_snapshot!(schedules(&rows(), Screen::plain()));
    }

    #[test]
    fn what_programs_read_is_stable() {
        insta::assert_snapshot!(format!("{:#}", schedules_json(&rows()[..2])));
        let rest: Vec<Value> = rows()[2..].iter().map(|row| row.standing.json()["drift"].clone()).collect();
        assert_eq!(rest, ["missing", "unwanted", "invalid", "unwanted"]);
        let drift = |row: &Row| match &row.standing {
            Standing::Compared(drift) => drift_lines(drift, Screen::plain()),
            Standing::Invalid | Standing::NoItem => String::new(),
        };
        let lines: String = rows().iter().map(drift).collect();
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn what_mends_a_schedule_is_told() {
        let told: Vec<String> =
            rows().iter().filter_map(|row| row.standing.remedy(&row.workflow_id)).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        drift: hourly: store the item again: rsqlflow config get hourly | rsqlflow config put -
        drift: new: store the item again: rsqlflow config get new | rsqlflow config put -
        drift: past: store the item again: rsqlflow config get past | rsqlflow config put -
        drift: typo: its item is not valid, and no run can start: rsqlflow config get typo | rsqlflow config validate -
        drift: gone: its item is gone, its schedule is not: rsqlflow config delete gone
        ");
    }
}
