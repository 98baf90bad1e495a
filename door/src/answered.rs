//! When a client has its answer: once its last byte is with the kernel.
//!
//! hyper takes an answer from the service, moves its body into a buffer, drops it, and then writes the buffer for as long
//! as the client takes to read. So two things are watched: that the body was dropped ([`Answer`]), and that a flush after
//! that came to its end ([`Watched`]). Only then the client is idle, and may be asked to go; or when it has taken nothing of
//! its answer for a while, so that clients who never read cannot keep all places.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Sleep;

use crate::places::Seat;

/// How far the answer to the client of a seat is.
pub(crate) struct Progress {
    seat: Arc<Seat>,
    /// Whether all of it is buffered, and nothing is known of its being written.
    buffered: AtomicBool,
}

impl Progress {
    pub(crate) fn of(seat: Arc<Seat>) -> Arc<Self> {
        Arc::new(Self { seat, buffered: AtomicBool::new(false) })
    }

    /// A request has begun.
    pub(crate) fn begin(&self) {
        self.buffered.store(false, Ordering::Relaxed);
        self.seat.busy();
    }

    /// All of the answer is written, or as much as the client will take.
    fn end(&self) {
        if self.buffered.swap(false, Ordering::Relaxed) {
            self.seat.idle();
        }
    }
}

/// The body of an answer.
pub(crate) struct Answer {
    body: Full<Bytes>,
    progress: Arc<Progress>,
}

impl Answer {
    pub(crate) fn new(body: Full<Bytes>, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.progress.buffered.store(true, Ordering::Relaxed);
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The connection of a client.
pub(crate) struct Watched<T> {
    io: T,
    progress: Arc<Progress>,
    /// How long a client may take nothing of its answer before it counts as idle.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    pub(crate) fn new(io: T, progress: Arc<Progress>, patience: Duration) -> Self {
        Self { io, progress, patience, stalled: None }
    }

    /// Whether the client took something, or is waited for.
    fn wrote<R>(&mut self, written: Poll<R>, cx: &mut Context<'_>) -> Poll<R> {
        if written.is_ready() || !self.progress.buffered.load(Ordering::Relaxed) {
            self.stalled = None;
        } else {
            let patience = self.patience;
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            if stalled.as_mut().poll(cx).is_ready() {
                self.progress.end();
            }
        }
        written
    }
}

impl<T: Read + Unpin> Read for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(written, cx)
    }

    /// hyper flushes what is below its buffer once that is empty.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.progress.end();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(written, cx)
    }
}
