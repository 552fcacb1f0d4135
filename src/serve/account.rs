//! What became of a request: told to the log when it is over, and counted.

use super::random;
use super::shared::Shared;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What became of a request, without what it said.
#[derive(Clone, Debug)]
pub struct RequestLine {
    /// Its name, which the client was told as `x-request-id`.
    pub id: String,
    /// When it came.
    pub at: SystemTime,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The status it was answered with; 499 where the client left first.
    pub status: u16,
    /// Tokens of the prompt, of those the ones that were read before, and tokens written; of requests that have any.
    pub tokens: Option<(usize, usize, usize)>,
    /// Keywords of the request's schemas that its answer was not held to, each with its place.
    pub relaxed: Vec<String>,
    /// From the header to the last byte.
    pub time: Duration,
}

impl RequestLine {
    /// As an object: `time` in seconds since 1970, when it came, and `ms` until its last byte.
    pub fn to_json(&self) -> Value {
        let RequestLine { id, at, method, path, status, tokens, relaxed, time } = self;
        let ms = (time.as_secs_f64() * 1e5).round() / 1e2;
        let mut line = json!({
            "time": seconds(*at), "id": id, "method": method, "path": path, "status": status, "ms": ms,
        });
        if let Some((prompt, cached, written)) = tokens {
            line["prompt_tokens"] = (*prompt).into();
            line["cached_tokens"] = (*cached).into();
            line["completion_tokens"] = (*written).into();
        }
        if !relaxed.is_empty() {
            line["relaxed"] = relaxed.as_slice().into();
        }
        line
    }
}

/// Seconds since 1970, to the millisecond.
pub fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| (since.as_secs_f64() * 1e3).round() / 1e3)
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestLine { method, path, status, tokens, time, .. } = self;
        write!(f, "{method} {path} {status} {} ms", time.as_millis())?;
        if let Some((prompt, cached, written)) = tokens {
            write!(f, ", {prompt} tokens ({cached} cached) + {written}")?;
        }
        if self.relaxed.is_empty() { Ok(()) } else { write!(f, ", not held: {}", self.relaxed.join(", ")) }
    }
}

/// Tells the log of a request when it is over, however it ends.
pub(super) struct Account {
    shared: Arc<Shared>,
    pub line: RequestLine,
    since: Instant,
}

impl Account {
    /// Of a request that begins; without further notice its client has left.
    pub fn new(shared: &Arc<Shared>, method: &str, path: &str) -> Account {
        let line = RequestLine {
            id: random::id("req_"),
            at: SystemTime::now(),
            method: method.to_owned(),
            path: path.to_owned(),
            status: 499,
            tokens: None,
            relaxed: Vec::new(),
            time: Duration::ZERO,
        };
        Account { shared: Arc::clone(shared), line, since: Instant::now() }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.line.time = self.since.elapsed();
        self.shared.metrics.responded(self.line.status);
        (self.shared.log)(&self.line);
    }
}
