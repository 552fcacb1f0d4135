//! What happens to a request: the one stream of events of which every dialect's answer is made, streamed or whole.

use super::error::ApiError;
use super::logprobs::TokenLogprob;
use crate::engine::draft::{Drafts, MOST_EXTRA};
use crate::engine::generate::{Outcome, Stop};
use crate::engine::prompt_cache::Reuse;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait for a reader before its answer does, at least.
const CHANNEL: usize = 64;

/// Events that a token sends at most: a text before a call, and the call's beginning, arguments and end.
const OF_TOKEN: usize = 4;

/// Events that one choice sends between two questions whether there is room, at most: those of each token of a pass, of one before
/// it where the prompt is known, and what begins and ends an answer.
pub(super) const BURST: usize = OF_TOKEN * (MOST_EXTRA + 2) + 4;

/// Something that happens to a choice of a request.
#[derive(Debug)]
pub(super) enum Event {
    /// It has a seat; of the prompt's tokens some are read already.
    Started { n_cached: usize },
    /// The prompt's tokens go on with these, all but the first of them in the end, where they were asked for; told of the
    /// first choice for all.
    Scored(Vec<TokenLogprob>),
    /// Tokens of the prompt that are read.
    Reading { done: usize, total: usize },
    /// The thinking goes on.
    Thinking(String),
    /// The answer goes on, with these tokens if they were asked for.
    Text(String, Vec<TokenLogprob>),
    /// The answer calls a function of this name; the call has this id.
    CallBegun { id: String, name: String },
    /// The arguments of the call go on with this piece of JSON; the pieces together are an object.
    CallArguments(String),
    /// The call is complete.
    CallEnded,
    /// It is complete.
    Finished(Box<Finish>),
    /// There will be no more of it.
    Failed(Box<ApiError>),
}

/// Why an answer ended, in what the dialects tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// The model ended it.
    Stop,
    /// The stop string of this number ended it.
    StopString(usize),
    /// The model ended it, and waits for what its calls give.
    Calls,
    /// The tokens asked for are written.
    Length,
    /// The context is full.
    ContextFull,
    /// It went round in circles.
    Repetition,
    /// The server ends.
    Shutdown,
}

impl Reason {
    /// What ended an answer, where the dialects have no word for it: a field of it.
    pub fn remark(self) -> Option<(&'static str, Value)> {
        let why = match self {
            Reason::Stop | Reason::StopString(_) | Reason::Calls | Reason::Length | Reason::ContextFull => return None,
            Reason::Repetition => "repetition",
            Reason::Shutdown => "shutdown",
        };
        Some(("qwen_edge", json!({"stopped": why})))
    }
}

/// How an answer went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    pub reason: Reason,
    pub n_prompt: usize,
    pub n_cached: usize,
    /// Why they are no more.
    pub reuse: Option<Reuse>,
    /// Tokens drawn, the one that ends the answer and those of the thinking included.
    pub n_completion: usize,
    pub n_reasoning: usize,
    pub prefill: Duration,
    pub decode: Duration,
    /// Tokens that were drafted, and those of them that were right.
    pub n_drafted: usize,
    pub n_accepted: usize,
}

impl Finish {
    pub fn new(outcome: &Outcome, reason: Reason) -> Finish {
        let Drafts { block, copy, .. } = outcome.drafts;
        Finish {
            reason,
            n_prompt: outcome.n_prompt,
            n_cached: outcome.n_reused,
            reuse: None,
            n_completion: outcome.ids.len() + usize::from(outcome.stop == Stop::End),
            n_reasoning: outcome.n_thinking,
            prefill: outcome.prefill,
            decode: outcome.decode,
            n_drafted: block.drafted + copy.drafted,
            n_accepted: block.accepted + copy.accepted,
        }
    }
}

/// Where the events of a request go, each with the number of its choice.
pub(super) type Events = mpsc::Sender<(usize, Event)>;

/// Where they come from.
pub(super) type EventsOf = mpsc::Receiver<(usize, Event)>;

/// A channel for so many choices.
pub(super) fn channel(n: usize) -> (Events, EventsOf) {
    mpsc::channel(CHANNEL.max(2 * BURST * n))
}
