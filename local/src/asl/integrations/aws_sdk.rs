//! `arn:aws:states:::aws-sdk:SERVICE:action`: any action of any registered service
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html>).
//!
//! Arguments and answers are PascalCase whatever the service's wire format; errors are named after the SDK's
//! exception classes, `Ssm.InvalidInstanceIdException`.

use std::sync::Arc;

use serde_json::Value;

use super::{Caller, Integration, Outcome, Pattern, camel, exception_name, is_unmodelled, pascal};
use crate::asl::failure::Failure;
use crate::service::{AwsError, Service};

struct AwsSdk {
    service: String,
    action: String,
}

pub(super) fn recognise(
    service: &str,
    action: &str,
    pattern: Pattern,
) -> Option<Result<Arc<dyn Integration>, String>> {
    let service = service.strip_prefix("aws-sdk:")?;
    if pattern.runs_a_job() {
        return Some(Err("AWS SDK integrations have no '.sync'".into()));
    }
    if service.is_empty() || action.is_empty() || !action.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    Some(Ok(Arc::new(AwsSdk { service: service.to_owned(), action: pascal(action) })))
}

impl Integration for AwsSdk {
    fn service(&self) -> &str {
        &self.service
    }

    fn call<'a>(&'a self, from: &'a Caller, arguments: Value) -> Outcome<'a> {
        Box::pin(async move {
            let service = from.service(&self.service)?;
            let camel_case = service.camel_case_members();
            let body = if camel_case { rename(arguments, camel) } else { arguments };
            match service.call(&self.action, body).await {
                Ok(answer) if camel_case => Ok(rename(answer, pascal)),
                Ok(answer) => Ok(answer),
                Err(error) => Err(failure(service.as_ref(), &error)),
            }
        })
    }
}

/// Renames the members of every object. Maps with free keys are renamed along: their keys are the caller's, and no
/// action the product calls has such a map under a camelCase service.
fn rename(value: Value, name: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, field)| (name(&key), rename(field, name))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| rename(item, name)).collect()),
        scalar => scalar,
    }
}

fn failure(service: &dyn Service, error: &AwsError) -> Failure {
    let prefix = service.error_prefix();
    let class = if is_unmodelled(error) { format!("{prefix}Exception") } else { exception_name(&error.code) };
    Failure::new(
        format!("{prefix}.{class}"),
        format!(
            "{} (Service: {prefix}, Status Code: {}, Request ID: {})",
            error.message,
            error.status,
            uuid::Uuid::new_v4()
        ),
    )
}
