//! Lambda's runtime API, as far as a function uses it: the next event, its answer or its error.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// How long a function may take on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a function answered.
#[derive(Debug)]
pub enum Answer {
    /// A result.
    Success(Value),
    /// An error.
    Error(Value),
}

impl Answer {
    /// The result.
    #[track_caller]
    pub fn success(self) -> Value {
        match self {
            Self::Success(value) => value,
            Self::Error(error) => panic!("the function failed: {error}"),
        }
    }
}

struct State {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, Value)>>,
    answers: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

/// A served runtime API.
pub struct RuntimeApi {
    address: SocketAddr,
    events: mpsc::UnboundedSender<(String, Value)>,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

impl RuntimeApi {
    /// Serves one on a port of its own.
    pub async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (events, receiver) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            events: tokio::sync::Mutex::new(receiver),
            answers: Mutex::new(HashMap::new()),
        });
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { address, events, state, server }
    }

    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Hands an event to the function and waits for its answer.
    pub async fn invoke(&self, event: Value) -> Answer {
        let (sender, answer) = oneshot::channel();
        let id = format!("00000000-0000-4000-8000-{:012}", self.state.answers.lock().unwrap().len() + 1);
        self.state.answers.lock().unwrap().insert(id.clone(), sender);
        self.events.send((id, event)).unwrap();
        tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_string();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let response = match (request.method(), parts.as_slice()) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => {
            let next = state.events.lock().await.recv().await;
            let Some((id, event)) = next else { return Ok(status(StatusCode::GONE)) };
            let deadline = SystemTime::now() + DEADLINE;
            let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
            Response::builder()
                .header("content-type", "application/json")
                .header("lambda-runtime-aws-request-id", id)
                .header("lambda-runtime-deadline-ms", deadline.to_string())
                .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:0:function:trigger")
                .body(Full::new(Bytes::from(event.to_string())))
                .unwrap()
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, kind @ ("response" | "error")]) => {
            let (id, is_error) = ((*id).to_string(), *kind == "error");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let value = serde_json::from_slice(&body).unwrap();
            if let Some(sender) = state.answers.lock().unwrap().get_mut(&id) {
                let sender = std::mem::replace(sender, oneshot::channel().0);
                let _ = sender.send(if is_error { Answer::Error(value) } else { Answer::Success(value) });
            }
            status(StatusCode::ACCEPTED)
        }
        _ => status(StatusCode::NOT_FOUND),
    };
    Ok(response)
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
