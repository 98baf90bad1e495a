//! A fault-injecting proxy in front of an endpoint.
//!
//! It hands requests on as they came, the `Host` header and with it the signature included, and answers as they come,
//! except where [`Faults`] decide otherwise: a call is throttled or fails before it reaches the service, is cut off
//! after the service acted, reaches it twice, or waits. In an outage every connection is cut and every new one at once.
//!
//! It also keeps a book of the callbacks that the service accepted ([`callbacks`]), which nobody behind it can know:
//! whoever made a call that was cut believes that it failed. And it records which actions were asked for ([`recorder`]).

pub mod callbacks;
pub mod denied;
pub mod faults;
pub mod recorder;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use callbacks::Book;
use denied::Denied;
use faults::{Fate, Faults, Tally};
use recorder::Recorder;

use crate::random::Random;

/// A proxy that ends with its test.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    outage: watch::Sender<bool>,
    /// Dropped with the proxy, which ends its thread.
    _stop: oneshot::Sender<Infallible>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    denied: Vec<Denied>,
    /// Calls that were denied.
    denials: u64,
    faults: Faults,
    random: Random,
    tally: Tally,
    book: Book,
    recorder: Recorder,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer, or none: the connection is cut.
type Answered = Result<Response<Full<Bytes>>, Cut>;

#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl Proxy {
    /// Starts a proxy in front of `upstream`, `http://ADDRESS:PORT`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(upstream: &str, faults: Faults, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.strip_prefix("http://").expect("an address").to_owned(),
            state: Mutex::new(State {
                denied: Vec::new(),
                denials: 0,
                faults,
                random: Random::new(seed),
                tally: Tally::default(),
                book: Book::default(),
                recorder: Recorder::default(),
            }),
        });
        let (outage, cut) = watch::channel(false);
        let (_stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(TcpListener::from_std(listener).unwrap(), served, cut) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, shared, outage, _stop }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on calls meet these.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// From now on these actions are denied, as by a policy, and no others: `states:StartExecution`, `dynamodb:PutItem` on
    /// any table, or `dynamodb:PutItem rsqlflow-config` on one.
    pub fn deny(&self, actions: &[&str]) {
        self.shared.state().denied = actions.iter().map(|action| Denied::after(action, 0)).collect();
    }

    /// From now on an action is denied, once so many calls of it have been let through.
    pub fn deny_after(&self, action: &str, calls: u64) {
        self.shared.state().denied = vec![Denied::after(action, calls)];
    }

    /// Begins or ends an outage.
    pub fn outage(&self, begins: bool) {
        self.outage.send_replace(begins);
    }

    /// How many calls were denied.
    pub fn denials(&self) -> u64 {
        self.shared.state().denials
    }

    /// What has happened to calls.
    pub fn tally(&self) -> Tally {
        self.shared.state().tally
    }

    /// Which actions were asked for.
    pub fn recorder(&self) -> Recorder {
        self.shared.state().recorder.clone()
    }

    /// What the service has accepted.
    pub fn book(&self) -> Book {
        self.shared.state().book.clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, outage: watch::Receiver<bool>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (shared, mut outage) = (Arc::clone(&shared), outage.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::select! {
                biased;
                // The end of the proxy ends connections too.
                _ = outage.wait_for(|outage| *outage) => {}
                // A client that went away, or one that was cut off: that is what it is for.
                _ = connection.serve_connection(TokioIo::new(stream), service) => {}
            }
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answered {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let action = callbacks::action(&parts.headers);
    let named = recorder::action(&parts.method, &parts.uri, &parts.headers, &body);
    let (fate, delay) = {
        let mut state = shared.state();
        let state = &mut *state;
        let fate = match state.faults.decide(&mut state.random) {
            Fate::Twice if action == "PutLogEvents" => Fate::Passed,
            fate => fate,
        };
        state.tally.count(fate);
        state.book.asked(&action, &body);
        state.recorder.asked(&named);
        if state.denied.iter_mut().any(|denied| denied.hits(&named)) {
            state.denials += 1;
            return Ok(denied::refusal(&named, &parts.headers));
        }
        (fate, state.faults.delay)
    };
    match fate {
        Fate::Throttled => return Ok(refusal(StatusCode::BAD_REQUEST, "ThrottlingException")),
        Fate::Failed => return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure")),
        Fate::Unavailable => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")),
        Fate::Delayed => pause(delay).await,
        Fate::Passed | Fate::Cut | Fate::Twice => {}
    }
    // A task of its own: what has been sent is done and noted, whether or not its sender lives to hear of it.
    let response = tokio::spawn(async move {
        let mut response = Err(Cut);
        for _ in 0..if fate == Fate::Twice { 2 } else { 1 } {
            let request = Request::from_parts(parts.clone(), Full::new(body.clone()));
            let answer = forward(&shared.upstream, request).await?;
            if answer.status().is_success() {
                let mut state = shared.state();
                state.book.accepted(&action, &body);
                state.recorder.done(&named);
            }
            response = Ok(answer);
        }
        response
    });
    let response = response.await.map_err(|_| Cut)??;
    if fate == Fate::Cut { Err(Cut) } else { Ok(response) }
}

async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What a service says that does nothing.
fn refusal(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "__type": code, "message": "injected by the test's proxy" }).to_string();
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(Full::new(body.into()))
        .expect("a response")
}

async fn forward(upstream: &str, request: Request<Full<Bytes>>) -> Answered {
    let stream = TcpStream::connect(upstream).await.map_err(|_| Cut)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Cut)?;
    // Ends with the exchange; what goes wrong in it is told by the answer.
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.map_err(|_| Cut)?.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    Ok(Response::from_parts(parts, Full::new(body)))
}
