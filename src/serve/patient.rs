//! A connection's socket, of which no wait is without a limit: a header that has begun must come to its end, and a reader
//! must take what is sent.
//!
//! HTTP's own implementation has one timer for the header and for the time before it, which may be long where a client
//! keeps its connection for the next request. So the header is timed here, from its first byte. (The beginning of a header
//! that came with the end of the request before it is not seen, and has the longer time.) That implementation also
//! refuses headers without a word on why, which is said here in its place.

use super::error::ApiError;
use super::http::bare;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// The requests of a connection: how many headers were complete, and whether one is being answered.
#[derive(Clone, Default)]
pub(super) struct Answering(Arc<(AtomicUsize, AtomicBool)>);

impl Answering {
    /// A header is complete; until what this returns is dropped, its request is being answered.
    pub fn begin(&self) -> Answered {
        let (n_begun, is_on) = &*self.0;
        n_begun.fetch_add(1, Ordering::Relaxed);
        is_on.store(true, Ordering::Relaxed);
        Answered(self.clone())
    }

    fn n_begun(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    fn is_on(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// The next header may come once this is dropped.
pub(super) struct Answered(Answering);

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.0.1.store(false, Ordering::Relaxed);
    }
}

/// How long a connection waits.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For the rest of a header.
    pub header: Duration,
    /// For a reader who takes nothing.
    pub write: Duration,
}

/// A stream whose waits have limits.
pub(super) struct Patient {
    stream: TcpStream,
    patience: Patience,
    answering: Answering,
    /// Runs while a header is being read.
    header: Option<Pin<Box<Sleep>>>,
    /// Headers that were complete when it was last read from.
    n_seen: usize,
    /// Runs while a write waits.
    write: Option<Pin<Box<Sleep>>>,
    /// What is said in place of an answer without a body, as far as it is not sent.
    instead: Vec<u8>,
}

impl Patient {
    /// `stream`, with so much patience.
    pub fn new(stream: TcpStream, patience: Patience, answering: Answering) -> Patient {
        Patient { stream, patience, answering, header: None, n_seen: 0, write: None, instead: Vec::new() }
    }

    /// `progress` of a write, or an error if there was none for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.write = None;
            return progress;
        }
        late(&mut self.write, self.patience.write, cx)
    }

    /// Writes what is to be said in place of `n` bytes.
    fn poll_instead(&mut self, cx: &mut Context<'_>, n: usize) -> Poll<io::Result<usize>> {
        while !self.instead.is_empty() {
            let progress = Pin::new(&mut self.stream).poll_write(cx, &self.instead);
            let written = ready!(self.watch(cx, progress))?;
            self.instead.drain(..written.max(1));
        }
        Poll::Ready(Ok(n))
    }
}

/// An error once a wait that begins with the first of these calls has taken too long.
fn late<T>(wait: &mut Option<Pin<Box<Sleep>>>, patience: Duration, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    ready!(wait.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

/// What is said in place of this head, if it refuses a header that could not be read: it has a body then.
fn instead_of(head: &[u8]) -> Option<Vec<u8>> {
    let error = match head.get(9..12).filter(|_| head.starts_with(b"HTTP/1."))? {
        b"400" => ApiError::invalid("this is no request of HTTP/1.1"),
        b"414" | b"431" => ApiError::large_header(),
        _ => return None,
    };
    // Those of this program have a body.
    head.windows(19).any(|bytes| bytes == b"content-length: 0\r\n").then(|| bare(&error).into_bytes())
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let n_byte = buf.filled().len();
        let progress = Pin::new(&mut this.stream).poll_read(cx, buf);
        let n_begun = this.answering.n_begun();
        if std::mem::replace(&mut this.n_seen, n_begun) < n_begun || this.answering.is_on() {
            this.header = None;
        }
        if this.answering.is_on() {
            return progress;
        }
        if buf.filled().len() > n_byte && this.header.is_none() {
            this.header = Some(Box::pin(sleep(this.patience.header)));
        } else if progress.is_pending() && this.header.is_some() {
            return late(&mut this.header, this.patience.header, cx);
        }
        progress
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_empty() && !self.answering.is_on() {
            self.instead = instead_of(buf).unwrap_or_default();
        }
        if !self.instead.is_empty() {
            return self.poll_instead(cx, buf.len());
        }
        let progress = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = bufs {
            return self.poll_write(cx, one);
        }
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
