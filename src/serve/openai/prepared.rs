//! A request that can be queued.

use crate::serve::event::EventsOf;
use crate::serve::job::Job;
use crate::serve::reply::Dialect;

/// A request that can be queued, and how its answer is said.
pub(in crate::serve) struct Prepared {
    /// One for each prompt.
    pub jobs: Vec<Job>,
    pub events: EventsOf,
    pub dialect: Box<dyn Dialect>,
    pub stream: bool,
}
