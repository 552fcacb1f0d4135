//! What the threads of a server have in common.

use super::access::Access;
use super::account::RequestLine;
use super::baton::Baton;
use super::bounds::Bounds;
use super::metrics::Metrics;
use super::models::Models;
use super::shutdown::Shutdown;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What the threads of a server have in common.
pub(super) struct Shared {
    pub access: Access,
    pub bounds: Bounds,
    pub models: Arc<Models>,
    /// Had by the engine that computes.
    pub baton: Baton,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    /// Memory for bodies, in units.
    pub body_memory: Arc<Semaphore>,
    /// Had by the one body that is being parsed of those that are dear.
    pub dear: Arc<Semaphore>,
    pub log: Box<dyn Fn(&RequestLine) + Send + Sync>,
}
