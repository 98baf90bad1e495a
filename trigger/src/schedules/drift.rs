//! What a schedule says, and in what it is not what its item says.

use chrono::{DateTime, TimeDelta, Utc};
use rsqlflow_config::schedule::Schedule;
use rsqlflow_config::time;
use rsqlflow_config::workflow::{Workflow, flag_is_set};
use serde_json::json;

use super::{EVENT_SOURCE, Schedules};

/// How often a delivery that failed is tried again, and for how many seconds: the most that Scheduler has, and its
/// defaults. <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html>
pub(super) const RETRIES: (i32, i32) = (185, 86_400);

/// A schedule, as an item wants it or as Scheduler has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `cron(...)`, `rate(...)` or `at(...)`.
    pub expression: String,
    /// The IANA time zone it is read in.
    pub timezone: String,
    /// It does not fire before.
    pub start: Option<DateTime<Utc>>,
    /// It does not fire after.
    pub end: Option<DateTime<Utc>>,
    /// Minutes after the scheduled time within which it fires.
    pub flexible_minutes: Option<u32>,
    /// Whether it fires at all.
    pub enabled: bool,
    /// ARN of what it starts.
    pub target_arn: String,
    /// ARN of the role it starts it with.
    pub role_arn: String,
    /// The event.
    pub input: String,
    /// ARN of the queue for events that could not be delivered.
    pub dead_letter_arn: Option<String>,
    /// How often a delivery is tried again, and for how many seconds.
    pub retries: (i32, i32),
    /// Whether it deletes itself when it has fired for the last time.
    pub deletes_itself: bool,
}

/// A schedule that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSchedule {
    /// What it says.
    pub definition: Definition,
    /// When it was made: where a rate without a start counts from.
    pub made: DateTime<Utc>,
}

/// One way in which a schedule is not what the item says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The item's attribute, or `target`, `role`, `input`, `dead_letter_queue`, `retry_policy`, `after_completion`.
    pub field: &'static str,
    /// What the item says.
    pub item: String,
    /// What the schedule says.
    pub schedule: String,
}

/// How an item and its schedule stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// They say the same.
    None,
    /// The item has a schedule, Scheduler has none.
    Missing,
    /// Scheduler has a schedule, the item has none or there is no item.
    Unwanted,
    /// They differ.
    Differs(Vec<Difference>),
}

impl KeptSchedule {
    /// When it fires; none where it says something that cannot be read, or is disabled.
    pub fn schedule(&self) -> Option<Schedule> {
        let Definition { expression, timezone, start, end, enabled, .. } = &self.definition;
        Some(Schedule {
            expression: expression.parse().ok().filter(|_| *enabled)?,
            zone: timezone.parse().ok()?,
            start: *start,
            end: *end,
            made: self.made,
        })
    }
}

impl Schedules {
    /// What a workflow's item asks for; nothing where it has no schedule.
    pub fn wanted(&self, workflow: &Workflow) -> Option<Definition> {
        let time = |text: &Option<String>| text.as_deref().and_then(time::parse);
        let input = json!({
            "source": EVENT_SOURCE,
            "workflow_id": workflow.workflow_id,
            "scheduled_time": "<aws.scheduler.scheduled-time>",
        });
        Some(Definition {
            expression: workflow.schedule.clone()?,
            timezone: workflow.schedule_timezone.clone().unwrap_or_else(|| "UTC".into()),
            start: time(&workflow.schedule_start),
            end: time(&workflow.schedule_end),
            flexible_minutes: workflow.schedule_flexible_minutes,
            enabled: workflow.execution_flag.as_deref().is_none_or(flag_is_set),
            target_arn: self.settings.trigger_arn.clone(),
            role_arn: self.settings.role_arn.clone(),
            input: input.to_string(),
            dead_letter_arn: self.settings.dead_letter_arn.clone(),
            retries: RETRIES,
            deletes_itself: false,
        })
    }

    /// How an item stands to the schedule that is there.
    pub fn drift(
        &self,
        workflow: Option<&Workflow>,
        kept: Option<&KeptSchedule>,
        now: DateTime<Utc>,
    ) -> Drift {
        let wanted = workflow.and_then(|workflow| self.wanted(workflow));
        match (wanted, kept) {
            (None, None) => Drift::None,
            (None, Some(_)) => Drift::Unwanted,
            (Some(_), None) if workflow.is_some_and(|workflow| is_over(workflow, None, now)) => Drift::None,
            (Some(_), None) => Drift::Missing,
            (Some(wanted), Some(kept)) => match differences(&wanted, &kept.definition, now) {
                none if none.is_empty() => Drift::None,
                some => Drift::Differs(some),
            },
        }
    }
}

/// Whether a workflow's schedule will never fire again: the one that is kept, or one that would be made now.
pub fn is_over(workflow: &Workflow, kept: Option<&KeptSchedule>, now: DateTime<Utc>) -> bool {
    let made = kept.map_or(now, |kept| kept.made);
    // A rate that is made now fires now.
    let before = now - TimeDelta::seconds(1);
    Schedule::of(workflow, made).is_some_and(|schedule| schedule.next_after(before).is_none())
}

pub(super) fn differences(item: &Definition, kept: &Definition, now: DateTime<Utc>) -> Vec<Difference> {
    let date = |date: Option<DateTime<Utc>>| date.map_or_else(|| "none".to_string(), time::format);
    let minutes = |minutes: Option<u32>| minutes.map_or_else(|| "none".into(), |minutes| minutes.to_string());
    let flag = |enabled: bool| if enabled { "y" } else { "n" }.to_string();
    let queue = |arn: &Option<String>| arn.clone().unwrap_or_else(|| "none".into());
    let retries = |(most, seconds): (i32, i32)| format!("{most} times within {seconds} s");
    let after = |deletes: bool| if deletes { "delete" } else { "none" }.to_string();
    // A start that has passed says nothing any more, and may have been left out.
    let start = if kept.start.is_none() { item.start.filter(|start| *start > now) } else { item.start };
    let seconds =
        |date: Option<DateTime<Utc>>| date.and_then(|date| DateTime::from_timestamp(date.timestamp(), 0));
    [
        ("schedule", item.expression.clone(), kept.expression.clone()),
        ("schedule_timezone", item.timezone.clone(), kept.timezone.clone()),
        ("schedule_start", date(seconds(start)), date(seconds(kept.start))),
        ("schedule_end", date(seconds(item.end)), date(seconds(kept.end))),
        ("schedule_flexible_minutes", minutes(item.flexible_minutes), minutes(kept.flexible_minutes)),
        ("execution_flag", flag(item.enabled), flag(kept.enabled)),
        ("target", item.target_arn.clone(), kept.target_arn.clone()),
        ("role", item.role_arn.clone(), kept.role_arn.clone()),
        ("input", item.input.clone(), kept.input.clone()),
        ("dead_letter_queue", queue(&item.dead_letter_arn), queue(&kept.dead_letter_arn)),
        ("retry_policy", retries(item.retries), retries(kept.retries)),
        ("after_completion", after(item.deletes_itself), after(kept.deletes_itself)),
    ]
    .into_iter()
    .filter(|(_, item, schedule)| item != schedule)
    .map(|(field, item, schedule)| Difference { field, item, schedule })
    .collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_scheduler::Client;

    use super::super::ScheduleSettings;
    use super::*;

    fn schedules() -> Schedules {
        let config = aws_sdk_scheduler::Config::builder().behavior_version_latest().build();
        let settings = ScheduleSettings {
            group: "rsqlflow".into(),
            trigger_arn: "arn:aws:lambda:us-east-1:000000000000:function:rsqlflow-trigger".into(),
            role_arn: "arn:aws:iam::000000000000:role/rsqlflow-scheduler".into(),
            dead_letter_arn: Some("arn:aws:sqs:us-east-1:000000000000:rsqlflow-dead-letters".into()),
        };
        Schedules::new(Client::from_conf(config), settings)
    }

    fn workflow(lines: &str) -> Workflow {
        let stages = "workflow_stages: [{ execution_type: parallel, scripts: [a.sh] }]";
        rsqlflow_config::validate::workflow_from_text(&format!("workflow_id: w\n{lines}\n{stages}\n"))
            .unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        time::parse(text).unwrap()
    }

    #[test]
    fn the_target_is_told_the_workflow_and_the_scheduled_time() {
        let wanted = schedules().wanted(&workflow("schedule: rate(1 day)\nexecution_flag: n")).unwrap();
        insta::assert_snapshot!(format!("{wanted:#?}"));
        assert_eq!(schedules().wanted(&workflow("execution_flag: y")), None);
    }

    #[test]
    fn drift_names_what_differs() {
        let (schedules, now) = (schedules(), at("2026-11-21T12:00:00Z"));
        let item = workflow(
            "schedule: cron(0 3 * * ? *)\nschedule_timezone: Europe/Berlin\nschedule_start: 2026-12-01T00:00:00.5Z\n\
             schedule_flexible_minutes: 5",
        );
        let definition = schedules.wanted(&item).unwrap();
        let kept = |change: &dyn Fn(&mut Definition)| {
            let mut definition = definition.clone();
            // Scheduler keeps whole seconds.
            definition.start = Some(at("2026-12-01T00:00:00Z"));
            change(&mut definition);
            KeptSchedule { definition, made: now }
        };
        let drift = |kept: &KeptSchedule, now| schedules.drift(Some(&item), Some(kept), now);
        assert_eq!(drift(&kept(&|_| {}), now), Drift::None);
        let without_start = kept(&|definition| definition.start = None);
        let Drift::Differs(found) = drift(&without_start, now) else { panic!("no drift") };
        assert_eq!((found.len(), found[0].field, found[0].schedule.as_str()), (1, "schedule_start", "none"));
        assert_eq!(drift(&without_start, at("2026-12-02T00:00:00Z")), Drift::None);
        let other = kept(&|definition| {
            definition.timezone = "UTC".into();
            definition.enabled = false;
            definition.flexible_minutes = None;
            definition.target_arn = "arn:aws:lambda:us-east-1:000000000000:function:other".into();
            definition.dead_letter_arn = None;
            definition.retries = (0, 60);
            definition.deletes_itself = true;
        });
        let Drift::Differs(found) = drift(&other, now) else { panic!("no drift") };
        let fields: Vec<&str> = found.iter().map(|difference| difference.field).collect();
        assert_eq!(
            fields,
            [
                "schedule_timezone",
                "schedule_flexible_minutes",
                "execution_flag",
                "target",
                "dead_letter_queue",
                "retry_policy",
                "after_completion"
            ]
        );
        assert_eq!(schedules.drift(Some(&item), None, now), Drift::Missing);
        assert_eq!(schedules.drift(None, Some(&other), now), Drift::Unwanted);
        assert_eq!(schedules.drift(Some(&workflow("")), Some(&other), now), Drift::Unwanted);
        // One that has fired for the last time needs none.
        let once = workflow("schedule: at(2026-11-21T11:00:00)");
        assert_eq!(schedules.drift(Some(&once), None, now), Drift::None);
        assert!(is_over(&once, None, now) && !is_over(&item, None, now));
    }

    #[test]
    fn a_rate_is_over_when_its_last_firing_is() {
        let now = at("2026-11-21T12:00:00Z");
        let item = workflow("schedule: rate(1 day)\nschedule_end: 2026-11-21T18:00:00Z");
        let made = |made: &str| {
            let definition = schedules().wanted(&item).unwrap();
            KeptSchedule { definition, made: at(made) }
        };
        // One that is made now fires at once.
        assert!(!is_over(&item, None, now));
        assert!(!is_over(&item, Some(&made("2026-11-10T13:00:00Z")), now));
        assert!(is_over(&item, Some(&made("2026-11-10T11:00:00Z")), now));
    }

    #[test]
    fn a_kept_schedule_knows_when_it_fires() {
        let now = at("2026-11-21T12:00:00Z");
        let definition = schedules().wanted(&workflow("schedule: rate(2 hours)")).unwrap();
        let mut kept = KeptSchedule { definition, made: at("2026-11-21T11:30:00Z") };
        assert_eq!(kept.schedule().unwrap().next_after(now), Some(at("2026-11-21T13:30:00Z")));
        kept.definition.enabled = false;
        assert_eq!(kept.schedule(), None);
    }
}
