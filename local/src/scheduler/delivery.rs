//! Calling the target of a schedule, and what is to be made of its refusal.
//!
//! A Lambda function is called and waited for, so that an event is struck out only when it has been handled. Its errors
//! are then met as Lambda meets those of an asynchronous event, which it is in an account: two more tries. Everything
//! else follows the schedule's retry policy; an error that another try cannot mend ends the event at once.

use std::time::Duration;

use serde_json::{Value, json};

use super::definition::Definition;
use crate::clock::Millis;
use crate::lambda::{FunctionError, RETRY_AFTER};
use crate::registry::Services;
use crate::service::AwsError;

/// What a target's ARN names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Callee {
    /// A Lambda function.
    Function(String),
    /// Another service's action, and the member that holds the ARN and that which holds the input; none for the
    /// universal target, whose input is the request.
    Action { service: String, action: String, arn: Option<(&'static str, String, &'static str)> },
}

/// Why a target was not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The function failed.
    #[error("the function failed: {0}")]
    Function(FunctionError),
    /// The service refused or was not able to.
    #[error("the target refused: {0}")]
    Service(AwsError),
}

impl Callee {
    /// Reads a target's ARN.
    ///
    /// # Errors
    /// `ValidationException`, also for a target that is not here.
    pub(super) fn of(arn: &str) -> Result<Self, AwsError> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, service, _, _, resource] = parts[..] else {
            return Err(AwsError::validation("Provided Arn is not in correct format."));
        };
        let action = |service: &str, action: &str, members: (&'static str, &'static str)| Self::Action {
            service: service.into(),
            action: action.into(),
            arn: Some((members.0, arn.into(), members.1)),
        };
        match (service, resource) {
            ("lambda", name) if name.starts_with("function:") => Ok(Self::Function(arn.into())),
            ("states", name) if name.starts_with("stateMachine:") => {
                Ok(action("sfn", "StartExecution", ("StateMachineArn", "Input")))
            }
            ("sns", _) => Ok(action("sns", "Publish", ("TopicArn", "Message"))),
            // arn:aws:scheduler:::aws-sdk:SERVICE:ACTION
            ("scheduler", call) => {
                let named =
                    |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
                match call.strip_prefix("aws-sdk:").and_then(|call| call.split_once(':')) {
                    Some((service, action)) if named(service) && named(action) => Ok(Self::Action {
                        service: service.into(),
                        action: first_letter(action, char::to_ascii_uppercase),
                        arn: None,
                    }),
                    _ => Err(AwsError::validation("Provided Arn is not in correct format.")),
                }
            }
            _ => Err(AwsError::validation(format!(
                "The embedded default has no target {arn}; it calls Lambda functions, state machines, topics and \
                 arn:aws:scheduler:::aws-sdk:SERVICE:ACTION"
            ))),
        }
    }
}

/// What is known of one call, for the placeholders of the input.
/// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html>
pub(super) struct Context {
    pub(super) schedule_arn: String,
    pub(super) scheduled_at: Millis,
    pub(super) attempt: u32,
}

impl Context {
    fn fill_in(&self, input: &str) -> String {
        let scheduled = chrono::DateTime::from_timestamp_millis(self.scheduled_at)
            .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            .unwrap_or_default();
        input
            .replace("<aws.scheduler.schedule-arn>", &self.schedule_arn)
            .replace("<aws.scheduler.scheduled-time>", &scheduled)
            .replace("<aws.scheduler.execution-id>", &uuid::Uuid::new_v4().to_string())
            .replace("<aws.scheduler.attempt-number>", &self.attempt.to_string())
    }
}

/// Calls the target.
pub(super) async fn deliver(
    services: &Services,
    definition: &Definition,
    context: Context,
) -> Result<(), Failure> {
    let target = &definition.target;
    let input = context.fill_in(target.input.as_deref().unwrap_or("{}"));
    let (service, action, body) = match Callee::of(&target.arn).map_err(Failure::Service)? {
        Callee::Function(arn) => {
            let event: Value = serde_json::from_str(&input).unwrap_or(Value::String(input));
            ("lambda".to_owned(), "Invoke".to_owned(), json!({ "FunctionName": arn, "Payload": event }))
        }
        Callee::Action { service, action, arn: Some((arn_member, arn, input_member)) } => {
            (service, action, json!({ arn_member: arn, input_member: input }))
        }
        Callee::Action { service, action, arn: None } => {
            let body: Value = serde_json::from_str(&input).unwrap_or_else(|_| json!({}));
            (service, action, body)
        }
    };
    let service = services.by_sdk_name(&service).ok_or_else(|| {
        Failure::Service(AwsError::client(
            "ResourceNotFoundException",
            format!("there is no service {service}"),
        ))
    })?;
    let body = if service.camel_case_members() { camel_case(body) } else { body };
    let reply = service.call(&action, body).await.map_err(Failure::Service)?;
    match reply["FunctionError"].as_str() {
        None => Ok(()),
        Some(_) => {
            let text = |name: &str| reply["Payload"][name].as_str().unwrap_or_default().to_owned();
            Err(Failure::Function(FunctionError {
                error_type: text("errorType"),
                error_message: text("errorMessage"),
            }))
        }
    }
}

/// Members of a request as Step Functions and CloudWatch Logs write them.
fn camel_case(body: Value) -> Value {
    match body {
        Value::Object(members) => {
            let lower = |name: String| first_letter(&name, char::to_ascii_lowercase);
            members.into_iter().map(|(name, value)| (lower(name), value)).collect()
        }
        other => other,
    }
}

fn first_letter(name: &str, change: impl Fn(&char) -> char) -> String {
    name.chars().enumerate().map(|(at, letter)| if at == 0 { change(&letter) } else { letter }).collect()
}

impl Failure {
    /// How long to wait for the next try after so many; none where there is to be no other.
    pub(super) fn again_after(&self, attempts: u32, definition: &Definition) -> Option<Duration> {
        match self {
            Self::Function(_) => {
                let tried = usize::try_from(attempts).unwrap_or(usize::MAX);
                RETRY_AFTER.get(tried.saturating_sub(1)).copied()
            }
            Self::Service(error) => {
                let may_mend = error.status >= 500 || error.code.contains("Throttl");
                (may_mend && attempts <= definition.target.retry_policy.maximum_retry_attempts).then(|| {
                    // Doubling from a second to ten minutes; AWS documents no figures.
                    Duration::from_secs(1u64 << attempts.saturating_sub(1).min(9))
                        .min(Duration::from_secs(600))
                })
            }
        }
    }
}
