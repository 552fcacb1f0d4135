//! A request that can be queued.

use super::event::EventsOf;
use super::job::Job;
use super::reply::Dialect;
use super::served::Served;
use std::net::IpAddr;
use std::time::Instant;

/// A request as it came.
pub(super) struct Received<'a> {
    pub body: Vec<u8>,
    /// Who sent it.
    pub client: IpAddr,
    /// When it came.
    pub since: Instant,
    /// What it is for.
    pub served: &'a Served,
}

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
