//! The door for other processes: HTTP/1.1 on 127.0.0.1.
//!
//! For the `aws` CLI, for users' scripts and for our own commands when `rsqlflow up` runs elsewhere. It listens on
//! the loopback address only and takes only requests signed with the data directory's key (`sigv4.rs`).
//! A slow or hostile client costs a bounded amount of memory and time: headers and bodies have limits and deadlines, and
//! a body is read only once the headers carry a known key id. Idle connections make room for new ones ([`rsqlflow_door`]),
//! and agents that run in processes of their own have places of their own: a request that is signed with the key and says
//! that it comes from one moves its connection there.
//!
//! What it does not do: TLS (nothing leaves the machine), HTTP/2, virtual hosts.

mod announce;
mod sigv4;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use rsqlflow_door::http::{Limits, serve as serve_http};
use rsqlflow_door::{Places, Seat};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::credentials::LocalCredentials;
use crate::data_dir::DataDirError;
use crate::place::Place;
use crate::protocol::{self, Shape, WireRequest, WireResponse};
use crate::registry::Services;
use crate::service::AwsError;

pub use announce::{Endpoint, discover};

/// The largest request any action here takes is a DynamoDB batch: "16 MB total"
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>).
const MAX_BODY: usize = 16 * 1024 * 1024;
/// Bytes of a request's line and headers.
const MAX_HEADERS: usize = 64 * 1024;
/// Connections at a time; one more takes the place of an idle one.
const MAX_CONNECTIONS: usize = 256;
/// Connections of agents beside those: one for each job that reports at the same time, and one for its log.
const MAX_AGENT_CONNECTIONS: usize = 1_024;
/// How an agent's SDK names its program in `x-amz-user-agent`
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html>).
const AGENT: &str = "app/rsqlflow-agent";
/// How long a client may take over its headers, or keep an idle connection that nobody else needs.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take over its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way have to end when the endpoint stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Why the endpoint is not served.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// An address other machines could reach.
    #[error("the local endpoint listens on 127.0.0.1 only, not on {0}; set `listen` to 127.0.0.1:PORT")]
    NotLoopback(SocketAddr),
    /// The port is taken, for instance.
    #[error("cannot listen on {address}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The announcement could not be written.
    #[error(transparent)]
    Announce(#[from] DataDirError),
}

/// What the connections share.
pub(crate) struct Door {
    pub(crate) services: Services,
    pub(crate) credentials: LocalCredentials,
    pub(crate) place: Place,
    pub(crate) clock: Clock,
}

/// A served endpoint; dropping it stops at once, [`Serving::stop`] lets requests under way end.
#[derive(Debug)]
pub struct Serving {
    endpoint: Endpoint,
    stop: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
    announcement: Option<announce::Announcement>,
}

impl Serving {
    /// Where it listens and with which key.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Stops accepting, waits a few seconds for requests under way, and takes the announcement back.
    pub async fn stop(mut self) {
        self.announcement = None;
        self.stop.send_replace(true);
        // The task ends by itself in bounded time.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens on `address` and announces it in `data_dir`.
pub(crate) async fn serve(
    door: Door,
    address: SocketAddr,
    data_dir: &Path,
) -> Result<Serving, EndpointError> {
    if address.ip() != Ipv4Addr::LOCALHOST {
        return Err(EndpointError::NotLoopback(address));
    }
    let bound = |source| EndpointError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bound)?;
    let local = listener.local_addr().map_err(bound)?;
    let endpoint = Endpoint {
        url: format!("http://{local}"),
        region: door.place.region.clone(),
        access_key_id: door.credentials.access_key_id.clone(),
        secret_access_key: door.credentials.secret_access_key.clone(),
        pid: std::process::id(),
    };
    let announcement = announce::Announcement::write(data_dir, &endpoint)?;
    let (stop, stopped) = watch::channel(false);
    let accepting = tokio::spawn(accept(listener, Arc::new(door), stopped));
    Ok(Serving { endpoint, stop, accepting, announcement: Some(announcement) })
}

async fn accept(listener: TcpListener, door: Arc<Door>, stopped: watch::Receiver<bool>) {
    let limits =
        Limits { head: HEAD_TIMEOUT, head_bytes: MAX_HEADERS, connection: None, stop: STOP_PATIENCE };
    let answer = move |request, seat: Arc<Seat>| {
        let door = Arc::clone(&door);
        async move { respond(&door, request, &seat).await }
    };
    serve_http(listener, Places::new(MAX_CONNECTIONS, MAX_AGENT_CONNECTIONS), limits, stopped, answer).await;
}

async fn respond(door: &Door, request: Request<Incoming>, seat: &Seat) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let header = |name| text(&parts.headers, name);
    let wire = WireRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        invocation_type: header("x-amz-invocation-type"),
        target: header("x-amz-target"),
        content_type: header("content-type"),
        body: &[],
    };
    let shape = Shape::of(wire);
    let refuse = |error: &AwsError| to_http(protocol::refusal(shape, error));

    let now = door.clock.now();
    let authorization = match sigv4::check_headers(&parts.headers, &door.credentials, now) {
        Ok(authorization) => authorization,
        Err(refusal) => return refuse(&refusal.to_error(shape)),
    };
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let body = match read {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let error = AwsError::client("RequestEntityTooLargeException", "The request is too large");
            return refuse(&AwsError { status: 413, ..error });
        }
        Ok(Err(_)) | Err(_) => {
            let error = AwsError::client("RequestTimeoutException", "The request's body did not arrive");
            return refuse(&AwsError { status: 408, ..error });
        }
    };
    let signed = sigv4::Signed {
        method: wire.method,
        path: wire.path,
        query: wire.query,
        headers: &parts.headers,
        body: &body,
    };
    if let Err(refusal) = sigv4::check_signature(&authorization, signed, &door.credentials) {
        return refuse(&refusal.to_error(shape));
    }
    if header("x-amz-user-agent").is_some_and(|program| program.split(' ').any(|word| word == AGENT)) {
        seat.own();
    }
    if shape != Shape::Rest && parts.method != http::Method::POST {
        let error = AwsError::client("UnknownOperationException", "Actions are requested with POST");
        return refuse(&AwsError { status: 404, ..error });
    }
    to_http(protocol::answer(&door.services, WireRequest { body: &body, ..wire }).await)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn to_http(answer: WireResponse) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
