//! A request that can be queued.

use super::event::{self, EventsOf};
use super::job::Job;
use super::keep_alive::KeepAlive;
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
    /// One for each prompt; none where nothing is asked but that the model be there.
    pub jobs: Vec<Job>,
    pub events: EventsOf,
    pub dialect: Box<dyn Dialect>,
    /// What else the client is told, by names of headers.
    pub headers: Vec<(&'static str, String)>,
    pub stream: bool,
    /// How long the model is to stay, if the client says it.
    pub keep_alive: Option<KeepAlive>,
}

impl Prepared {
    /// One that asks for no answer: the dialect has what is said.
    pub fn without_jobs(dialect: Box<dyn Dialect>, keep_alive: Option<KeepAlive>) -> Prepared {
        let (_, events) = event::channel(0);
        Prepared { jobs: Vec::new(), events, dialect, headers: Vec::new(), stream: false, keep_alive }
    }
}
