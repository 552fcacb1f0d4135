//! What the threads of a server have in common.

use super::access::Access;
use super::metrics::Metrics;
use super::pictures::PictureDesk;
use super::queue::Queue;
use super::shutdown::Shutdown;
use crate::chat::Template;
use crate::sampler::Settings;
use crate::tokenizer::Tokenizer;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Bytes that a permit of [`Shared::body_memory`] stands for.
pub(super) const BODY_UNIT: usize = 4096;

/// What the threads of a server have in common.
pub(super) struct Shared {
    pub access: Access,
    pub bounds: Bounds,
    pub queue: Arc<Queue>,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    /// The model, once it is loaded.
    pub served: OnceLock<Arc<Served>>,
    /// Memory for bodies, in units.
    pub body_memory: Arc<Semaphore>,
    pub log: Box<dyn Fn(&RequestLine) + Send + Sync>,
}

/// How much a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of all bodies that are being read.
    pub bodies: usize,
    /// Open connections.
    pub connections: usize,
    /// Requests that wait for a seat.
    pub waiting: usize,
    /// Time for the header of a request.
    pub header_time: Duration,
    /// Time for the body of a request.
    pub body_time: Duration,
    /// Time for which a client may take nothing of what is sent.
    pub write_time: Duration,
    /// Time for which answers go on after the server was asked to end.
    pub grace: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            body: 32 << 20,
            bodies: 64 << 20,
            connections: 512,
            waiting: 32,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            write_time: Duration::from_secs(30),
            grace: Duration::from_secs(8),
        }
    }
}

/// The model that is served, and how.
pub(super) struct Served {
    pub tokenizer: Arc<Tokenizer>,
    pub template: Template,
    pub about: ModelCard,
    /// How tokens are chosen without and with thinking, where a request does not say.
    pub sampling: [Settings; 2],
    /// What the template is told of thinking where a request does not say, if anything.
    pub thinking: Option<bool>,
    pub think_budget: Option<usize>,
    /// How pictures are taken, where there is a tower.
    pub pictures: Option<PictureDesk>,
    /// The user whose requests fail, for tests.
    pub fault: Option<String>,
    /// Positions of a conversation.
    pub n_ctx: usize,
    /// Answers in the making at a time.
    pub n_seat: usize,
}

/// What clients are told of the model.
#[derive(Clone, Debug)]
pub struct ModelCard {
    /// Its name in the API.
    pub id: String,
    /// Of the program and the model: the same one, seed and request give the same answer.
    pub fingerprint: String,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// Rows of the vocabulary.
    pub n_vocab: usize,
    /// Positions it was trained on.
    pub n_ctx_train: usize,
    /// Bytes of its weights.
    pub size: u64,
}

/// What became of a request, without what it said.
#[derive(Clone, Debug)]
pub struct RequestLine {
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The status it was answered with; 499 where the client left first.
    pub status: u16,
    /// Tokens of the prompt, of those the ones that were read before, and tokens written; of requests that have any.
    pub tokens: Option<(usize, usize, usize)>,
    /// From the header to the last byte.
    pub time: Duration,
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestLine { method, path, status, tokens, time } = self;
        write!(f, "{method} {path} {status} {} ms", time.as_millis())?;
        match tokens {
            Some((prompt, cached, written)) => write!(f, ", {prompt} tokens ({cached} cached) + {written}"),
            None => Ok(()),
        }
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
        let (method, path) = (method.to_owned(), path.to_owned());
        let line = RequestLine { method, path, status: 499, tokens: None, time: Duration::ZERO };
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
