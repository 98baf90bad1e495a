//! Metrics and health for whoever watches the host: `GET /metrics` and `GET /health` on a loopback address.
//!
//! Health is whether the agent can do its work now: its dispatcher answers and its journal writes. That Step Functions
//! or a script is in trouble is no trouble of the agent. Nothing can be changed here, and nothing is told that must
//! not be seen by every user of the host, so there is no authentication; other addresses than loopback are refused.
//! Clients that are slow or many are dropped, those first that ask for nothing ([`rsqlflow_door`]): this never gets in the
//! way of jobs, and whoever watches the host finds a place.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use rsqlflow_door::Places;
use rsqlflow_door::http::{Limits, serve as serve_http};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::context::Context;
use crate::journal::Journal;
use crate::metrics::{CONTENT_TYPE, Snapshot};

/// A dispatcher or journal that has not answered by then is in trouble.
const PATIENCE: Duration = Duration::from_secs(1);

/// One exchange takes no longer, whatever the client does.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// Most connections at once; one more takes the place of one that has asked for nothing yet.
const CONNECTIONS_MAX: usize = 16;

/// Largest head of a request; hyper's own minimum.
const HEAD_MAX: usize = 8 * 1024;

/// Listens, on loopback only.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        let message = "it is not a loopback address; name one, such as 127.0.0.1";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Serves until it is aborted.
pub(crate) async fn serve(listener: TcpListener, context: Arc<Context>, journal: Journal) {
    let pages = Arc::new(Pages { context, journal });
    let limits = Limits {
        head: CONNECTION_MAX,
        head_bytes: HEAD_MAX,
        connection: Some(CONNECTION_MAX),
        stop: Duration::ZERO,
    };
    let answer = move |request: Request<Incoming>, _| {
        let pages = Arc::clone(&pages);
        async move { pages.answer(request.method(), request.uri().path()).await }
    };
    // Ends with this task only.
    let (_hold, never) = watch::channel(false);
    serve_http(listener, Places::new(CONNECTIONS_MAX, 0), limits, never, answer).await;
}

struct Pages {
    context: Arc<Context>,
    journal: Journal,
}

impl Pages {
    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, kind, body) = match (method, path) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics().await,
            (&Method::GET | &Method::HEAD, "/health") => self.health().await,
            (&Method::GET | &Method::HEAD, _) => {
                (StatusCode::NOT_FOUND, "text/plain", "there are /metrics and /health\n".into())
            }
            _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "everything here is only read\n".into()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        response
    }

    async fn metrics(&self) -> (StatusCode, &'static str, String) {
        // Where the dispatcher does not answer, the counters are worth reading all the more.
        let jobs = tokio::time::timeout(PATIENCE, self.context.dispatcher.jobs()).await;
        let jobs = jobs.ok().flatten().unwrap_or_default();
        let (flushes, commits) = self.journal.commits();
        let states = jobs.iter().map(|job| job.state.as_str()).collect();
        let text = self.context.metrics.encode(&Snapshot { states, flushes, commits });
        (StatusCode::OK, CONTENT_TYPE, text)
    }

    async fn health(&self) -> (StatusCode, &'static str, String) {
        let journal = tokio::time::timeout(PATIENCE, self.journal.settle());
        let overview = tokio::time::timeout(PATIENCE, self.context.dispatcher.overview());
        let (journal, overview) = tokio::join!(journal, overview);
        let overview = overview.ok().flatten();
        let trouble = match (&overview, journal) {
            (None, _) => Some("the dispatcher does not answer".to_owned()),
            (_, Err(_)) => Some("the journal does not answer".to_owned()),
            (_, Ok(Err(error))) => Some(error.to_string()),
            (Some(_), Ok(Ok(()))) => None,
        };
        let full = overview.as_ref().is_some_and(|all| all.free_bytes < self.context.config.min_free_bytes);
        let status = match &overview {
            _ if trouble.is_some() => "failed",
            _ if full => "disk_full",
            Some(overview) if overview.drained => "draining",
            _ => "ok",
        };
        let mut body = serde_json::json!({
            "status": status,
            "running": overview.as_ref().map(|all| all.running),
            "queued": overview.as_ref().map(|all| all.queued),
            "since": self.context.metrics.since(),
        });
        let status = match trouble {
            Some(trouble) => {
                body["error"] = trouble.into();
                StatusCode::SERVICE_UNAVAILABLE
            }
            None => StatusCode::OK,
        };
        (status, "application/json", format!("{body}\n"))
    }
}
