//! What a Task's `Resource` can be.
//!
//! An integration is one small file: it recognises its resource ARNs and turns evaluated arguments into a call of a
//! [`Service`]. Adding one means adding a file and a line in [`KNOWN`]. The three patterns (request and response,
//! run a job, wait for a callback) are the interpreter's business; an integration that can run jobs also says how
//! to wait for one and how to stop it.

mod aws_sdk;
mod dynamodb;
mod sns;
mod states;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use serde_json::{Value, json};

use super::failure::Failure;
use super::token::TaskRef;
use crate::registry::Services;
use crate::service::{AwsError, Reply, Service};

/// The future of one step of a task.
pub(crate) type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// How a Task and its resource go together
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// The call's answer is the result.
    RequestResponse,
    /// `.sync`: the call starts a job, whose end is the result.
    Sync,
    /// `.sync:2`: the same, with the job's output as JSON rather than text.
    Sync2,
    /// `.waitForTaskToken`: the result comes by callback.
    Callback,
}

impl Pattern {
    pub(crate) fn runs_a_job(self) -> bool {
        matches!(self, Self::Sync | Self::Sync2)
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::RequestResponse => "",
            Self::Sync => ".sync",
            Self::Sync2 => ".sync:2",
            Self::Callback => ".waitForTaskToken",
        }
    }
}

/// A parsed `Resource`.
#[derive(Clone)]
pub(crate) struct Resource {
    /// As in events: `aws-sdk:ssm`.
    pub(crate) resource_type: String,
    /// As in events: `sendCommand.waitForTaskToken`.
    pub(crate) resource: String,
    pub(crate) pattern: Pattern,
    pub(crate) integration: Arc<dyn Integration>,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:states:::{}:{}", self.resource_type, self.resource)
    }
}

/// One kind of resource.
pub(crate) trait Integration: Send + Sync {
    /// The service of the registry it needs.
    fn service(&self) -> &str;

    /// Makes the call; its answer is the result, or the submission of a job.
    fn call<'a>(&'a self, from: &'a Caller, arguments: Value) -> Outcome<'a>;

    /// Waits for the job that `submission` told of.
    fn wait<'a>(&'a self, _from: &'a Caller, _submission: &'a Value, _pattern: Pattern) -> Outcome<'a> {
        Box::pin(std::future::ready(Err(Failure::runtime("This resource runs no jobs"))))
    }

    /// Stops the job that `submission` told of: its task is no more.
    fn cancel<'a>(
        &'a self,
        _from: &'a Caller,
        _submission: &'a Value,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

/// Recognises an integration's ARNs: `service` and `action` as in `arn:aws:states:::service:action`.
type Recognise =
    fn(service: &str, action: &str, pattern: Pattern) -> Option<Result<Arc<dyn Integration>, String>>;

const KNOWN: [Recognise; 4] = [aws_sdk::recognise, dynamodb::recognise, sns::recognise, states::recognise];

impl Resource {
    /// Reads a resource ARN. The error says why there is no such resource.
    pub(crate) fn read(arn: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "The resource provided {arn} is not recognized. The value is not a valid resource ARN, or the \
                 resource is not available in the embedded default."
            )
        };
        let mut rest = arn.splitn(4, ':');
        let (Some("arn"), Some(_partition), Some("states")) = (rest.next(), rest.next(), rest.next()) else {
            return Err(unknown());
        };
        // What is left is `::` (no region, no account) and the resource.
        let name = rest.next().and_then(|rest| rest.strip_prefix("::")).ok_or_else(unknown)?;
        let pattern = [Pattern::Callback, Pattern::Sync2, Pattern::Sync]
            .into_iter()
            .find(|pattern| name.ends_with(pattern.suffix()))
            .unwrap_or(Pattern::RequestResponse);
        let name = name.strip_suffix(pattern.suffix()).unwrap_or(name);
        let (service, action) = name.rsplit_once(':').ok_or_else(unknown)?;
        for recognise in KNOWN {
            if let Some(integration) = recognise(service, action, pattern) {
                return Ok(Self {
                    resource_type: service.to_owned(),
                    resource: format!("{action}{}", pattern.suffix()),
                    pattern,
                    integration: integration?,
                });
            }
        }
        Err(unknown())
    }
}

/// Who calls, and what can be called.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) services: Services,
    pub(crate) executions: Weak<dyn Executions>,
    pub(crate) execution_arn: String,
    pub(crate) task: TaskRef,
    pub(crate) pattern: Pattern,
}

impl Caller {
    fn service(&self, name: &str) -> Result<Arc<dyn Service>, Failure> {
        self.services
            .by_sdk_name(name)
            .ok_or_else(|| Failure::runtime(format!("The embedded default has no service '{name}'")))
    }

    fn executions(&self) -> Result<Arc<dyn Executions>, Failure> {
        self.executions.upgrade().ok_or_else(|| Failure::runtime("The embedded default is stopping"))
    }
}

/// What nested executions need of the Step Functions API, beyond its actions.
pub(crate) trait Executions: Send + Sync {
    /// `StartExecution` by a task; the same task gets the same execution however often it asks. When it `awaits`
    /// the execution's end, an execution whose task is no more is stopped.
    fn start(&self, by: TaskRef, awaits: bool, request: Value) -> Reply<'_>;

    /// The description of an execution once it has ended.
    fn ended<'a>(&'a self, arn: &'a str) -> Reply<'a>;

    /// Stops an execution whose parent no longer waits for it.
    fn stop<'a>(&'a self, arn: &'a str, cause: String) -> Reply<'a>;
}

/// What optimised integrations add to a service's answer.
fn with_metadata(answer: Value) -> Value {
    let request = uuid::Uuid::new_v4().to_string();
    let mut answer = match answer {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    answer.insert(
        "SdkHttpMetadata".into(),
        json!({
            "AllHttpHeaders": { "x-amzn-RequestId": [&request] },
            "HttpHeaders": { "x-amzn-RequestId": &request },
            "HttpStatusCode": 200
        }),
    );
    answer.insert("SdkResponseMetadata".into(), json!({ "RequestId": request }));
    Value::Object(answer)
}

/// The name of the exception class the Java SDK has for an error shape, which is what Step Functions reports.
fn exception_name(code: &str) -> String {
    if code.ends_with("Exception") {
        code.to_owned()
    } else if let Some(base) = code.strip_suffix("Fault") {
        format!("{base}Exception")
    } else {
        format!("{code}Exception")
    }
}

/// Errors every service can give and few of them model: the SDK has no class of its own for these.
fn is_unmodelled(error: &AwsError) -> bool {
    matches!(
        error.code.as_str(),
        "ValidationException"
            | "SerializationException"
            | "UnknownOperationException"
            | "AccessDeniedException"
            | "ThrottlingException"
            | "InternalFailure"
    )
}

/// `sendCommand` as the action `SendCommand`.
fn pascal(name: &str) -> String {
    change_first(name, |first| first.to_ascii_uppercase())
}

fn camel(name: &str) -> String {
    change_first(name, |first| first.to_ascii_lowercase())
}

fn change_first(name: &str, change: impl Fn(char) -> char) -> String {
    let mut chars = name.chars();
    chars.next().map(change).into_iter().chain(chars).collect()
}

/// An object or array given for a field of text, as JSON text.
fn texts(mut arguments: Value, names: &[&str]) -> Value {
    for name in names {
        if let Some(value) = arguments.get_mut(*name)
            && !value.is_string()
            && !value.is_null()
        {
            *value = Value::String(value.to_string());
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_arns_are_read() {
        for (arn, kind, resource, pattern) in [
            (
                "arn:aws:states:::aws-sdk:ssm:sendCommand.waitForTaskToken",
                "aws-sdk:ssm",
                "sendCommand.waitForTaskToken",
                Pattern::Callback,
            ),
            ("arn:aws:states:::dynamodb:updateItem", "dynamodb", "updateItem", Pattern::RequestResponse),
            (
                "arn:aws:states:::states:startExecution.sync:2",
                "states",
                "startExecution.sync:2",
                Pattern::Sync2,
            ),
            ("arn:aws:states:::states:startExecution.sync", "states", "startExecution.sync", Pattern::Sync),
            ("arn:aws:states:::sns:publish", "sns", "publish", Pattern::RequestResponse),
        ] {
            let read = Resource::read(arn).unwrap();
            assert_eq!((read.resource_type.as_str(), read.resource.as_str()), (kind, resource));
            assert_eq!(read.pattern, pattern);
        }
        for arn in [
            "arn:aws:lambda:us-east-1:123456789012:function:f",
            "arn:aws:states:::lambda:invoke",
            "arn:aws:states:::aws-sdk:ssm",
            "arn:aws:states:::dynamodb:putItem.sync",
            "arn:aws:states:::aws-sdk:sfn:startExecution.sync:2",
            "nonsense",
        ] {
            assert!(Resource::read(arn).is_err(), "{arn}");
        }
    }

    #[test]
    fn error_shapes_get_their_class_names() {
        assert_eq!(exception_name("InvalidInstanceId"), "InvalidInstanceIdException");
        assert_eq!(exception_name("ResourceNotFoundException"), "ResourceNotFoundException");
        assert_eq!(exception_name("DBClusterNotFoundFault"), "DBClusterNotFoundException");
    }
}
