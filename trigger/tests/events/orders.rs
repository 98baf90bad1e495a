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

/// A service that refuses one action.
#[derive(Debug, Clone)]
pub struct Refusing {
    inner: LocalConnector,
    /// The action, as `X-Amz-Target` or the body names it.
    action: String,
    /// The table, with its index, where only that is refused.
    table: Option<String>,
    status: u16,
    code: &'static str,
    message: String,
    hits: Arc<AtomicUsize>,
}

impl Refusing {
    /// An HTTP client with which `action` is refused with this status and error code.
    pub fn client(
        inner: LocalConnector,
        action: &'static str,
        status: u16,
        code: &'static str,
    ) -> SharedHttpClient {
        let (action, message, hits) = (action.into(), "no".into(), Arc::default());
        SharedHttpClient::new(Door(Arc::new(Self {
            inner,
            action,
            table: None,
            status,
            code,
            message,
            hits,
        })))
    }

    /// An HTTP client with which no policy allows `action`, as policies write it; and how often it was asked for.
    pub fn denial(
        inner: LocalConnector,
        action: &str,
        table: Option<&str>,
    ) -> (SharedHttpClient, Arc<AtomicUsize>) {
        let hits = Arc::default();
        let message = format!(
            "User: arn:aws:sts::000000000000:assumed-role/trigger/t is not authorized to perform: {action} on resource: \
             arn:aws:x:us-east-1:000000000000:{} because no identity-based policy allows the {action} action",
            table.unwrap_or("denied")
        );
        let refusing = Self {
            inner,
            action: action.split_once(':').unwrap().1.into(),
            table: table.map(Into::into),
            status: 400,
            code: "AccessDeniedException",
            message,
            hits: Arc::clone(&hits),
        };
        (SharedHttpClient::new(Door(Arc::new(refusing))), hits)
    }

    /// Whether a call is of the table, and of its index where one is named.
    fn is_of_table(&self, body: &str) -> bool {
        let Some(table) = &self.table else { return true };
        let (table, index) = table.split_once("/index/").unwrap_or((table, ""));
        let indexed = body.contains("\"IndexName\"");
        body.contains(&format!("\"TableName\":\"{table}\""))
            && if index.is_empty() { !indexed } else { body.contains(&format!("\"IndexName\":\"{index}\"")) }
    }
}

impl HttpConnector for Refusing {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        let is_it = target.ends_with(&format!(".{}", self.action))
            || target.is_empty() && body.contains(&format!("Action={}&", self.action));
        if !is_it || !self.is_of_table(&body) {
            return self.inner.call(request);
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
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
