//! How a server ends: no new requests, then time for the answers that are being made, then the end of all.

use super::models::Models;
use std::sync::Arc;
use tokio::sync::watch;

/// Where a server stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// It serves.
    Running,
    /// It completes what it has begun.
    Draining,
    /// It ends now.
    Ending,
}

/// Ends a server, from any thread. Clones end the same one.
#[derive(Clone)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
    models: Arc<Models>,
}

impl Shutdown {
    pub(super) fn new(models: Arc<Models>) -> Shutdown {
        Shutdown { phase: Arc::new(watch::Sender::new(Phase::Running)), models }
    }

    /// Has the server take no more requests, complete those that it has begun within its time of grace, and end.
    pub fn begin(&self) {
        self.go_on(Phase::Draining);
    }

    /// Has it end what is not complete.
    pub(super) fn end(&self) {
        self.go_on(Phase::Ending);
    }

    fn go_on(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            *now < phase && {
                *now = phase;
                true
            }
        });
        self.models.end();
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns once the server does not only serve.
    pub(super) async fn begun(&self) {
        // The sender lives as long as `self`.
        let _ = self.phase.subscribe().wait_for(|&phase| phase > Phase::Running).await;
    }
}
