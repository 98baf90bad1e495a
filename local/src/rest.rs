//! The restJson1 protocol: the action is in the method and the path, parameters in path, query, headers and body.
//!
//! EventBridge Scheduler and Lambda speak it. Here it is a table that turns a request into the action and the JSON body
//! that every service here takes, so the services cannot tell; paths are distinct between the two, so the table alone
//! says which service is meant. Only Lambda's Invoke has a body that is somebody else's JSON, and an answer whose
//! status and headers say something; both are members of the body here.

use serde_json::{Map, Value, json};

use crate::service::AwsError;

/// One action.
pub(crate) struct Route {
    method: &'static str,
    /// Segments of the path; one in braces is a member.
    path: &'static str,
    /// The service's SDK name.
    pub(crate) service: &'static str,
    /// The action.
    pub(crate) action: &'static str,
    /// Query parameters and the members they are.
    query: &'static [(&'static str, &'static str)],
}

const LISTING: [(&str, &str); 5] = [
    ("ScheduleGroup", "GroupName"),
    ("NamePrefix", "NamePrefix"),
    ("State", "State"),
    ("NextToken", "NextToken"),
    ("MaxResults", "MaxResults"),
];
const GROUP: [(&str, &str); 2] = [("groupName", "GroupName"), ("clientToken", "ClientToken")];

const fn scheduler(method: &'static str, path: &'static str, action: &'static str) -> Route {
    Route { method, path, service: "scheduler", action, query: &GROUP }
}

/// <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_Operations.html> and
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>.
const ROUTES: [Route; 10] = [
    scheduler("POST", "/schedules/{Name}", "CreateSchedule"),
    scheduler("PUT", "/schedules/{Name}", "UpdateSchedule"),
    scheduler("GET", "/schedules/{Name}", "GetSchedule"),
    scheduler("DELETE", "/schedules/{Name}", "DeleteSchedule"),
    Route { query: &LISTING, ..scheduler("GET", "/schedules", "ListSchedules") },
    scheduler("POST", "/schedule-groups/{Name}", "CreateScheduleGroup"),
    scheduler("GET", "/schedule-groups/{Name}", "GetScheduleGroup"),
    scheduler("DELETE", "/schedule-groups/{Name}", "DeleteScheduleGroup"),
    Route { query: &LISTING, ..scheduler("GET", "/schedule-groups", "ListScheduleGroups") },
    Route {
        method: "POST",
        path: "/2015-03-31/functions/{FunctionName}/invocations",
        service: "lambda",
        action: "Invoke",
        query: &[("Qualifier", "Qualifier")],
    },
];

/// A request, as far as the protocol reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) invocation_type: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// What an answer is on the wire.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

/// The action that a request names, and its body.
///
/// # Errors
/// When there is no such action, or the body is not what it must be.
pub(crate) fn read(request: Request<'_>) -> Result<(&'static Route, Value), AwsError> {
    let (route, mut members) =
        ROUTES.iter().find_map(|route| Some((route, route.members(request)?))).ok_or_else(|| {
            let said = format!("The embedded default has no action at {} {}", request.method, request.path);
            AwsError { status: 404, ..AwsError::client("UnknownOperationException", said) }
        })?;
    let body: Option<Value> = match request.body {
        [] => None,
        text => Some(serde_json::from_slice(text).map_err(|_| not_json(route))?),
    };
    if route.action == "Invoke" {
        members.insert("Payload".into(), body.unwrap_or_else(|| json!({})));
        if let Some(kind) = request.invocation_type {
            members.insert("InvocationType".into(), kind.into());
        }
        return Ok((route, Value::Object(members)));
    }
    match body {
        None => Ok((route, Value::Object(members))),
        Some(Value::Object(mut whole)) => {
            // The path wins: it is what was signed as the resource.
            whole.extend(members);
            Ok((route, Value::Object(whole)))
        }
        Some(_) => Err(not_json(route)),
    }
}

fn not_json(route: &Route) -> AwsError {
    match route.action {
        "Invoke" => AwsError::client(
            "InvalidRequestContentException",
            "Could not parse request body into json: the payload is not valid JSON",
        ),
        _ => AwsError::client("SerializationException", "The request body is not a JSON object"),
    }
}

/// The answer on the wire.
pub(crate) fn write(route: &Route, mut reply: Value) -> Answer {
    if route.action != "Invoke" {
        return Answer { status: 200, headers: vec![], body: reply };
    }
    let status = reply["StatusCode"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    let names = [("FunctionError", "x-amz-function-error"), ("ExecutedVersion", "x-amz-executed-version")];
    let headers = names
        .iter()
        .filter_map(|(member, name)| Some((*name, reply[*member].as_str()?.to_owned())))
        .collect();
    Answer { status, headers, body: reply["Payload"].take() }
}

impl Route {
    /// The members in path and query, where this is the request's route.
    fn members(&self, request: Request<'_>) -> Option<Map<String, Value>> {
        if self.method != request.method {
            return None;
        }
        let mut members = Map::new();
        let (mut wanted, mut given) = (self.path.split('/'), request.path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => break,
                (Some(wanted), Some(given)) => {
                    match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                        Some(name) if !given.is_empty() => {
                            members.insert(name.into(), decode(given).into());
                        }
                        _ if wanted == given => {}
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
        for pair in request.query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Some((_, member)) = self.query.iter().find(|(wire, _)| *wire == name) {
                let text = decode(&value.replace('+', "%20"));
                let value = match text.parse::<i64>() {
                    Ok(number) if *member == "MaxResults" => number.into(),
                    _ => text.into(),
                };
                members.insert((*member).into(), value);
            }
        }
        Some(members)
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &tail[2..];
            }
            (other, ..) => {
                bytes.push(other);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(method: &'a str, path: &'a str, query: &'a str, body: &'a [u8]) -> Request<'a> {
        Request { method, path, query, invocation_type: Some("Event"), body }
    }

    #[test]
    fn path_query_and_body_become_one_body() {
        let (route, body) =
            read(request("PUT", "/schedules/a%2Db", "", br#"{"Name": "other", "State": "ENABLED"}"#))
                .unwrap();
        assert_eq!((route.service, route.action), ("scheduler", "UpdateSchedule"));
        assert_eq!(body, json!({ "Name": "a-b", "State": "ENABLED" }));
        let (route, body) =
            read(request("GET", "/schedules", "ScheduleGroup=rsql%20flow&MaxResults=5&x=y", b"")).unwrap();
        assert_eq!(route.action, "ListSchedules");
        assert_eq!(body, json!({ "GroupName": "rsql flow", "MaxResults": 5 }));
        let arn =
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af/invocations";
        let (route, body) = read(request("POST", arn, "", b"[1]")).unwrap();
        assert_eq!(route.action, "Invoke");
        let name = "arn:aws:lambda:us-east-1:000000000000:function:f";
        assert_eq!(body, json!({ "FunctionName": name, "Payload": [1], "InvocationType": "Event" }));
    }

    #[test]
    fn what_is_no_action_is_refused() {
        for (method, path) in
            [("PATCH", "/schedules/a"), ("GET", "/schedules/"), ("GET", "/tags/x"), ("GET", "/")]
        {
            assert_eq!(read(request(method, path, "", b"")).err().unwrap().status, 404, "{method} {path}");
        }
        let bad = read(request("POST", "/schedules/a", "", b"[]")).err().unwrap();
        assert_eq!(bad.code, "SerializationException");
    }

    #[test]
    fn an_invocation_answers_with_its_payload() {
        let route = &ROUTES[9];
        let answer =
            write(route, json!({ "StatusCode": 200, "FunctionError": "Unhandled", "Payload": { "a": 1 } }));
        assert_eq!(answer.body, json!({ "a": 1 }));
        assert_eq!(answer.headers, [("x-amz-function-error", "Unhandled".to_string())]);
    }
}
