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

mod drift;

use std::collections::BTreeMap;

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::operation::get_schedule::GetScheduleOutput;
use aws_sdk_scheduler::primitives::DateTime as AwsTime;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, DeadLetterConfig, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy,
    ScheduleState, Target,
};
use chrono::{DateTime, Utc};
use rsqlflow_config::names::workflow_id_problem;
use rsqlflow_config::workflow::Workflow;

pub use drift::{Definition, Difference, Drift, KeptSchedule, is_over};

use crate::TriggerError;
use drift::{RETRIES, differences};

/// Oldest start that Scheduler takes, in seconds; one that is older is left out, which says the same.
const START_MAY_BE_OLD: i64 = 300;

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
        // No schedule is called that, and asking for one is an error, or a list of all.
        if workflow_id_problem(workflow_id).is_some() {
            return Ok(None);
        }
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
        let wanted = self.wanted(workflow).filter(|_| !is_over(workflow, None, now));
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

fn aws_time(time: DateTime<Utc>) -> AwsTime {
    AwsTime::from_secs(time.timestamp())
}

fn our_time(time: AwsTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}
