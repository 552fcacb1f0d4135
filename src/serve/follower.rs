//! Follows one answer in the making and tells its request: ends it at a stop string, or when nobody listens any more.

use super::event::{BURST, Event, Events};
use super::job::Fault;
use super::logprobs::{self, Wanted};
use super::metrics::Metrics;
use super::random::Names;
use super::served::Served;
use super::shutdown::{Phase, Shutdown};
use super::told::Told;
use crate::chat::calls::Piece;
use crate::chat::thinking::Channel;
use crate::engine::generate::Audience;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::error::TrySendError;

/// What is left to tell when the answer is over.
pub(super) type Scan = Rc<RefCell<Told>>;

/// The audience of one choice of a request.
pub(super) struct Follower {
    pub choice: usize,
    /// Choices that share the channel.
    pub n_shared: usize,
    pub events: Events,
    pub scan: Scan,
    /// Which probabilities are wanted, if any are.
    pub logprobs: Option<Wanted>,
    /// The ids of calls, if any may be made, and calls so far.
    pub names: Option<Names>,
    pub n_call: usize,
    /// Its model, and its seat there.
    pub served: Arc<Served>,
    pub seat: usize,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    /// A fault that a test asks for.
    pub fault: Option<Fault>,
    /// When the request came.
    pub since: Instant,
    /// When the last token came.
    pub last: Option<Instant>,
}

impl Follower {
    fn is_wanted(&self) -> bool {
        !self.events.is_closed() && self.shutdown.phase() < Phase::Ending
    }

    /// Takes note of when a token came.
    fn measure(&mut self) {
        let now = Instant::now();
        self.served.slots[self.seat].wrote();
        match self.last.replace(now) {
            None => self.metrics.began(now - self.since),
            Some(last) => self.metrics.went_on(now - last),
        }
    }

    fn tell(&self, event: Event) {
        let sent = self.events.try_send((self.choice, event));
        debug_assert!(!matches!(sent, Err(TrySendError::Full(_))), "there is room, or nobody listens");
    }
}

impl Audience for Follower {
    fn reading(&mut self, done: usize, total: usize) {
        // Of written rows there is nothing to say.
        if self.last.is_none() {
            self.served.slots[self.seat].read(done);
            self.tell(Event::Reading { done, total });
        }
    }

    fn writing(&mut self, channel: Channel, text: &str) {
        self.measure();
        let event = match channel {
            Channel::Thinking => (!text.is_empty()).then(|| Event::Thinking(text.to_owned())),
            Channel::Answer => self.scan.borrow_mut().push(text),
        };
        if let Some(event) = event {
            self.tell(event);
        }
    }

    fn calling(&mut self, piece: Piece<'_>) {
        self.measure();
        let event = match piece {
            Piece::Text(_) => return,
            Piece::Begun(name) => {
                let rest = self.scan.borrow_mut().pause();
                rest.into_iter().for_each(|rest| self.tell(rest));
                let id = self.names.as_ref().map_or_else(String::new, |names| names.of(self.choice, self.n_call));
                self.n_call += 1;
                Event::CallBegun { id, name: name.to_owned() }
            }
            Piece::Arguments(json) => Event::CallArguments(json.to_owned()),
            Piece::Ended => Event::CallEnded,
        };
        self.tell(event);
    }

    fn proceed(&mut self) -> bool {
        assert!(self.fault != Some(Fault::InPass), "a test asked for a fault in a pass");
        self.is_wanted() && !self.scan.borrow().is_stopped()
    }

    fn follows_choices(&self) -> bool {
        self.logprobs.is_some()
    }

    fn chosen(&mut self, id: u32, logits: &[f32]) {
        let Some(Wanted { n_top, .. }) = self.logprobs else { return };
        self.scan.borrow_mut().chosen(logprobs::token(&self.served.tokenizer, logits, id, n_top));
    }

    fn ended(&mut self, id: u32, logits: &[f32]) {
        let Some(Wanted { n_top, of_end: true, .. }) = self.logprobs else { return };
        self.scan.borrow_mut().ended(logprobs::token(&self.served.tokenizer, logits, id, n_top));
    }

    fn is_ready(&self) -> bool {
        self.events.capacity() >= BURST * self.n_shared || !self.is_wanted()
    }
}
