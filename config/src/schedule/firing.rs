//! When a schedule fires: an expression, a time zone, and the dates between which it holds.
//!
//! Daylight saving as EventBridge Scheduler documents it
//! (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylist-savings-time>): a time that the
//! clocks leap over is skipped, not moved; a time that comes twice fires once, the first time; a rate counts hours and
//! minutes and takes no notice. `at(...)` follows the same two rules, of which AWS says nothing.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::Expression;
use crate::workflow::Workflow;

/// A schedule that knows its firing times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What it says.
    pub expression: Expression,
    /// The time zone that cron and at are read in.
    pub zone: Tz,
    /// It does not fire before; a rate counts from here.
    pub start: Option<DateTime<Utc>>,
    /// It does not fire after.
    pub end: Option<DateTime<Utc>>,
    /// Where a rate without a start counts from: the time the schedule was made.
    pub made: DateTime<Utc>,
}

impl Schedule {
    /// The schedule of a checked workflow, if it has one.
    pub fn of(workflow: &Workflow, made: DateTime<Utc>) -> Option<Self> {
        let time = |text: &Option<String>| text.as_deref().and_then(crate::time::parse);
        Some(Self {
            expression: workflow.schedule.as_deref()?.parse().ok()?,
            zone: workflow.schedule_timezone.as_deref().and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC),
            start: time(&workflow.schedule_start),
            end: time(&workflow.schedule_end),
            made,
        })
    }

    /// The first firing time after `after`; none where it has fired for the last time. Whole seconds.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = match &self.expression {
            // Scheduler does not look at the dates of a schedule that fires once.
            Expression::At(at) => return self.first_of(*at).filter(|at| *at > after),
            Expression::Rate(period) => {
                let anchor = whole_second(self.start.unwrap_or(self.made));
                next_multiple(anchor, *period, after)?
            }
            Expression::Cron(cron) => {
                let after = self.start.map_or(after, |start| after.max(start - TimeDelta::milliseconds(1)));
                let mut local = after.with_timezone(&self.zone).naive_local();
                loop {
                    local = cron.next_local(local)?;
                    // In the second of two hours that the clocks count alike, what is left of them has fired already.
                    if let Some(time) = self.first_of(local).filter(|time| *time > after) {
                        break time;
                    }
                }
            }
        };
        self.end.is_none_or(|end| next <= end).then_some(next)
    }

    /// The firing times after `after`, in order.
    pub fn times_after(&self, after: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
    }

    /// The last firing time after `after` that is not after `until`.
    pub fn last_between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if let Expression::Rate(period) = &self.expression {
            let until = self.end.map_or(until, |end| until.min(end));
            let anchor = whole_second(self.start.unwrap_or(self.made));
            let last = next_multiple(anchor, *period, until)?.checked_sub_signed(*period)?;
            return (last > after && last >= anchor && last <= until).then_some(last);
        }
        self.times_after(after).take_while(|time| *time <= until).last()
    }

    /// Whether it fires again and again.
    pub fn recurs(&self) -> bool {
        !matches!(self.expression, Expression::At(_))
    }

    /// The instant of a local time; of two, the first; none where the clocks leap over it.
    fn first_of(&self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        match self.zone.from_local_datetime(&local) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.with_timezone(&Utc)),
            LocalResult::None => None,
        }
    }
}

/// The first time after `after` that is a whole number of periods, none included, after `anchor`.
fn next_multiple(anchor: DateTime<Utc>, period: Duration, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if after < anchor {
        return Some(anchor);
    }
    let seconds = period.num_seconds().max(1);
    let periods = (after - anchor).num_seconds() / seconds + 1;
    anchor.checked_add_signed(Duration::try_seconds(seconds.checked_mul(periods)?)?)
}

fn whole_second(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}
