//! Texts that are continued as they are, whatever dialect they came in: from prompts to jobs.

use super::sampling::Sampling;
use crate::constrain::Grammar;
use crate::serve::error::ApiError;
use crate::serve::event::{self, EventsOf};
use crate::serve::job::{Fault, Job, Thinks};
use crate::serve::logprobs::Wanted;
use crate::serve::pictures::Pictures;
use crate::serve::served::Served;
use crate::tokenizer::Special;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Prompts of a request at most.
const MOST_PROMPTS: usize = 16;

/// Texts to be continued.
pub(in crate::serve) struct Continuation {
    pub prompts: Vec<Vec<u32>>,
    pub sampling: Sampling,
    /// Answers wanted to each.
    pub n: usize,
    /// Most tokens of each.
    pub n_max: usize,
    /// What each keeps to.
    pub grammar: Option<Arc<Grammar>>,
    /// Which probabilities are wanted, if any are.
    pub logprobs: Option<Wanted>,
    /// A fault of the engine that a test asks for.
    pub fault: Option<Fault>,
}

impl Continuation {
    /// Makes jobs of it, one for each prompt, and where their events come from.
    ///
    /// # Errors
    /// It makes no sense, or does not fit.
    pub fn jobs(mut self, served: &Served, client: IpAddr, since: Instant) -> Result<(Vec<Job>, EventsOf), ApiError> {
        if let Some(ids) = self.prompts.iter().find(|ids| ids.len() >= served.n_ctx) {
            return Err(ApiError::too_long("prompt", ids.len(), served.n_ctx));
        }
        let sampling = self.sampling.settings(served.sampling[0])?;
        let (seed, stop) = (self.sampling.seed(), self.sampling.stops());
        let biases = self.sampling.biases(served.tokenizer.n_vocab())?;
        let Continuation { prompts, n, n_max, grammar, logprobs, fault, .. } = self;
        let n_shared = prompts.len() * n;
        let (sender, events) = event::channel(n_shared);
        let job = |(i, ids): (usize, Vec<u32>)| Job {
            client,
            n_max: if grammar.is_some() { n_max.min(served.n_ctx - ids.len()) } else { n_max },
            ids,
            rows: Vec::new(),
            pictures: Pictures::default(),
            turn: None,
            thinks: Thinks::Never,
            calls: None,
            grammar: grammar.clone(),
            call_grammar: None,
            sampling,
            biases: Arc::clone(&biases),
            seed,
            first_choice: i * n,
            n,
            n_shared,
            stop: stop.clone(),
            logprobs,
            since,
            fault,
            events: sender.clone(),
            held: None,
        };
        Ok((prompts.into_iter().enumerate().map(job).collect(), events))
    }
}

/// The prompts, which are a text or its tokens, or a list of such. Control tokens in a text count as such.
///
/// # Errors
/// They are none of that.
pub(in crate::serve) fn prompts(prompt: Option<&Value>, served: &Served) -> Result<Vec<Vec<u32>>, ApiError> {
    let wrong = |message: &str| ApiError::field("prompt", message);
    let all = match prompt {
        None => return Err(wrong("expected a string, its tokens, or a list of such")),
        Some(Value::Array(all)) if !all.first().is_some_and(Value::is_number) => &all[..],
        Some(one) => std::slice::from_ref(one),
    };
    if !(1..=MOST_PROMPTS).contains(&all.len()) {
        return Err(wrong(&format!("expected 1 to {MOST_PROMPTS} prompts")));
    }
    let one = |prompt: &Value| {
        let ids = match prompt {
            Value::String(text) => {
                served.check_length("prompt", text.len())?;
                served.tokenizer.encode(text, Special::Parse)
            }
            Value::Array(ids) => tokens("prompt", ids, served)?,
            _ => return Err(wrong("expected a string, its tokens, or a list of such")),
        };
        if ids.is_empty() { Err(wrong("a prompt has no tokens")) } else { Ok(ids) }
    };
    all.iter().map(one).collect()
}

/// Tokens, in the field `param`.
///
/// # Errors
/// One is none of the vocabulary.
pub(in crate::serve) fn tokens(param: &str, ids: &[Value], served: &Served) -> Result<Vec<u32>, ApiError> {
    let n_vocab = served.tokenizer.n_vocab();
    let id = |id: &Value| id.as_u64().filter(|&id| id < n_vocab as u64).map(|id| id as u32);
    let ids: Option<Vec<u32>> = ids.iter().map(id).collect();
    ids.ok_or_else(|| ApiError::field(param, format!("expected tokens from 0 to {}", n_vocab - 1)))
}
