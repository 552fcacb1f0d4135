//! A server: programs speak to the model over HTTP, in the dialects of OpenAI's and Anthropic's APIs, and people through a
//! [`page`].
//!
//! One thread has the connections and parses, another one the engine. A request becomes a [`job`], waits in the
//! [`queue`], is given a seat by the [`worker`], and from then on sends [`event`]s, of which the answer is made:
//! streamed and whole answers are two folds of the same events ([`reply`]). Channels are bounded, so that a slow
//! reader has its own answer wait, and nobody else's.
//!
//! Nothing here opens a file or fetches an address that a request names.

mod access;
mod account;
mod anthropic;
mod ask;
mod body;
mod bounds;
mod clock;
mod error;
mod event;
mod follower;
mod http;
mod job;
mod json_cost;
mod known;
mod logprobs;
mod looker;
mod metrics;
mod openai;
mod page;
mod parts;
mod patient;
mod pictures;
mod prepared;
mod queue;
mod random;
mod reply;
mod responses;
mod routes;
mod score;
mod shared;
mod shutdown;
mod sse;
mod stop_strings;
mod told;
mod turns;
mod worker;

pub use access::Key;
pub use account::{RequestLine, seconds};
pub use bounds::Bounds;
pub use known::KeptInFolder;
pub use shared::ModelCard;
pub use shutdown::Shutdown;

use crate::constrain::SharedVocabulary;
use crate::engine::ready::Ready;
use crate::engine::runner::Runner;
use crate::sampler::Settings;
use crate::tokenizer::Tokenizer;
use crate::vision::Viewer;
use crate::vision::positions::VisionIds;
use access::Access;
use bounds::BODY_UNIT;
use known::Known;
use looker::Looker;
use metrics::Metrics;
use pictures::PictureDesk;
use queue::Queue;
use shared::{Served, Shared};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::sync::Semaphore;
use turns::Turns;
use worker::{Sight, Worker};

/// Bytes of text of which composition makes one, at most: a Hangul syllable of three bytes comes in nine, and four are
/// assumed for three.
const COMPOSED: usize = 4;

/// Requests that are parsed at a time.
const PARSERS: usize = 2;

/// Who may use a server, and how much of it.
#[derive(Default)]
pub struct ServerOptions {
    /// What must be known to use it.
    pub key: Option<Key>,
    /// Names it is addressed by, beside its addresses.
    pub allowed_hosts: Vec<String>,
    /// How much a client may take.
    pub bounds: Bounds,
}

/// How the model is served.
pub struct Serving {
    /// What clients are told of it.
    pub about: ModelCard,
    /// How tokens are chosen without and with thinking, where a request does not say.
    pub sampling: [Settings; 2],
    /// What the chat template is told of thinking where a request does not say, if anything.
    pub thinking: Option<bool>,
    /// Most tokens of thinking, where a request does not say.
    pub think_budget: Option<usize>,
    /// Whether thinking and answers are ended where they go round in circles.
    pub loop_guard: bool,
    /// For tests of what a fault of the program does to others: requests whose field `user` is this word fail where
    /// they are read, those with ` at a picture` or ` in a pass` behind it where that is computed.
    pub fault: Option<String>,
    /// Where what was read is kept beyond the life of the server, if it is.
    pub folder: Option<KeptInFolder>,
}

/// A server that listens. Until it has a model, it says that it has none.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    connections: JoinHandle<()>,
}

impl Server {
    /// Listens at one of these addresses, the first that can be had. `log` is told of every request when it is over,
    /// from another thread, on which all clients wait for it.
    ///
    /// # Errors
    /// None can be had, or there is no thread.
    pub fn bind(
        addresses: &[SocketAddr],
        options: ServerOptions,
        log: impl Fn(&RequestLine) + Send + Sync + 'static,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind(addresses)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let ServerOptions { key, allowed_hosts, bounds } = options;
        let queue = Arc::new(Queue::new(bounds.waiting));
        let shared = Arc::new(Shared {
            access: Access { loopback: address.ip().is_loopback(), names: allowed_hosts, key },
            shutdown: Shutdown::new(Arc::clone(&queue)),
            metrics: Arc::new(Metrics::default()),
            served: OnceLock::new(),
            body_memory: Arc::new(Semaphore::new(bounds.bodies().div_ceil(BODY_UNIT).min(Semaphore::MAX_PERMITS))),
            dear: Arc::new(Semaphore::new(1)),
            log: Box::new(log),
            queue,
            bounds,
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(PARSERS).build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let of_thread = Arc::clone(&shared);
        let connections = std::thread::Builder::new().name("connections".to_owned()).spawn(move || {
            runtime.block_on(http::serve(listener, of_thread));
            // What is still parsed belongs to nobody.
            runtime.shutdown_background();
        })?;
        Ok(Server { shared, address, connections })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends it.
    pub fn shutdown(&self) -> Shutdown {
        self.shared.shutdown.clone()
    }

    /// Serves a model on this thread, with a seat for every sequence that its runner has room for, until the server
    /// ends.
    pub fn run(self, ready: Ready, serving: Serving) {
        let Ready { mut runner, tokenizer, template, banned, viewer, .. } = ready;
        let Serving { about, sampling, thinking, think_budget, loop_guard, fault, folder } = serving;
        let (n_ctx, n_seat) = (runner.settings().n_ctx, runner.settings().n_sequence);
        let longest_text = n_ctx.saturating_mul(longest_token(&tokenizer));
        let (sight, pictures) = match viewer {
            Some((viewer, ids)) => self.sight(viewer, ids, &mut runner).unzip(),
            None => (None, None),
        };
        let turns = Arc::new(Turns::default());
        let vocabulary = SharedVocabulary::new(Arc::clone(&tokenizer));
        vocabulary.make_ahead();
        let served = Served {
            tokenizer: Arc::clone(&tokenizer),
            vocabulary,
            template,
            turns: Arc::clone(&turns),
            about,
            sampling,
            thinking,
            think_budget,
            loop_guard,
            pictures,
            fault,
            n_ctx,
            n_seat,
            longest_text,
        };
        // Nobody else sets it.
        let _ = self.shared.served.set(Arc::new(served));
        let known = Known::new(&runner, Arc::clone(&tokenizer), Arc::clone(&self.shared.metrics), folder);
        Worker::new(&self.shared, tokenizer, banned, sight, known, n_seat).run(runner);
        let _ = self.connections.join();
    }

    /// What looks at the pictures of requests, and what takes them; `None` where there is no room for any.
    fn sight(&self, mut viewer: Viewer, ids: VisionIds, runner: &mut Runner) -> Option<(Sight, PictureDesk)> {
        let (n_seat, n_out) = (runner.settings().n_sequence, runner.model().config.n_embd);
        // For each conversation the rows of a picture are planned, and as many are remembered.
        let most_tokens = viewer.max_tokens().saturating_mul(n_seat);
        let kept = most_tokens.saturating_mul(n_out).saturating_mul(size_of::<f32>());
        viewer.remember_at_most(kept);
        let reader = viewer.reader(2 * kept as u64, runner.threads()).ok()?;
        let (queue, metrics) = (Arc::clone(&self.shared.queue), Arc::clone(&self.shared.metrics));
        let looker = Looker::new(viewer, reader, queue, metrics).ok()?;
        Some((Sight { looker, ids, most_tokens }, PictureDesk { reader, ids, most_tokens }))
    }
}

/// Bytes of text that a token stands for at most.
fn longest_token(tokenizer: &Tokenizer) -> usize {
    let longest = (0..tokenizer.n_vocab()).filter_map(|id| tokenizer.token_text(id as u32)).map(str::len).max();
    longest.unwrap_or(1) * COMPOSED
}
