//! AWS's wire protocols, as far as the services here speak them: one HTTP request in, one HTTP response out.
//!
//! JSON 1.0/1.1 names its action in `x-amz-target`; the Query protocol (SNS, STS) sends a form and wants XML, see
//! `query.rs`; restJson1 (Scheduler, Lambda) names its action by method and path, see `rest.rs`. Both doors (the connector and the endpoint) answer through [`answer`], so they cannot differ.
//! Checking who asks is not done here: the connector is inside the process, the endpoint checks signatures first.

use serde_json::{Value, json};

use crate::query;
use crate::registry::Services;
use crate::rest;
use crate::service::AwsError;

/// What matters of an HTTP request.
#[derive(Debug, Clone, Copy)]
pub struct WireRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, as it was sent.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: &'a str,
    /// The `x-amz-invocation-type` header.
    pub invocation_type: Option<&'a str>,
    /// The `x-amz-target` header.
    pub target: Option<&'a str>,
    /// The `content-type` header.
    pub content_type: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

/// What to send back.
#[derive(Debug, Clone)]
pub struct WireResponse {
    /// The HTTP status.
    pub status: u16,
    /// Lower-case names and their values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// How a request is written, and therefore its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `application/x-amz-json-1.0`.
    Json10,
    /// `application/x-amz-json-1.1`.
    Json11,
    /// A form in, XML out.
    Query,
    /// The action in method and path.
    Rest,
}

impl Shape {
    /// The shape a request asks to be answered in.
    pub fn of(request: WireRequest<'_>) -> Self {
        let media = request.content_type.unwrap_or_default();
        if request.target.is_none() && media.starts_with("application/x-www-form-urlencoded") {
            Self::Query
        } else if request.target.is_none() && request.path.len() > 1 {
            Self::Rest
        } else if media.starts_with("application/x-amz-json-1.1") {
            Self::Json11
        } else {
            Self::Json10
        }
    }
}

/// Performs the request.
pub async fn answer(services: &Services, request: WireRequest<'_>) -> WireResponse {
    let shape = Shape::of(request);
    let request_id = request_id();
    if shape == Shape::Query {
        return match query::perform(services, request.body, &request_id).await {
            Ok(xml) => respond(shape, 200, &request_id, xml.into_bytes()),
            Err(error) => failure(shape, &error, &request_id),
        };
    }
    if shape == Shape::Rest {
        return match perform_rest(services, request).await {
            Ok(answer) => {
                let mut response = respond(shape, answer.status, &request_id, to_bytes(&answer.body));
                response.headers.extend(answer.headers);
                response
            }
            Err(error) => failure(shape, &error, &request_id),
        };
    }
    match perform_json(services, request).await {
        Ok(value) => respond(shape, 200, &request_id, to_bytes(&value)),
        Err(error) => failure(shape, &error, &request_id),
    }
}

/// The answer to a request that was refused before any service saw it.
pub fn refusal(shape: Shape, error: &AwsError) -> WireResponse {
    failure(shape, error, &request_id())
}

async fn perform_json(services: &Services, request: WireRequest<'_>) -> Result<Value, AwsError> {
    let target = request.target.ok_or_else(unknown_operation)?;
    let (prefix, action) = target.rsplit_once('.').ok_or_else(unknown_operation)?;
    let service = services.by_target_prefix(prefix).ok_or_else(|| {
        AwsError::client(
            "UnknownOperationException",
            format!("The embedded default has no service with the target prefix {prefix}"),
        )
    })?;
    let body = if request.body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(request.body)
            .map_err(|_| AwsError::client("SerializationException", "The request body is not valid JSON"))?
    };
    if !matches!(body, Value::Object(_)) {
        return Err(AwsError::client("SerializationException", "The request body is not a JSON object"));
    }
    service.call(action, body).await
}

async fn perform_rest(services: &Services, request: WireRequest<'_>) -> Result<rest::Answer, AwsError> {
    let WireRequest { method, path, query, invocation_type, body, .. } = request;
    let (route, body) = rest::read(rest::Request { method, path, query, invocation_type, body })?;
    let service = services.by_sdk_name(route.service).ok_or_else(unknown_operation)?;
    Ok(rest::write(route, service.call(route.action, body).await?))
}

fn unknown_operation() -> AwsError {
    AwsError::client("UnknownOperationException", "The request names no action")
}

fn failure(shape: Shape, error: &AwsError, request_id: &str) -> WireResponse {
    let body = match shape {
        Shape::Query => query::error_document(error, request_id).into_bytes(),
        Shape::Json10 | Shape::Json11 | Shape::Rest => to_bytes(&error.body()),
    };
    let mut response = respond(shape, error.status, request_id, body);
    if shape != Shape::Query {
        response.headers.push(("x-amzn-errortype", error.code.clone()));
    }
    response
}

fn respond(shape: Shape, status: u16, request_id: &str, body: Vec<u8>) -> WireResponse {
    let content_type = match shape {
        Shape::Json10 => "application/x-amz-json-1.0",
        Shape::Json11 => "application/x-amz-json-1.1",
        Shape::Query => "text/xml",
        Shape::Rest => "application/json",
    };
    WireResponse {
        status,
        headers: vec![("content-type", content_type.to_owned()), ("x-amzn-requestid", request_id.to_owned())],
        body,
    }
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
