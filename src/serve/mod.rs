//! A server: programs speak to the model over HTTP, in the dialects of OpenAI's, Anthropic's, Ollama's and
//! llama.cpp's APIs, and people through a [`page`].
//!
//! One thread has the connections and parses, and every model that is loaded has an engine's thread. A request becomes a
//! [`job`], waits in the [`queue`] of its model, is given a seat by the [`worker`], and from then on sends [`event`]s, of
//! which the answer is made:
//! streamed and whole answers are two folds of the same events ([`reply`]). Channels are bounded, so that a slow
//! reader has its own answer wait, and nobody else's.
//!
//! Nothing here opens a file or fetches an address that a request names.

mod access;
mod account;
mod anthropic;
mod ask;
mod baton;
mod body;
mod bounds;
mod clock;
mod error;
mod event;
mod follower;
mod http;
mod job;
mod json_cost;
mod keep_alive;
mod keeper;
mod known;
mod llama_cpp;
mod logprobs;
mod looker;
mod metrics;
mod models;
mod ollama;
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
mod served;
mod shared;
mod shutdown;
mod slots;
mod sse;
mod stop_strings;
mod told;
mod turns;
mod worker;

pub use access::Key;
pub use account::{RequestLine, seconds};
pub use bounds::Bounds;
pub use keeper::{News, NotLoaded, Serving};
pub use known::KeptInFolder;
pub use served::ModelCard;
pub use shutdown::Shutdown;

use crate::engine::ready::Ready;
use crate::platform::machine;
use access::Access;
use baton::Baton;
use bounds::BODY_UNIT;
use metrics::Metrics;
use models::Models;
use shared::Shared;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Semaphore;

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
        let models = Arc::new(Models::new());
        let shared = Arc::new(Shared {
            access: Access { loopback: address.ip().is_loopback(), names: allowed_hosts, key },
            shutdown: Shutdown::new(Arc::clone(&models)),
            metrics: Arc::new(Metrics::default()),
            models,
            baton: Baton::default(),
            body_memory: Arc::new(Semaphore::new(bounds.bodies().div_ceil(BODY_UNIT).min(Semaphore::MAX_PERMITS))),
            dear: Arc::new(Semaphore::new(1)),
            log: Box::new(log),
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

    /// Serves these models until the server ends: the first is loaded at once, the others when they are asked for, by
    /// `load`. A model that nobody has asked for in `idle_time` leaves the memory, and so does the one that was used
    /// least lately where `load` finds that another one does not fit beside it. `load` is called from other threads,
    /// with the number of a model and the bytes that the plans of those allow that are loaded, the program included; 0
    /// where none is. `tell` is told of what happens to models.
    ///
    /// # Errors
    /// There is one model, and it cannot be loaded.
    ///
    /// # Panics
    /// If there is no model.
    pub fn run<E: Send>(
        self,
        cards: Vec<ModelCard>,
        idle_time: Option<Duration>,
        load: impl Fn(usize, u64) -> Result<(Ready, Serving), NotLoaded<E>> + Sync,
        tell: impl Fn(News<'_, E>) + Sync,
    ) -> Result<(), E> {
        let cards: Vec<Arc<ModelCard>> = cards.into_iter().map(Arc::new).collect();
        let usage = machine::usage();
        self.shared.models.begin(&cards, idle_time, usage.anonymous + usage.file);
        keeper::keep(&self.shared, &cards, &load, &tell)?;
        let _ = self.connections.join();
        Ok(())
    }
}
