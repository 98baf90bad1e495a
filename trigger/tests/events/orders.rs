//! HTTP clients between the trigger and the services, with which a test decides what happens when: calls that never
//! come through, calls in an order of the test's choice, an index that lags.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_sfn::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use rsqlflow_local::connector::LocalConnector;
use tokio::sync::oneshot;

/// Lets some calls through and then dies: the call in which it does either does not arrive, or its answer does not.
#[derive(Debug, Clone)]
pub struct Dying {
    inner: LocalConnector,
    left: Arc<AtomicUsize>,
    arrives: bool,
}

impl Dying {
    /// Dies in the call after `calls`; with `arrives` the service still does what it was asked.
    pub fn after(inner: LocalConnector, calls: usize, arrives: bool) -> Self {
        Self { inner, left: Arc::new(AtomicUsize::new(calls + 1)), arrives }
    }

    /// Whether it has died.
    pub fn died(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// As an HTTP client.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Door(Arc::new(self.clone())))
    }
}

impl HttpConnector for Dying {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let last = left == Ok(1);
        let gone = left.is_err() || last;
        let call = (!gone || (last && self.arrives)).then(|| self.inner.call(request));
        HttpConnectorFuture::new(async move {
            let answer = match call {
                Some(call) => Some(call.await?),
                None => None,
            };
            match answer {
                Some(answer) if !gone => Ok(answer),
                _ => Err(ConnectorError::user("the process is dead".into())),
            }
        })
    }
}

/// An action, and the table with its index where one is meant.
#[derive(Debug, Clone)]
struct Action {
    /// As `X-Amz-Target` or the body names it.
    name: String,
    table: Option<String>,
}

impl Action {
    /// As policies write it.
    fn of_policy(action: &str, table: Option<&str>) -> Self {
        Self { name: action.split_once(':').unwrap().1.into(), table: table.map(Into::into) }
    }

    fn is(&self, target: &str, body: &str) -> bool {
        let named = target.ends_with(&format!(".{}", self.name))
            || target.is_empty() && body.contains(&format!("Action={}&", self.name));
        let Some(table) = &self.table else { return named };
        let (table, index) = table.split_once("/index/").unwrap_or((table, ""));
        let its_index = match index {
            "" => !body.contains("\"IndexName\""),
            index => body.contains(&format!("\"IndexName\":\"{index}\"")),
        };
        named && its_index && body.contains(&format!("\"TableName\":\"{table}\""))
    }
}

/// What a request asks for: its target and its body.
fn asked(request: &HttpRequest) -> (String, String) {
    let target = request.headers().get("x-amz-target").unwrap_or_default().to_string();
    (target, String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned())
}

/// Lets every call through and remembers what was asked for.
#[derive(Debug, Clone)]
pub struct Asking {
    inner: LocalConnector,
    calls: Arc<Mutex<Vec<(String, String)>>>,
}

impl Asking {
    /// Nothing was asked for yet.
    pub fn new(inner: LocalConnector) -> Self {
        Self { inner, calls: Arc::default() }
    }

    /// As an HTTP client.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Door(Arc::new(self.clone())))
    }

    /// Whether an action, as policies write it, was asked for.
    pub fn asked(&self, action: &str, table: Option<&str>) -> bool {
        let action = Action::of_policy(action, table);
        self.calls.lock().unwrap().iter().any(|(target, body)| action.is(target, body))
    }
}

impl HttpConnector for Asking {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.calls.lock().unwrap().push(asked(&request));
        self.inner.call(request)
    }
}

/// A service that refuses one action.
#[derive(Debug, Clone)]
pub struct Refusing {
    inner: LocalConnector,
    action: Action,
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusing {
    /// An HTTP client with which `action` is refused with this status and error code.
    pub fn client(
        inner: LocalConnector,
        action: &'static str,
        status: u16,
        code: &'static str,
    ) -> SharedHttpClient {
        let action = Action { name: action.into(), table: None };
        let refusing = Self { inner, action, status, code, message: "no".into() };
        SharedHttpClient::new(Door(Arc::new(refusing)))
    }

    /// An HTTP client with which no policy allows `action`, as policies write it.
    pub fn denial(inner: LocalConnector, action: &str, table: Option<&str>) -> SharedHttpClient {
        let message = format!(
            "User: arn:aws:sts::000000000000:assumed-role/trigger/t is not authorized to perform: {action} on resource: \
             arn:aws:x:us-east-1:000000000000:{} because no identity-based policy allows the {action} action",
            table.unwrap_or("denied")
        );
        let action = Action::of_policy(action, table);
        let refusing = Self { inner, action, status: 400, code: "AccessDeniedException", message };
        SharedHttpClient::new(Door(Arc::new(refusing)))
    }
}

impl HttpConnector for Refusing {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (target, body) = asked(&request);
        if !self.action.is(&target, &body) {
            return self.inner.call(request);
        }
        let answer = if target.is_empty() {
            format!(
                "<ErrorResponse><Error><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>",
                self.code, self.message
            )
        } else {
            format!(r#"{{"__type":"{}","message":"{}"}}"#, self.code, self.message)
        };
        let status = StatusCode::try_from(self.status).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, answer.into())))
    }
}

/// Orders the calls of several actors: when every one that lives has a call ready, chance picks whose is next.
#[derive(Debug)]
pub struct Order {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    living: usize,
    chance: u64,
    ready: Vec<oneshot::Sender<()>>,
}

impl Order {
    /// An order for so many actors.
    pub fn new(actors: usize, seed: u64) -> Arc<Self> {
        let chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Arc::new(Self { state: Mutex::new(State { living: actors, chance, ready: vec![] }) })
    }

    /// An HTTP client for one actor. The index that finds runs by workflow answers with nothing where it lags.
    pub fn client(self: &Arc<Self>, inner: LocalConnector, lagging: bool) -> SharedHttpClient {
        SharedHttpClient::new(Door(Arc::new(Actor { order: Arc::clone(self), inner, lagging })))
    }

    /// An actor has done what it had to do.
    pub fn done(&self) {
        let mut state = self.state.lock().unwrap();
        state.living -= 1;
        state.pick();
    }

    async fn ready(&self) {
        let (sender, go) = oneshot::channel();
        {
            let mut state = self.state.lock().unwrap();
            state.ready.push(sender);
            state.pick();
        }
        go.await.unwrap();
    }
}

impl State {
    fn pick(&mut self) {
        if self.ready.is_empty() || self.ready.len() < self.living {
            return;
        }
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let at = usize::try_from(self.chance >> 33).unwrap() % self.ready.len();
        let _ = self.ready.swap_remove(at).send(());
    }
}

#[derive(Debug, Clone)]
struct Actor {
    order: Arc<Order>,
    inner: LocalConnector,
    lagging: bool,
}

impl HttpConnector for Actor {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            this.order.ready().await;
            let body = request.body().bytes().unwrap_or_default();
            let indexed = this.lagging && String::from_utf8_lossy(body).contains("open-runs");
            let mut answer = this.inner.call(request).await?;
            if indexed {
                let nothing = r#"{"Count":0,"ScannedCount":0,"Items":[]}"#;
                *answer.body_mut() = nothing.into();
                answer.headers_mut().remove("x-amz-crc32");
                answer.headers_mut().remove("content-length");
            }
            Ok(answer)
        })
    }
}

#[derive(Debug, Clone)]
struct Door<C>(Arc<C>);

impl<C: HttpConnector + Clone + 'static> HttpClient for Door<C> {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new((*self.0).clone())
    }
}
