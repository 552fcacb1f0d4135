//! A request that can be queued.

use super::event::EventsOf;
use super::job::Job;
use super::reply::Dialect;

/// A request that can be queued, and how its answer is said.
pub(super) struct Prepared {
    /// One for each prompt.
    pub jobs: Vec<Job>,
    pub events: EventsOf,
    pub dialect: Box<dyn Dialect>,
    /// What else the client is told, by names of headers.
    pub headers: Vec<(&'static str, String)>,
    pub stream: bool,
}
