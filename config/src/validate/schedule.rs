//! What the fields of a schedule have to say together: it fires at all, and between its dates.
//!
//! Nothing here depends on the time of the check. A stored item stays as valid as it was, and a workflow whose
//! `at(...)` has passed can still be run by hand; who stores an item is told when it will not fire any more.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::Walk;
use crate::schedule::{Expression, Schedule};

/// The fields that belong to a schedule.
const COMPANIONS: [&str; 4] =
    ["schedule_timezone", "schedule_start", "schedule_end", "schedule_flexible_minutes"];

impl Walk {
    /// Checks the fields together, as far as each is right by itself.
    pub(super) fn schedule(&mut self, map: &Map<String, Value>) {
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        let given = |name: &str| map.get(name).is_some_and(|value| !value.is_null());
        if !given("schedule") {
            for name in COMPANIONS.into_iter().filter(|name| given(name)) {
                self.add(
                    name,
                    "says something of a schedule, and there is none; add schedule or leave this out",
                );
            }
            return;
        }
        let Some(expression) = text("schedule").and_then(|text| text.parse::<Expression>().ok()) else {
            return;
        };
        let Ok(zone) = text("schedule_timezone").unwrap_or("UTC").parse() else { return };
        let time = |name: &str| text(name).and_then(crate::time::parse);
        let (start, end) = (time("schedule_start"), time("schedule_end"));
        if matches!(expression, Expression::At(_)) {
            for name in ["schedule_start", "schedule_end"].into_iter().filter(|name| given(name)) {
                self.add(name, "means nothing to at(...), which fires once; leave it out");
            }
        } else if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            self.add("schedule_end", "is not after schedule_start: it would never fire");
            return;
        }
        let schedule = Schedule { expression, zone, start, end, made: start.unwrap_or(DateTime::UNIX_EPOCH) };
        if schedule.next_after(DateTime::<Utc>::UNIX_EPOCH - chrono::TimeDelta::seconds(1)).is_none() {
            let why = match &schedule.expression {
                Expression::At(_) => format!("the clocks of {zone} leap over this time"),
                _ if start.is_some() || end.is_some() => {
                    "there is no such time between schedule_start and schedule_end".into()
                }
                _ => "there is no such date".into(),
            };
            self.add("schedule", format!("never fires: {why}"));
        }
    }
}
