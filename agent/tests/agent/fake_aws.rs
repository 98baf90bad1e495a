//! AWS as the tests want it: records every call, answers as scripted, and lets tests wait for calls.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
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
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    next: HashMap<&'static str, VecDeque<Answer>>,
    always: HashMap<&'static str, Answer>,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeAws {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<usize>,
}

impl FakeAws {
    pub(crate) fn new() -> Self {
        let fake = Self { state: Arc::default(), changes: watch::Sender::new(0) };
        let secret = json!({"host": "warehouse.test", "port": 5439, "username": "etl", "password": PASSWORD, "dbname": "dev"});
        fake.always("GetSecretValue", Answer::Ok(json!({"ARN": "arn:aws:secretsmanager:us-east-1:1:secret:x", "Name": "x", "SecretString": secret.to_string()})));
        fake
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
            state.calls.push(Call { action: action.into(), body });
            let next = state.next.get_mut(action).and_then(VecDeque::pop_front);
            next.or_else(|| state.always.get(action).cloned()).unwrap_or(Answer::Ok(json!({})))
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
        HttpConnectorFuture::new(async move {
            let (status, body) = match answer {
                Answer::Ok(body) => (200, body),
                Answer::Error(code, status) => (status, json!({"__type": code, "message": "as scripted"})),
                Answer::Silence => std::future::pending().await,
            };
            Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body.to_string())))
        })
    }
}

impl HttpClient for FakeAws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
