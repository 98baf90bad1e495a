//! Which actions were asked for, by the names that IAM policies use, and which were answered.
//!
//! The service is the one the request was signed for; the action is named by a header, a form, or method and path,
//! depending on the service's protocol. With DynamoDB's go the table and the index, which policies tell apart:
//! `dynamodb:Query rsqlflow-job-audit/index/by-run`.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, Uri};
use serde_json::Value;

/// Actions by name (`states:StartExecution`), with how often each was asked for and how often it was done.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    calls: BTreeMap<String, Counts>,
}

/// Calls of one action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Asked for.
    pub asked: u64,
    /// Done: the service's answer was no error.
    pub done: u64,
}

impl Recorder {
    pub(super) fn asked(&mut self, action: &str) {
        self.calls.entry(action.to_owned()).or_default().asked += 1;
    }

    pub(super) fn done(&mut self, action: &str) {
        self.calls.entry(action.to_owned()).or_default().done += 1;
    }

    /// Every action, in alphabetical order.
    pub fn calls(&self) -> &BTreeMap<String, Counts> {
        &self.calls
    }
}

/// The action of a request: `service:Action`.
pub(super) fn action(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> String {
    let service = signed_for(headers).unwrap_or("unsigned");
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let action = match target {
        Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
        None => form_action(body).or_else(|| rest_action(service, method, uri.path())).unwrap_or_else(|| {
            // Told as it is, so that a comparison with policies names what is missing here.
            format!("{method} {}", uri.path())
        }),
    };
    match service {
        "dynamodb" => format!("{service}:{action} {}", table(body)),
        _ => format!("{service}:{action}"),
    }
}

/// The table of a request, and its index where there is one.
fn table(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let table = body["TableName"].as_str().unwrap_or("*");
    match body["IndexName"].as_str() {
        Some(index) => format!("{table}/index/{index}"),
        None => table.to_owned(),
    }
}

/// From `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn signed_for(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get("authorization")?.to_str().ok()?;
    authorization.split_once("Credential=")?.1.split('/').nth(3)
}

/// Query protocol: `Action=Publish&...`.
fn form_action(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    text.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned)
}

/// REST protocols: the actions that we use.
fn rest_action(service: &str, method: &Method, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let verb = match method.as_str() {
        "POST" => "Create",
        "PUT" => "Update",
        "DELETE" => "Delete",
        _ => "Get",
    };
    match (service, parts.as_slice()) {
        ("scheduler", ["schedules"]) => Some("ListSchedules".into()),
        ("scheduler", ["schedules", _]) => Some(format!("{verb}Schedule")),
        ("scheduler", ["schedule-groups"]) => Some("ListScheduleGroups".into()),
        ("scheduler", ["schedule-groups", _]) => Some(format!("{verb}ScheduleGroup")),
        ("lambda", [_, "functions", _, "invocations"]) => Some("InvokeFunction".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_names_its_action() {
        let signed = |service: &str, target: Option<&str>| {
            let mut headers = HeaderMap::new();
            let credential =
                format!("AWS4-HMAC-SHA256 Credential=K/20261121/us-east-1/{service}/aws4_request, ...");
            headers.insert("authorization", credential.parse().unwrap());
            if let Some(target) = target {
                headers.insert("x-amz-target", target.parse().unwrap());
            }
            headers
        };
        let act = |service, target, method: Method, path: &str, body: &str| {
            action(&method, &path.parse().unwrap(), &signed(service, target), body.as_bytes())
        };
        let found = [
            act(
                "dynamodb",
                Some("DynamoDB_20120810.Query"),
                Method::POST,
                "/",
                "{\"TableName\":\"t\",\"IndexName\":\"i\"}",
            ),
            act("states", Some("AWSStepFunctions.StartExecution"), Method::POST, "/", "{}"),
            act("sns", None, Method::POST, "/", "Action=Publish&Version=2010-03-31"),
            act("scheduler", None, Method::PUT, "/schedules/nightly", "{}"),
            act("scheduler", None, Method::GET, "/schedules?ScheduleGroup=rsqlflow", ""),
            act("lambda", None, Method::POST, "/2015-03-31/functions/f/invocations", "{}"),
            act("s3", None, Method::GET, "/bucket/key", ""),
        ];
        assert_eq!(
            found,
            [
                "dynamodb:Query t/index/i",
                "states:StartExecution",
                "sns:Publish",
                "scheduler:UpdateSchedule",
                "scheduler:ListSchedules",
                "lambda:InvokeFunction",
                "s3:GET /bucket/key",
            ]
        );
    }
}
