//! HTTP/1.1 by the rules of [`Places`].

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answered::{Answer, Progress, Watched};
use crate::places::{Places, Seat};

/// How long to wait after a client could not be accepted: out of file descriptors, most likely.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long the head of a request may take; also how long a connection may be idle, and how long a client may take
    /// nothing of its answer before its connection counts as idle.
    pub head: Duration,
    /// Bytes of a head; at least 8 KiB.
    pub head_bytes: usize,
    /// How long a connection may last; where there is a limit, it is for one request.
    pub connection: Option<Duration>,
    /// How long requests under way have to end when the server stops.
    pub stop: Duration,
}

/// Serves until `stopped` says so or its sender is gone: then nothing is accepted any more, and requests under way have
/// [`Limits::stop`] to end. Dropping the future ends all connections at once. While `answer` is at work, and for as
/// long as the client takes what it answers, the client keeps its place; it is for `answer` to limit how long the body of a
/// request may take.
pub async fn serve<A, F>(
    listener: TcpListener,
    places: Places,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<Incoming>, Arc<Seat>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    // Dropped with this future, which ends all connections.
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            places.room().await;
            listener.accept().await
        };
        tokio::select! {
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = next => match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, places.take(), limits, stopped.clone(), answer.clone());
                    connections.spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            },
        }
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    // What takes longer is aborted with the set.
    let _ = tokio::time::timeout(limits.stop, rest).await;
}

/// Waits for the stop; its sender being gone means the same.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn connection<A, F>(
    stream: TcpStream,
    seat: Seat,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<Incoming>, Arc<Seat>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    // Small answers should not wait for more to send; failing to say so costs only time.
    let _ = stream.set_nodelay(true);
    let seat = Arc::new(seat);
    let progress = Progress::of(Arc::clone(&seat));
    let stream = Watched::new(TokioIo::new(stream), Arc::clone(&progress), limits.head);
    let sitting = Arc::clone(&seat);
    let service = service_fn(move |request| {
        // The head is complete.
        progress.begin();
        let (progress, answering) = (Arc::clone(&progress), answer(request, Arc::clone(&sitting)));
        async move {
            let response = answering.await;
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, progress)))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .keep_alive(limits.connection.is_none())
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let lifetime = async {
        match limits.connection {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = seat.evicted() => return tracing::debug!("an idle connection made room for another"),
        () = lifetime => return,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection broke");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// More than the sockets' buffers hold.
    const LENGTH: usize = 32 * 1024 * 1024;

    #[tokio::test]
    async fn a_client_keeps_its_place_until_it_has_the_whole_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let long = Duration::from_secs(60);
        let limits = Limits { head: long, head_bytes: 8192, connection: None, stop: Duration::ZERO };
        let (_stop, stopped) = watch::channel(false);
        let answer = |_: Request<Incoming>, _: Arc<Seat>| async {
            Response::new(Full::new(Bytes::from(vec![b'x'; LENGTH])))
        };
        let server = tokio::spawn(serve(listener, Places::new(1, 0), limits, stopped, answer));
        let ask = async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
            stream
        };
        let mut first = ask().await;
        // The answer is on its way.
        first.read_exact(&mut [0]).await.unwrap();
        let mut second = ask().await;
        first.read_exact(&mut vec![0; LENGTH]).await.unwrap();
        // Idle now, it has to go.
        let answered = tokio::time::timeout(long, second.read_exact(&mut [0])).await;
        answered.expect("a place is free by then").unwrap();
        server.abort();
    }
}
