//! An action that a policy does not allow: refused in the words of the service, before the service sees it.
//!
//! The wording is that of IAM, from which the command reads who may not do what on what.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>

use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;

/// Who is refused.
pub const USER: &str = "arn:aws:sts::000000000000:assumed-role/operators/maria";

/// An action that is denied.
#[derive(Debug)]
pub(super) struct Denied {
    /// As the recorder names it, or without its table.
    action: String,
    /// So many calls of it are let through first.
    left: u64,
}

impl Denied {
    pub(super) fn after(action: &str, calls: u64) -> Self {
        Self { action: action.into(), left: calls }
    }

    /// Whether a call is denied.
    pub(super) fn hits(&mut self, action: &str) -> bool {
        let name = action.split(' ').next().unwrap_or_default();
        if self.action != action.trim_end() && self.action != name {
            return false;
        }
        let hits = self.left == 0;
        self.left = self.left.saturating_sub(1);
        hits
    }
}

/// The resource of a denial: the table, where there is one.
pub fn resource(action: &str) -> String {
    let (name, table) = action.split_once(' ').unwrap_or((action, ""));
    let service = name.split(':').next().unwrap_or_default();
    match table {
        "" => format!("arn:aws:{service}:us-east-1:000000000000:denied"),
        table => format!("arn:aws:dynamodb:us-east-1:000000000000:table/{table}"),
    }
}

/// The answer, in the protocol of the request.
pub(super) fn refusal(action: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let name = action.split(' ').next().unwrap_or_default();
    let message = format!(
        "User: {USER} is not authorized to perform: {name} on resource: {} because no identity-based policy allows the \
         {name} action",
        resource(action)
    );
    let form = headers.get("content-type").is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let response = Response::builder();
    let (response, body) = if form {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>\
             <RequestId>denied</RequestId></ErrorResponse>"
        );
        (response.status(StatusCode::FORBIDDEN).header("content-type", "text/xml"), body)
    } else {
        let body =
            json!({ "__type": "AccessDeniedException", "message": message, "Message": message }).to_string();
        let status = if headers.contains_key("x-amz-target") { 400 } else { 403 };
        let response = response.status(status).header("x-amzn-errortype", "AccessDeniedException");
        (response.header("content-type", "application/x-amz-json-1.0"), body)
    };
    response.body(Full::new(body.into())).expect("a response")
}
