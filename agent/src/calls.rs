//! Counts the calls to AWS that failed and are made again, wherever they are made, and notes what they were.
//!
//! It stands inside the SDK's clients and looks at every answer. What the answer means is read as everywhere else, from
//! its code ([`crate::classify`]): a condition that does not hold or a token that is used up is no failure. A call that
//! its caller gave up before the answer came is not seen.

use std::sync::Arc;

use aws_sdk_sfn::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_sfn::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sfn::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::error::ErrorMetadata;

use crate::classify::{Answer, classify};
use crate::metrics::{Metrics, Service};
use crate::undelivered::Undelivered;

/// An interceptor of one service's client.
#[derive(Debug)]
pub(crate) struct CountFailures {
    service: Service,
    metrics: Arc<Metrics>,
    undelivered: Arc<Undelivered>,
}

impl CountFailures {
    pub(crate) fn new(service: Service, metrics: &Arc<Metrics>, undelivered: &Arc<Undelivered>) -> Self {
        Self { service, metrics: Arc::clone(metrics), undelivered: Arc::clone(undelivered) }
    }
}

impl Intercept for CountFailures {
    fn name(&self) -> &'static str {
        "CountFailures"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        known: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = known.load::<Metadata>().map(Metadata::name);
        let action = action(self.service, operation.unwrap_or_default());
        if context.output_or_error().is_some_and(|result| result.is_err()) {
            let body = context.response().and_then(|response| response.body().bytes());
            let code = code(body.unwrap_or_default());
            let why = if code.is_empty() { "not reached" } else { code.as_str() };
            if classify(&ErrorMetadata::builder().code(&code).build()) == Answer::Passing {
                self.metrics.call_failed(self.service);
                self.undelivered.failed(&action, why);
                return Ok(());
            }
        }
        self.undelivered.taken(&action);
        Ok(())
    }
}

/// The name that policies have for an operation: `states:SendTaskSuccess`.
fn action(service: Service, operation: &str) -> String {
    let prefix = match service {
        Service::StepFunctions => "states",
        Service::DynamoDb | Service::Logs | Service::SecretsManager => service.as_str(),
    };
    format!("{prefix}:{operation}")
}

/// The code of an error of the JSON protocols, without its namespace; empty where there is none.
/// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization>
fn code(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let named = body["__type"].as_str().or(body["code"].as_str()).unwrap_or_default();
    named.rsplit('#').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_named_as_in_policies() {
        assert_eq!(action(Service::StepFunctions, "SendTaskSuccess"), "states:SendTaskSuccess");
        assert_eq!(action(Service::DynamoDb, "UpdateItem"), "dynamodb:UpdateItem");
        assert_eq!(action(Service::Logs, "PutLogEvents"), "logs:PutLogEvents");
    }

    #[test]
    fn codes_come_with_and_without_a_namespace() {
        assert_eq!(code(br#"{"__type":"com.amazonaws.states#TaskTimedOut","message":"x"}"#), "TaskTimedOut");
        assert_eq!(code(br#"{"__type":"InvalidToken"}"#), "InvalidToken");
        assert_eq!(code(b"<html>502"), "");
    }
}
