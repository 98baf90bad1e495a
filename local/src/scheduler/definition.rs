//! What a schedule says, and AWS's checks of it.
//!
//! <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>

use chrono::{DateTime, Utc};
use rsqlflow_config::schedule::{Expression, Schedule};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{DEFAULT_GROUP, millis};
use crate::clock::Millis;
use crate::service::AwsError;
use crate::shape::{constraint, parse};

/// "The StartDate you specify cannot be earlier than 5 minutes ago", as the service says.
const START_MAY_BE_OLD: Millis = 5 * 60 * 1000;
const MAX_NAME: usize = 64;
const MAX_EXPRESSION: usize = 256;
const MAX_DESCRIPTION: usize = 512;
const MAX_WINDOW_MINUTES: u32 = 1_440;
const EVENT_AGE_SECONDS: std::ops::RangeInclusive<u32> = 60..=86_400;
const RETRY_ATTEMPTS: std::ops::RangeInclusive<u32> = 0..=185;

/// A schedule as it was given, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Definition {
    pub(super) name: String,
    #[serde(default = "default_group")]
    pub(super) group_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    schedule_expression: String,
    #[serde(default = "utc")]
    schedule_expression_timezone: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "time")]
    start_date: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "time")]
    end_date: Option<f64>,
    flexible_time_window: FlexibleTimeWindow,
    pub(super) target: Target,
    #[serde(default = "enabled")]
    pub(super) state: String,
    #[serde(default = "none")]
    action_after_completion: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FlexibleTimeWindow {
    mode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maximum_window_in_minutes: Option<u32>,
}

/// What is called, and what with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Target {
    pub(super) arn: String,
    role_arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<String>,
    #[serde(default)]
    pub(super) retry_policy: RetryPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead_letter_config: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RetryPolicy {
    pub(super) maximum_event_age_in_seconds: u32,
    pub(super) maximum_retry_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            maximum_event_age_in_seconds: *EVENT_AGE_SECONDS.end(),
            maximum_retry_attempts: *RETRY_ATTEMPTS.end(),
        }
    }
}

fn default_group() -> String {
    DEFAULT_GROUP.into()
}

fn utc() -> String {
    "UTC".into()
}

fn enabled() -> String {
    "ENABLED".into()
}

fn none() -> String {
    "NONE".into()
}

/// A time is seconds on the wire and RFC 3339 text in a state machine's arguments.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Time {
        Seconds(f64),
        Text(DateTime<Utc>),
    }
    // Milliseconds of this era fit a double exactly.
    Ok(Option::<Time>::deserialize(deserializer)?.map(|time| match time {
        Time::Seconds(seconds) => seconds,
        Time::Text(time) => time.timestamp_millis() as f64 / 1000.0,
    }))
}

impl Definition {
    /// Reads and checks a request.
    ///
    /// # Errors
    /// `ValidationException` or `SerializationException`.
    pub(super) fn read(mut body: Value, now: Millis) -> Result<Self, AwsError> {
        // A null is as good as nothing.
        if let Value::Object(members) = &mut body {
            members.retain(|_, value| !value.is_null());
        }
        let definition: Self = parse(body)?;
        definition.check(now)?;
        Ok(definition)
    }

    fn check(&self, now: Millis) -> Result<(), AwsError> {
        check_name("name", &self.name)?;
        check_name("groupName", &self.group_name)?;
        one_of("state", &self.state, &["ENABLED", "DISABLED"])?;
        one_of("actionAfterCompletion", &self.action_after_completion, &["NONE", "DELETE"])?;
        one_of("flexibleTimeWindow.mode", &self.flexible_time_window.mode, &["OFF", "FLEXIBLE"])?;
        length("scheduleExpression", &self.schedule_expression, MAX_EXPRESSION)?;
        if let Some(description) = &self.description {
            length("description", description, MAX_DESCRIPTION)?;
        }
        self.check_window()?;
        self.target.check()?;
        let expression: Expression = self.schedule_expression.parse().map_err(|why| {
            AwsError::validation(format!("Invalid Schedule Expression {}: {why}.", self.schedule_expression))
        })?;
        let zone = &self.schedule_expression_timezone;
        if let Some(problem) = rsqlflow_config::schedule::timezone_problem(zone) {
            return Err(AwsError::validation(format!(
                "Invalid ScheduleExpressionTimezone {zone}: it {problem}"
            )));
        }
        if matches!(expression, Expression::At(_)) {
            return Ok(());
        }
        let (start, end) = (self.start_date.map(millis), self.end_date.map(millis));
        if start.is_some_and(|start| start < now - START_MAY_BE_OLD) {
            return Err(AwsError::validation(
                "The StartDate you specify cannot be earlier than 5 minutes ago.",
            ));
        }
        if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            return Err(AwsError::validation("The EndDate you specify must be later than the StartDate."));
        }
        Ok(())
    }

    fn check_window(&self) -> Result<(), AwsError> {
        let window = &self.flexible_time_window;
        match (window.mode == "FLEXIBLE", window.maximum_window_in_minutes) {
            (true, Some(minutes)) if (1..=MAX_WINDOW_MINUTES).contains(&minutes) => Ok(()),
            (true, Some(minutes)) => Err(constraint(
                "flexibleTimeWindow.maximumWindowInMinutes",
                &minutes.to_string(),
                "Member must have value between 1 and 1440",
            )),
            (true, None) => {
                Err(AwsError::validation("MaximumWindowInMinutes is required when Mode is FLEXIBLE."))
            }
            (false, Some(_)) => {
                Err(AwsError::validation("MaximumWindowInMinutes must not be set when Mode is OFF."))
            }
            (false, None) => Ok(()),
        }
    }

    /// When it fires.
    pub(super) fn schedule(&self, created_at: Millis) -> Option<Schedule> {
        let time = |seconds: Option<f64>| seconds.and_then(|at| DateTime::from_timestamp_millis(millis(at)));
        Some(Schedule {
            expression: self.schedule_expression.parse().ok()?,
            zone: self.schedule_expression_timezone.parse().ok()?,
            start: time(self.start_date),
            end: time(self.end_date),
            made: DateTime::from_timestamp_millis(created_at)?,
        })
    }

    /// Whether it may fire.
    pub(super) fn is_enabled(&self) -> bool {
        self.state == "ENABLED"
    }

    /// Whether it is deleted once it will not fire any more.
    pub(super) fn ends_with_its_last(&self) -> bool {
        self.action_after_completion == "DELETE"
    }

    /// How long after a scheduled time its target may be called.
    pub(super) fn window(&self) -> Millis {
        Millis::from(self.flexible_time_window.maximum_window_in_minutes.unwrap_or(0)) * 60_000
    }

    /// How long a scheduled time is worth delivering.
    pub(super) fn event_age(&self) -> Millis {
        Millis::from(self.target.retry_policy.maximum_event_age_in_seconds) * 1_000
    }
}

impl Target {
    fn check(&self) -> Result<(), AwsError> {
        let is_role = self.role_arn.starts_with("arn:") && self.role_arn.contains(":role/");
        if !is_role {
            return Err(constraint(
                "target.roleArn",
                &self.role_arn,
                r"Member must satisfy regular expression pattern: ^arn:aws(-[a-z]+)?:iam::\d{12}:role\/[\w+=,.@\/-]+$",
            ));
        }
        super::delivery::Callee::of(&self.arn)?;
        let policy = &self.retry_policy;
        let (age, attempts) = (policy.maximum_event_age_in_seconds, policy.maximum_retry_attempts);
        if !EVENT_AGE_SECONDS.contains(&age) {
            return Err(constraint(
                "target.retryPolicy.maximumEventAgeInSeconds",
                &age.to_string(),
                "Member must have value between 60 and 86400",
            ));
        }
        if !RETRY_ATTEMPTS.contains(&attempts) {
            return Err(constraint(
                "target.retryPolicy.maximumRetryAttempts",
                &attempts.to_string(),
                "Member must have value less than or equal to 185",
            ));
        }
        Ok(())
    }
}

/// Whether a schedule or group may be called so.
pub(super) fn check_name(member: &str, name: &str) -> Result<(), AwsError> {
    length(member, name, MAX_NAME)?;
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Ok(());
    }
    Err(constraint(member, name, "Member must satisfy regular expression pattern: ^[0-9a-zA-Z-_.]+$"))
}

fn length(member: &str, text: &str, max: usize) -> Result<(), AwsError> {
    match text.chars().count() {
        0 if member != "description" => {
            Err(constraint(member, text, "Member must have length greater than or equal to 1"))
        }
        length if length > max => {
            Err(constraint(member, text, &format!("Member must have length less than or equal to {max}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn one_of(member: &str, value: &str, known: &[&str]) -> Result<(), AwsError> {
    if known.contains(&value) {
        return Ok(());
    }
    let set = known.join(", ");
    Err(constraint(member, value, &format!("Member must satisfy enum value set: [{set}]")))
}
