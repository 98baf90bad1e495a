//! Lambda on this machine: `Invoke`, for functions that the embedding program registers.
//!
//! A function is a value of this process: no archives, no runtimes, no limits on memory or time. `RequestResponse`
//! answers with what the function returned, or with its error as AWS writes one; `Event` answers 202 at once and tries
//! up to three times, as an account does (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>).
//! Accepted events are kept in memory only: who needs one to outlive this process, as schedules do, waits for the answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::place::Place;
use crate::service::{AwsError, Reply, Service};
use crate::shape::{constraint, parse};

/// Waits before the second and third try of an event:
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>.
pub const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

/// "6 MB each for request and response (synchronous)":
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const MAX_PAYLOAD: usize = 6 * 1024 * 1024;

/// What a function returns, in time.
pub type Returning<'a> = Pin<Box<dyn Future<Output = Result<Value, FunctionError>> + Send + 'a>>;

/// A function.
pub trait Function: Send + Sync {
    /// Handles one event.
    fn handle(&self, invocation: Invocation) -> Returning<'_>;
}

/// One event on its way to a function.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// A UUID of the event: its further tries have the same.
    pub request_id: String,
    /// ARN of the function, with the alias by which it was called, if any.
    pub function_arn: String,
    /// The event.
    pub event: Value,
}

/// How a function failed: what AWS has in the payload of a failed invocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error_type}: {error_message}")]
pub struct FunctionError {
    /// The kind of error.
    pub error_type: String,
    /// What it says.
    pub error_message: String,
}

/// Lambda on this machine.
pub struct Lambda {
    place: Place,
    functions: RwLock<BTreeMap<String, Arc<dyn Function>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Invoke {
    function_name: String,
    #[serde(default)]
    qualifier: Option<String>,
    #[serde(default)]
    invocation_type: Option<String>,
    #[serde(default)]
    payload: Value,
}

impl Lambda {
    /// No functions yet.
    pub fn new(place: Place) -> Self {
        Self { place, functions: RwLock::default() }
    }

    /// Adds a function, or replaces the one of this name.
    pub fn register(&self, name: &str, function: Arc<dyn Function>) {
        self.functions.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), function);
    }

    /// Forgets every function: whoever registered them ends.
    pub fn clear(&self) {
        self.functions.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// ARN of a function.
    pub fn arn(place: &Place, name: &str) -> String {
        place.arn("lambda", &format!("function:{name}"))
    }

    fn find(&self, name: &str) -> Result<(Arc<dyn Function>, String), AwsError> {
        let (short, qualifier) = parts(name);
        let arn = Self::arn(&self.place, short);
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        match functions.get(short) {
            Some(function) => {
                Ok((function.clone(), qualifier.map_or(arn.clone(), |one| format!("{arn}:{one}"))))
            }
            None => Err(AwsError {
                status: 404,
                ..AwsError::client("ResourceNotFoundException", format!("Function not found: {arn}"))
            }),
        }
    }

    async fn invoke(&self, body: Value) -> Result<Value, AwsError> {
        let request: Invoke = parse(body)?;
        let name = match &request.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", request.function_name),
            None => request.function_name.clone(),
        };
        let (function, arn) = self.find(&name)?;
        if request.payload.to_string().len() > MAX_PAYLOAD {
            let said =
                format!("Request must be smaller than {MAX_PAYLOAD} bytes for the InvokeFunction operation");
            return Err(AwsError { status: 413, ..AwsError::client("RequestTooLargeException", said) });
        }
        match request.invocation_type.as_deref().unwrap_or("RequestResponse") {
            "RequestResponse" => Ok(match function.handle(Invocation::new(arn, request.payload)).await {
                Ok(returned) => {
                    json!({ "StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": returned })
                }
                Err(error) => json!({
                    "StatusCode": 200,
                    "ExecutedVersion": "$LATEST",
                    "FunctionError": "Unhandled",
                    "Payload": { "errorType": error.error_type, "errorMessage": error.error_message },
                }),
            }),
            "Event" => {
                let invocation = Invocation::new(arn, request.payload);
                tokio::spawn(handle_event(function, invocation, RETRY_AFTER));
                Ok(json!({ "StatusCode": 202, "Payload": {} }))
            }
            "DryRun" => Ok(json!({ "StatusCode": 204, "Payload": {} })),
            other => Err(constraint(
                "invocationType",
                other,
                "Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
            )),
        }
    }
}

/// The function's name, and the alias or version by which it is called: `name`, `name:alias`, `account:function:name` and
/// the ARN, with an alias or without, all name the function. What an alias points to is the one function there is.
fn parts(name: &str) -> (&str, Option<&str>) {
    let rest = name.rsplit_once("function:").map_or(name, |(_, rest)| rest);
    rest.split_once(':').map_or((rest, None), |(name, qualifier)| (name, Some(qualifier)))
}

impl Invocation {
    fn new(function_arn: String, event: Value) -> Self {
        Self { request_id: uuid::Uuid::new_v4().to_string(), function_arn, event }
    }
}

async fn handle_event(function: Arc<dyn Function>, invocation: Invocation, waits: [Duration; 2]) {
    let arn = &invocation.function_arn;
    let mut waits = waits.into_iter();
    while let Err(error) = function.handle(invocation.clone()).await {
        let Some(wait) = waits.next() else {
            tracing::error!(function = arn, %error, "an event was given up");
            return;
        };
        tracing::warn!(function = arn, %error, again_in = ?wait, "a function failed");
        tokio::time::sleep(wait).await;
    }
}

impl Service for Lambda {
    fn target_prefix(&self) -> &'static str {
        "AWSLambda"
    }

    fn sdk_name(&self) -> &'static str {
        "lambda"
    }

    fn error_prefix(&self) -> &'static str {
        "Lambda"
    }

    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a> {
        Box::pin(async move {
            match action {
                "Invoke" => self.invoke(body).await,
                _ => Err(AwsError::unknown_action("Lambda", action)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Always fails, and remembers the ids it was called with.
    #[derive(Default)]
    struct Failing(Mutex<Vec<String>>);

    impl Function for Failing {
        fn handle(&self, invocation: Invocation) -> Returning<'_> {
            self.0.lock().unwrap().push(invocation.request_id);
            Box::pin(async {
                Err(FunctionError { error_type: "Oops".into(), error_message: "not now".into() })
            })
        }
    }

    #[tokio::test]
    async fn an_event_keeps_its_id_through_its_tries() {
        let function = Arc::new(Failing::default());
        for _ in 0..2 {
            let event = Invocation::new("arn".into(), json!({}));
            handle_event(function.clone(), event, [Duration::ZERO; 2]).await;
        }
        let ids = function.0.lock().unwrap();
        assert_eq!(ids.len(), 6);
        assert!(
            ids[..3].iter().all(|id| *id == ids[0]) && ids[3..].iter().all(|id| *id == ids[3]),
            "{ids:?}"
        );
        assert_ne!(ids[0], ids[3]);
    }
}
