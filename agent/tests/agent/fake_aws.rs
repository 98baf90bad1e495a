//! AWS as the tests want it: records every call, answers as scripted, and lets tests wait for calls.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use rsqlflow_agent::Clients;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const PASSWORD: &str = "s3cr3t'p\"w d$x";

/// A call that was made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) body: Value,
}

/// A scripted answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Ok(Value),
    /// An error code and the HTTP status it comes with.
    Error(&'static str, u16),
    /// No answer, ever.
    Silence,
    /// The service acts, and nobody hears of it: the connection is cut.
    Cut,
    /// The service acts, and nobody hears of it: no answer, ever.
    Lost,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    next: HashMap<&'static str, VecDeque<Answer>>,
    always: HashMap<&'static str, Answer>,
    /// The log events that were taken.
    events: Vec<LogEvent>,
    /// How far the service's clock is ahead of the host's, in milliseconds, where it looks at times.
    ahead: Option<i64>,
    /// The text of the log event that is never taken, nor is a batch with it.
    bad_event: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct LogEvent {
    pub(crate) stream: String,
    pub(crate) timestamp: i64,
    pub(crate) message: String,
}

impl State {
    /// Keeps what PutLogEvents puts, apart from what the answer rejects.
    fn put(&mut self, body: &Value, answer: &Answer) {
        let rejected = match answer {
            Answer::Ok(answer) => answer["rejectedLogEventsInfo"].clone(),
            Answer::Cut | Answer::Lost => Value::Null,
            Answer::Error(..) | Answer::Silence => return,
        };
        let index = |name: &str| rejected[name].as_u64().map(|index| usize::try_from(index).unwrap());
        let old = index("tooOldLogEventEndIndex").max(index("expiredLogEventEndIndex")).unwrap_or(0);
        let new = index("tooNewLogEventStartIndex").unwrap_or(usize::MAX);
        for (at, event) in body["logEvents"].as_array().unwrap().iter().enumerate() {
            if at >= old && at < new {
                self.events.push(LogEvent {
                    stream: body["logStreamName"].as_str().unwrap().into(),
                    timestamp: event["timestamp"].as_i64().unwrap(),
                    message: event["message"].as_str().unwrap().into(),
                });
            }
        }
    }

    /// What PutLogEvents says of times: all events of a batch have one.
    fn judge(&self, body: &Value) -> Option<Answer> {
        const HOUR: i64 = 3_600_000;
        let now = chrono::Utc::now().timestamp_millis() + self.ahead?;
        let events = body["logEvents"].as_array().unwrap();
        let at = events[0]["timestamp"].as_i64().unwrap();
        let rejected = if at > now + 2 * HOUR {
            json!({ "tooNewLogEventStartIndex": 0 })
        } else if at < now - 14 * 24 * HOUR {
            json!({ "tooOldLogEventEndIndex": events.len() })
        } else {
            return None;
        };
        Some(Answer::Ok(json!({ "rejectedLogEventsInfo": rejected })))
    }

    /// The date of an answer.
    fn date(&self) -> Option<String> {
        let now = chrono::Utc::now() + chrono::TimeDelta::milliseconds(self.ahead?);
        Some(now.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    /// What GetLogEvents finds.
    fn get(&self, body: &Value) -> Value {
        let (from, to) =
            (body["startTime"].as_i64().unwrap_or(0), body["endTime"].as_i64().unwrap_or(i64::MAX));
        let found: Vec<Value> = self
            .events
            .iter()
            .filter(|event| event.stream == body["logStreamName"] && (from..to).contains(&event.timestamp))
            .map(|event| json!({"timestamp": event.timestamp, "message": event.message}))
            .take(usize::try_from(body["limit"].as_u64().unwrap()).unwrap())
            .collect();
        json!({"events": found, "nextForwardToken": "f/1"})
    }
}

#[derive(Debug, Clone)]
pub(crate) struct FakeAws {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<usize>,
}

impl FakeAws {
    pub(crate) fn new() -> Self {
        let fake = Self { state: Arc::default(), changes: watch::Sender::new(0) };
        fake.always("GetSecretValue", Self::secret("v1", PASSWORD));
        fake
    }

    /// The answer that gives the warehouse's secret with a password.
    pub(crate) fn secret(version: &str, password: &str) -> Answer {
        let secret = json!({"host": "warehouse.test", "port": 5439, "username": "etl", "password": password, "dbname": "dev"});
        Answer::Ok(
            json!({"ARN": "arn:aws:secretsmanager:us-east-1:1:secret:x", "Name": "x", "VersionId": version, "SecretString": secret.to_string()}),
        )
    }

    /// The answer of every call of an action that nothing else is scripted for.
    pub(crate) fn always(&self, action: &'static str, answer: Answer) {
        self.state.lock().unwrap().always.insert(action, answer);
    }

    /// The answer of the next call of an action.
    pub(crate) fn next(&self, action: &'static str, answer: Answer) {
        self.state.lock().unwrap().next.entry(action).or_default().push_back(answer);
    }

    pub(crate) fn calls(&self, action: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.calls.iter().filter(|call| call.action == action).map(|call| call.body.clone()).collect()
    }

    /// PutLogEvents refuses every batch with this event from now on.
    pub(crate) fn refuse_event(&self, text: &'static str) {
        self.state.lock().unwrap().bad_event = Some(text);
    }

    /// From now on the service's clock is so far ahead of the host's, and answers are dated.
    pub(crate) fn set_clock(&self, ahead: chrono::TimeDelta) {
        self.state.lock().unwrap().ahead = Some(ahead.num_milliseconds());
    }

    /// The log events that were taken, in the order in which they were.
    pub(crate) fn events(&self) -> Vec<LogEvent> {
        self.state.lock().unwrap().events.clone()
    }

    pub(crate) fn all_calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Waits until the calls made so far satisfy `look`.
    pub(crate) async fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = look(self) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; calls: {:#?}", self.all_calls()),
        }
    }

    /// Waits for the `n`th call of an action.
    pub(crate) async fn call(&self, action: &str, n: usize) -> Value {
        self.wait(action, |fake| fake.calls(action).into_iter().nth(n - 1)).await
    }

    pub(crate) fn clients(&self) -> Clients {
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_sfn::config::SharedCredentialsProvider::new(
                aws_sdk_sfn::config::Credentials::new("key", "secret", None, None, "test"),
            ))
            .http_client(self.clone())
            .build();
        Clients::new(&config)
    }

    fn answer(&self, action: &str, body: Value) -> Answer {
        let answer = {
            let mut state = self.state.lock().unwrap();
            let next = state.next.get_mut(action).and_then(VecDeque::pop_front);
            let scripted = next.or_else(|| state.always.get(action).cloned());
            let bad = state.bad_event.filter(|_| action == "PutLogEvents").is_some_and(|bad| {
                body["logEvents"].as_array().unwrap().iter().any(|event| event["message"] == bad)
            });
            let answer = match action {
                _ if bad => Answer::Error("InvalidParameterException", 400),
                "GetLogEvents" => scripted.unwrap_or_else(|| Answer::Ok(state.get(&body))),
                "PutLogEvents" => {
                    scripted.or_else(|| state.judge(&body)).unwrap_or_else(|| Answer::Ok(json!({})))
                }
                _ => scripted.unwrap_or(Answer::Ok(json!({}))),
            };
            if action == "PutLogEvents" {
                state.put(&body, &answer);
            }
            state.calls.push(Call { action: action.into(), body });
            answer
        };
        self.changes.send_modify(|count| *count += 1);
        answer
    }
}

impl HttpConnector for FakeAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let action = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or(Value::Null);
        let answer = self.answer(&action, body);
        let date = self.state.lock().unwrap().date();
        HttpConnectorFuture::new(async move {
            let (status, body) = match answer {
                Answer::Ok(body) => (200, body),
                Answer::Error(code, status) => (status, json!({"__type": code, "message": "as scripted"})),
                Answer::Silence | Answer::Lost => std::future::pending().await,
                Answer::Cut => return Err(ConnectorError::io("the connection is cut".into())),
            };
            let body = SdkBody::from(body.to_string());
            let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), body);
            if let Some(date) = date {
                response.headers_mut().insert("date", date);
            }
            Ok(response)
        })
    }
}

impl HttpClient for FakeAws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
