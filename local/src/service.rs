//! What an AWS service looks like from here: an action name and a JSON body in, JSON or an AWS error out.
//!
//! Every service of the embedded default is one value of [`Service`]. The in-process connector, the loopback
//! endpoint and the States Language integrations all speak to services through this one door, so a service
//! behaves the same whoever asks. Bodies are exactly those of the service's JSON protocol
//! (`x-amz-target: <prefix>.<Action>`); translation to other shapes is the caller's business.

use std::future::Future;
use std::pin::Pin;

use serde_json::{Value, json};

/// The future of one call.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Value, AwsError>> + Send + 'a>>;

/// One AWS service.
pub trait Service: Send + Sync {
    /// The prefix of `x-amz-target`, for instance `DynamoDB_20120810`.
    fn target_prefix(&self) -> &'static str;

    /// The name an `arn:aws:states:::aws-sdk:NAME:action` resource uses, for instance `dynamodb`.
    fn sdk_name(&self) -> &'static str;

    /// The prefix Step Functions puts before this service's error names in `aws-sdk` integrations,
    /// for instance `DynamoDb` in `DynamoDb.ConditionalCheckFailedException`.
    fn error_prefix(&self) -> &'static str;

    /// Whether the service's JSON members are camelCase on the wire (Step Functions, CloudWatch Logs) rather than
    /// PascalCase (DynamoDB, SSM); States Language arguments are always PascalCase.
    fn camel_case_members(&self) -> bool {
        false
    }

    /// Performs `action` (PascalCase, for instance `PutItem`).
    fn call<'a>(&'a self, action: &'a str, body: Value) -> Reply<'a>;
}

/// An error as AWS's JSON protocols carry it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    /// HTTP status: 400 for a caller's error, 500 or 503 for ours.
    pub status: u16,
    /// The shape's name, for instance `ResourceNotFoundException`.
    pub code: String,
    /// What AWS would say, with what the caller needs to act.
    pub message: String,
    /// Further members of the error's body, for instance `CancellationReasons`.
    pub extra: Option<Box<Value>>,
}

impl AwsError {
    /// The caller's mistake.
    pub fn client(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.into(), message: message.into(), extra: None }
    }

    /// Our own fault; SDK clients retry it.
    pub fn server(message: impl Into<String>) -> Self {
        Self { status: 500, code: "InternalServerError".into(), message: message.into(), extra: None }
    }

    /// A request that does not fit the action's shape.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::client("ValidationException", message)
    }

    /// An action this service does not have here.
    pub fn unknown_action(service: &str, action: &str) -> Self {
        Self::client(
            "UnknownOperationException",
            format!("{service} has no action {action} in the embedded default"),
        )
    }

    /// The body as the JSON 1.0/1.1 protocols write it.
    pub fn body(&self) -> Value {
        let mut body = json!({ "__type": self.code, "message": self.message, "Message": self.message });
        if let (Some(Value::Object(extra)), Value::Object(body)) = (self.extra.as_deref(), &mut body) {
            body.extend(extra.clone());
        }
        body
    }
}
