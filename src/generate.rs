//! Writing an answer: read the prompt, then sample token after token until the model ends, and say how it went.

use crate::context::{Context, ContextFull, text_slots};
use crate::model::finite::NotFinite;
use crate::model::forward::Slot;
use crate::sampler::Sampler;
use crate::tokenizer::{StreamDecoder, Tokenizer};
use std::time::{Duration, Instant};

/// What may end an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The model ended its turn.
    End,
    /// The number of tokens asked for is reached.
    Length,
    /// The context is full.
    ContextFull,
    /// The caller's `proceed` said no.
    Interrupted,
}

impl Stop {
    /// The word used in machine-readable results.
    pub fn name(self) -> &'static str {
        match self {
            Stop::End => "end",
            Stop::Length => "length",
            Stop::ContextFull => "context_full",
            Stop::Interrupted => "interrupted",
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The prompt does not fit; nothing has been read.
    #[error(transparent)]
    ContextFull(#[from] ContextFull),
    /// What the weights give are no numbers, and whatever were chosen would be noise.
    #[error(
        "the model computes values that are no numbers (NaN or infinity){}",
        found.map_or(String::new(), |found| format!(", first {found}"))
    )]
    NotFinite {
        /// Where they first appear, unless they did not appear again when the text was read once more to find out.
        found: Option<NotFinite>,
    },
}

/// How an answer went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it ended.
    pub stop: Stop,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of them, tokens that were in the context already.
    pub n_reused: usize,
    /// Time from the start to the logits behind the prompt.
    pub prefill: Duration,
    /// Ids of the answer, the ending token excluded.
    pub ids: Vec<u32>,
    /// Time from the first sampled token to the last.
    pub decode: Duration,
}

impl Outcome {
    /// Prompt tokens read per second, those in the context already not counted.
    pub fn prefill_tok_s(&self) -> f64 {
        rate(self.n_prompt - self.n_reused, self.prefill)
    }

    /// Tokens written per second. The first comes with the prompt and is not counted.
    pub fn decode_tok_s(&self) -> f64 {
        rate(self.ids.len().saturating_sub(1), self.decode)
    }
}

fn rate(n: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() }
}

/// Who follows the making of an answer.
pub trait Audience {
    /// `done` of `total` prompt tokens are read.
    fn reading(&mut self, done: usize, total: usize);
    /// The answer goes on: the token, and the text that became whole with it (maybe none).
    fn writing(&mut self, id: u32, text: &str);
    /// Whether to go on; asked between batches and tokens.
    fn proceed(&mut self) -> bool;
}

/// Reads `prompt`, as far as the context does not hold it already, and writes up to `n_max` tokens.
///
/// The first `stable` slots are expected to begin the next prompt too; the context can then go back to their end.
///
/// # Errors
/// [`Error`].
pub fn generate(
    context: &mut Context<'_, '_>,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    prompt: &[Slot<'_>],
    stable: usize,
    n_max: usize,
    audience: &mut dyn Audience,
) -> Result<Outcome, Error> {
    let start = Instant::now();
    let n_reused = context.reuse(prompt);
    let mut outcome = Outcome {
        stop: Stop::Interrupted,
        n_prompt: prompt.len(),
        n_reused,
        prefill: Duration::ZERO,
        ids: Vec::new(),
        decode: Duration::ZERO,
    };
    context.check_room(prompt.len() - n_reused)?;
    let mut go_on = true;
    let mut done = n_reused;
    for end in [stable, prompt.len()] {
        if end > done && go_on {
            context.prefill(&prompt[done..end], |n| {
                audience.reading(done + n, prompt.len());
                go_on = audience.proceed();
                go_on
            })?;
            done = end;
            if end == stable && end < prompt.len() && go_on {
                context.checkpoint();
            }
        }
    }
    outcome.prefill = start.elapsed();
    if !go_on {
        return Ok(outcome);
    }

    let mut decoder = StreamDecoder::new();
    let start = Instant::now();
    context.logits(0);
    if !context.is_finite(true) {
        return Err(not_finite(context, prompt, &outcome.ids));
    }
    let mut id = sampler.sample(context.last_logits());
    outcome.stop = loop {
        if tokenizer.is_end(id) {
            break Stop::End;
        }
        if outcome.ids.len() == n_max {
            break Stop::Length;
        }
        if !audience.proceed() {
            break Stop::Interrupted;
        }
        sampler.accept(id);
        outcome.ids.push(id);
        outcome.decode = start.elapsed();
        audience.writing(id, decoder.push(tokenizer, id));
        if outcome.ids.len() == n_max {
            break Stop::Length;
        }
        if let Err(ContextFull { .. }) = context.decode(id) {
            break Stop::ContextFull;
        }
        if !context.is_finite(false) {
            return Err(not_finite(context, prompt, &outcome.ids));
        }
        id = sampler.sample(context.last_logits());
    };
    let rest = decoder.finish();
    if let (false, Some(&id)) = (rest.is_empty(), outcome.ids.last()) {
        audience.writing(id, rest);
    }
    Ok(outcome)
}

/// Finds out where values that are no numbers came from, by reading prompt and answer once more.
fn not_finite(context: &mut Context<'_, '_>, prompt: &[Slot<'_>], ids: &[u32]) -> Error {
    context.clear();
    let next = prompt.iter().flat_map(|slot| slot.position).max().map_or(0, |position| position + 1);
    let slots = [prompt, &text_slots(ids, next)].concat();
    Error::NotFinite { found: context.find_not_finite(&slots).ok().flatten() }
}
