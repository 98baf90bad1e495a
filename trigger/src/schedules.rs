//! Schedules in EventBridge Scheduler, kept to what the items say.
//!
//! One schedule for each workflow that has one, in a group of their own, named as the workflow; its target is the trigger
//! function, which gets the workflow and the scheduled time. Nothing is remembered of what was made: [`Schedules`] looks
//! at what is there, compares, and changes what differs, so whatever a process that died left undone, the next
//! reconciliation does. Item and schedule are in two services and cannot be written at once; the item is written first
//! and the schedule deleted first, so that what is left in between is an item without its schedule, never a schedule
//! without its item.
//!
//! A workflow that is switched off keeps its schedule, disabled. A schedule that will never fire again has none: AWS does
//! not say what becomes of dates that have passed.

use std::collections::BTreeMap;

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::operation::get_schedule::GetScheduleOutput;
use aws_sdk_scheduler::primitives::DateTime as AwsTime;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, DeadLetterConfig, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy,
    ScheduleState, Target,
};
use chrono::{DateTime, TimeDelta, Utc};
use rsqlflow_config::schedule::Schedule;
use rsqlflow_config::time;
use rsqlflow_config::workflow::{Workflow, flag_is_set};
use serde_json::json;

use crate::TriggerError;

/// Oldest start that Scheduler takes, in seconds; one that is older is left out, which says the same.
const START_MAY_BE_OLD: i64 = 300;

/// How often a delivery that failed is tried again, and for how many seconds: the most that Scheduler has, and its
/// defaults. <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html>
const RETRIES: (i32, i32) = (185, 86_400);

/// What the event of a schedule names as its source.
pub const EVENT_SOURCE: &str = "rsqlflow.schedule";

/// Where schedules are and what they start.
#[derive(Debug, Clone)]
pub struct ScheduleSettings {
    /// The schedule group.
    pub group: String,
    /// ARN of the trigger function.
    pub trigger_arn: String,
    /// ARN of the role that may call it.
    pub role_arn: String,
    /// ARN of the queue for events that it could not be given.
    pub dead_letter_arn: Option<String>,
}

/// The schedules of the workflows.
#[derive(Debug, Clone)]
pub struct Schedules {
    client: Client,
    settings: ScheduleSettings,
}

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

/// What a reconciliation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// Nothing: there is none and none is wanted.
    None,
    /// Nothing: it was as it should be.
    Unchanged,
    /// Made it.
    Created,
    /// Changed it.
    Updated,
    /// Deleted it.
    Deleted,
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
    /// Schedules reached through `client`.
    pub fn new(client: Client, settings: ScheduleSettings) -> Self {
        Self { client, settings }
    }

    /// The schedule of one workflow.
    ///
    /// # Errors
    /// [`TriggerError::Aws`].
    pub async fn get(&self, workflow_id: &str) -> Result<Option<KeptSchedule>, TriggerError> {
        let got = self.client.get_schedule().group_name(&self.settings.group).name(workflow_id).send().await;
        match got {
            Ok(got) => Ok(Some(kept(got))),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
                Ok(None)
            }
            Err(error) => Err(TriggerError::aws("looking at the schedule", error)),
        }
    }

    /// Every schedule of the group, by workflow.
    ///
    /// # Errors
    /// [`TriggerError::Aws`].
    pub async fn list(&self) -> Result<BTreeMap<String, KeptSchedule>, TriggerError> {
        let mut pages =
            self.client.list_schedules().group_name(&self.settings.group).into_paginator().items().send();
        let mut all = BTreeMap::new();
        while let Some(summary) = pages.next().await {
            let summary = summary.map_err(|error| TriggerError::aws("listing the schedules", error))?;
            let Some(name) = summary.name else { continue };
            // Deleted since the page was made, if there is none.
            if let Some(kept) = self.get(&name).await? {
                all.insert(name, kept);
            }
        }
        Ok(all)
    }

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

    /// Makes Scheduler say what the item says.
    ///
    /// # Errors
    /// [`TriggerError::Aws`]; the same call again goes on.
    pub async fn reconcile(
        &self,
        workflow: &Workflow,
        now: DateTime<Utc>,
    ) -> Result<Reconciled, TriggerError> {
        let id = &workflow.workflow_id;
        let before = self.get(id).await?;
        let wanted = self.wanted(workflow).filter(|_| !is_over(workflow, before.as_ref(), now));
        match (wanted, before) {
            (None, None) => Ok(Reconciled::None),
            (None, Some(_)) => self.delete(id).await.map(|_| Reconciled::Deleted),
            (Some(wanted), None) => self.create(id, &wanted, now).await.map(|()| Reconciled::Created),
            (Some(wanted), Some(kept)) if differences(&wanted, &kept.definition, now).is_empty() => {
                Ok(Reconciled::Unchanged)
            }
            (Some(wanted), Some(_)) => self.update(id, &wanted, now).await.map(|()| Reconciled::Updated),
        }
    }

    /// Deletes the schedule of a workflow; whether there was one.
    ///
    /// # Errors
    /// [`TriggerError::Aws`].
    pub async fn delete(&self, workflow_id: &str) -> Result<bool, TriggerError> {
        let gone =
            self.client.delete_schedule().group_name(&self.settings.group).name(workflow_id).send().await;
        match gone {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
                Ok(false)
            }
            Err(error) => Err(TriggerError::aws("deleting the schedule", error)),
        }
    }

    async fn create(&self, id: &str, wanted: &Definition, now: DateTime<Utc>) -> Result<(), TriggerError> {
        let (window, target) = shapes(wanted)?;
        let created = self
            .client
            .create_schedule()
            .group_name(&self.settings.group)
            .name(id)
            .schedule_expression(&wanted.expression)
            .schedule_expression_timezone(&wanted.timezone)
            .set_start_date(wanted.start.filter(|start| takes(*start, now)).map(aws_time))
            .set_end_date(wanted.end.map(aws_time))
            .flexible_time_window(window)
            .target(target)
            .state(state(wanted))
            .send()
            .await;
        match created {
            Ok(_) => Ok(()),
            // Somebody else reconciles as well; their item may be an older one.
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conflict_exception()) => {
                self.update(id, wanted, now).await
            }
            Err(error) => Err(TriggerError::aws("creating the schedule", error)),
        }
    }

    /// As [`Self::create`]: the SDK has a builder type of its own for each call, so what they share is named twice.
    async fn update(&self, id: &str, wanted: &Definition, now: DateTime<Utc>) -> Result<(), TriggerError> {
        let (window, target) = shapes(wanted)?;
        self.client
            .update_schedule()
            .group_name(&self.settings.group)
            .name(id)
            .schedule_expression(&wanted.expression)
            .schedule_expression_timezone(&wanted.timezone)
            .set_start_date(wanted.start.filter(|start| takes(*start, now)).map(aws_time))
            .set_end_date(wanted.end.map(aws_time))
            .flexible_time_window(window)
            .target(target)
            .state(state(wanted))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| TriggerError::aws("updating the schedule", error))
    }
}

/// Whether a workflow's schedule will never fire again: the one that is kept, or one that is made now.
pub fn is_over(workflow: &Workflow, kept: Option<&KeptSchedule>, now: DateTime<Utc>) -> bool {
    let made = kept.map_or(now, |kept| kept.made);
    // A rate that is made now fires now.
    let before = now - TimeDelta::seconds(1);
    Schedule::of(workflow, made).is_some_and(|schedule| schedule.next_after(before).is_none())
}

fn kept(got: GetScheduleOutput) -> KeptSchedule {
    let window = got.flexible_time_window.filter(|window| window.mode == FlexibleTimeWindowMode::Flexible);
    let target = got.target;
    let retries = target.as_ref().and_then(|target| target.retry_policy.as_ref());
    let (most, seconds) = retries
        .map_or((None, None), |policy| (policy.maximum_retry_attempts, policy.maximum_event_age_in_seconds));
    let text = |text: Option<&str>| text.unwrap_or_default().to_string();
    KeptSchedule {
        definition: Definition {
            expression: got.schedule_expression.unwrap_or_default(),
            timezone: got.schedule_expression_timezone.unwrap_or_else(|| "UTC".into()),
            start: got.start_date.and_then(our_time),
            end: got.end_date.and_then(our_time),
            flexible_minutes: window
                .and_then(|window| window.maximum_window_in_minutes)
                .and_then(|minutes| u32::try_from(minutes).ok()),
            enabled: got.state != Some(ScheduleState::Disabled),
            target_arn: text(target.as_ref().map(|target| target.arn.as_str())),
            role_arn: text(target.as_ref().map(|target| target.role_arn.as_str())),
            input: text(target.as_ref().and_then(|target| target.input.as_deref())),
            dead_letter_arn: target
                .and_then(|target| target.dead_letter_config)
                .and_then(|config| config.arn),
            retries: (most.unwrap_or(RETRIES.0), seconds.unwrap_or(RETRIES.1)),
            deletes_itself: got.action_after_completion == Some(ActionAfterCompletion::Delete),
        },
        made: got.creation_date.and_then(our_time).unwrap_or(DateTime::UNIX_EPOCH),
    }
}

fn shapes(wanted: &Definition) -> Result<(FlexibleTimeWindow, Target), TriggerError> {
    let minutes = wanted.flexible_minutes.and_then(|minutes| i32::try_from(minutes).ok());
    let mode = minutes.map_or(FlexibleTimeWindowMode::Off, |_| FlexibleTimeWindowMode::Flexible);
    let window = FlexibleTimeWindow::builder().mode(mode).set_maximum_window_in_minutes(minutes).build();
    let (most, seconds) = wanted.retries;
    let retries = RetryPolicy::builder().maximum_retry_attempts(most).maximum_event_age_in_seconds(seconds);
    let queue = wanted.dead_letter_arn.as_ref().map(|arn| DeadLetterConfig::builder().arn(arn).build());
    let target = Target::builder()
        .arn(&wanted.target_arn)
        .role_arn(&wanted.role_arn)
        .input(&wanted.input)
        .retry_policy(retries.build())
        .set_dead_letter_config(queue)
        .build();
    let invalid = |error: aws_sdk_scheduler::error::BuildError| TriggerError::Record {
        table: "schedule".into(),
        message: error.to_string(),
    };
    Ok((window.map_err(invalid)?, target.map_err(invalid)?))
}

fn state(wanted: &Definition) -> ScheduleState {
    if wanted.enabled { ScheduleState::Enabled } else { ScheduleState::Disabled }
}

/// Whether Scheduler takes a start: it refuses those of long ago.
fn takes(start: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    (now - start).num_seconds() < START_MAY_BE_OLD
}

fn differences(item: &Definition, kept: &Definition, now: DateTime<Utc>) -> Vec<Difference> {
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

fn aws_time(time: DateTime<Utc>) -> AwsTime {
    AwsTime::from_secs(time.timestamp())
}

fn our_time(time: AwsTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

#[cfg(test)]
mod tests {
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
