//! How much clients may take: of memory, of time, and of places. What they can take together is a part of the plan.

use super::turns;
use std::time::Duration;

/// Bytes that a permit of `Shared::body_memory` stands for.
pub(super) const BODY_UNIT: usize = 4096;

/// Bytes that a connection takes at most: the header, and as much of a body.
const CONNECTION: usize = 64 << 10;

/// Bytes that the values of a body may take once they are parsed, beside its strings.
pub(super) const VALUES: usize = 48 << 20;

/// Bytes of parsing up to which a body counts as a small one. Of the others one is parsed at a time, so that a small
/// one never waits for two.
pub(super) const CHEAP: usize = 4 << 20;

/// How much a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a body.
    pub body: usize,
    /// Open connections.
    pub connections: usize,
    /// Requests that wait for a seat.
    pub waiting: usize,
    /// Time for the header of a request.
    pub header_time: Duration,
    /// Time between two requests of a connection, and before the first.
    pub idle_time: Duration,
    /// Time for the body of a request.
    pub body_time: Duration,
    /// Time for the beginning of a body; behind it a body must come at a rate.
    pub body_start: Duration,
    /// Time for which a request may wait for a seat.
    pub queue_time: Duration,
    /// Time for which a client may take nothing of what is sent.
    pub write_time: Duration,
    /// Time for which answers go on after the server was asked to end.
    pub grace: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            body: 32 << 20,
            connections: 512,
            waiting: 32,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            body_time: Duration::from_secs(60),
            body_start: Duration::from_secs(10),
            queue_time: Duration::from_secs(600),
            write_time: Duration::from_secs(30),
            grace: Duration::from_secs(8),
        }
    }
}

impl Bounds {
    /// Bytes of the bodies that are being read, are parsed or hold pictures that wait, all together.
    pub(super) fn bodies(&self) -> usize {
        self.body.saturating_mul(2)
    }

    /// Bytes that all clients together can make the server take, beside the model and their conversations.
    pub fn bytes(&self) -> u64 {
        let connections = self.connections.saturating_mul(CONNECTION);
        // One that is dear is parsed, and one that is not.
        let parsed = self.body.saturating_add(VALUES).saturating_add(CHEAP);
        [self.bodies(), parsed, connections, turns::MOST_BYTES].iter().map(|&part| part as u64).sum()
    }

    /// These bounds with all times of clients so many times shorter.
    ///
    /// # Panics
    /// If `times` is 0.
    pub fn hurried(self, times: u32) -> Bounds {
        Bounds {
            header_time: self.header_time / times,
            idle_time: self.idle_time / times,
            body_time: self.body_time / times,
            body_start: self.body_start / times,
            queue_time: self.queue_time / times,
            write_time: self.write_time / times,
            ..self
        }
    }
}
