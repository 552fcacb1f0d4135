//! Writing an answer: read the prompt, then sample token after token until the model ends, and say how it went.

use crate::chat::thinking::{Channel, Thinking, Thought};
use crate::engine::context::{Context, text_rows};
use crate::engine::context_error::ContextError;
use crate::model::finite::NotFinite;
use crate::model::input::{Input, InputRow};
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
    /// The prompt does not fit, or is none of this model; nothing has been read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// There is nothing to answer.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
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
    /// Of them, tokens that were read; all the others unless the reading was interrupted.
    pub n_read: usize,
    /// Time from the start to the logits behind the prompt.
    pub prefill: Duration,
    /// Ids of the answer, the ending token excluded.
    pub ids: Vec<u32>,
    /// The answer: all that [`Audience::writing`] was told of it.
    pub text: String,
    /// The thinking before it, without white space around it.
    pub reasoning: String,
    /// What became of the thinking.
    pub thought: Thought,
    /// Thinking tokens that the model chose.
    pub n_thinking: usize,
    /// Time from the first sampled token to the last.
    pub decode: Duration,
}

impl Outcome {
    /// Prompt tokens read per second, those in the context already not counted.
    pub fn prefill_tok_s(&self) -> f64 {
        rate(self.n_read, self.prefill)
    }

    /// Tokens written per second. The first comes with the prompt and is not counted.
    pub fn decode_tok_s(&self) -> f64 {
        rate(self.ids.len().saturating_sub(1), self.decode)
    }

    /// The answer, or the thinking before it, goes on with `text`.
    fn go_on(&mut self, channel: Channel, text: &str, thinking: &Thinking, audience: &mut dyn Audience) {
        let (written, text) = match channel {
            Channel::Thinking => (&mut self.reasoning, text),
            // The blank lines between thinking and answer belong to neither.
            Channel::Answer if self.text.is_empty() && !thinking.is_ignored() => {
                (&mut self.text, text.trim_start_matches('\n'))
            }
            Channel::Answer => (&mut self.text, text),
        };
        written.push_str(text);
        audience.writing(channel, text);
    }

    /// Whether it was interrupted before anything was written.
    pub fn is_stopped_before_answer(&self) -> bool {
        self.stop == Stop::Interrupted && self.ids.is_empty()
    }
}

fn rate(n: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() }
}

/// Who follows the making of an answer.
pub trait Audience {
    /// `done` of `total` prompt tokens are read.
    fn reading(&mut self, done: usize, total: usize);
    /// The answer goes on with text that became whole (maybe none).
    fn writing(&mut self, channel: Channel, text: &str);
    /// Whether to go on; asked between batches and tokens.
    fn proceed(&mut self) -> bool;
}

/// What is to be written.
pub struct Task<'a> {
    /// The prompt.
    pub prompt: &'a [InputRow<'a>],
    /// So many of its rows are expected to begin the next prompt too; the context can then go back to their end.
    pub checkpoint_at: usize,
    /// Most tokens of the answer.
    pub n_max: usize,
    /// Where the prompt leaves the thinking, and its budget.
    pub thinking: Thinking,
}

/// Reads the prompt, as far as the context does not hold it already, and writes the answer. The sampler begins anew,
/// with the prompt's tokens before it.
///
/// # Errors
/// [`Error`].
pub fn generate(
    context: &mut Context,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    task: Task<'_>,
    audience: &mut dyn Audience,
) -> Result<Outcome, Error> {
    let start = Instant::now();
    let Task { prompt, checkpoint_at, n_max, mut thinking } = task;
    if prompt.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    let checkpoint_at = checkpoint_at.min(prompt.len());
    let n_reused = context.rewind_to_common_prefix(prompt);
    let mut outcome = Outcome {
        stop: Stop::Interrupted,
        n_prompt: prompt.len(),
        n_reused,
        n_read: 0,
        prefill: Duration::ZERO,
        ids: Vec::new(),
        text: String::new(),
        reasoning: String::new(),
        thought: Thought::None,
        n_thinking: 0,
        decode: Duration::ZERO,
    };
    context.check_room(prompt.len() - n_reused)?;
    let mut go_on = true;
    let mut done = n_reused;
    for end in [checkpoint_at, prompt.len()] {
        if end > done && go_on {
            done += context.prefill(&prompt[done..end], |n| {
                audience.reading(done + n, prompt.len());
                go_on = audience.proceed();
                go_on
            })?;
            if end == checkpoint_at && end < prompt.len() && go_on {
                context.checkpoint();
            }
        }
    }
    outcome.n_read = done - n_reused;
    outcome.prefill = start.elapsed();
    if !go_on {
        return Ok(outcome);
    }

    sampler.forget();
    sampler.see_prompt(prompt.iter().filter_map(|row| match row.input {
        Input::Token(id) => Some(id),
        Input::Embedding(_) => None,
    }));
    let mut decoder = StreamDecoder::new();
    let start = Instant::now();
    context.compute_logits(0);
    if !context.is_finite(true) {
        return Err(not_finite(context, prompt, &outcome.ids));
    }
    let mut id = next(context.last_logits(), &mut thinking, sampler);
    let mut last = Channel::Answer;
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
        let text = decoder.push(tokenizer, id);
        if let Some(channel) = thinking.take(id, text) {
            outcome.go_on(channel, text, &thinking, audience);
            last = channel;
        }
        if outcome.ids.len() == n_max {
            break Stop::Length;
        }
        match context.decode(id) {
            Ok(_) => {}
            Err(ContextError::Full { .. }) => break Stop::ContextFull,
            Err(error) => return Err(error.into()),
        }
        if !context.is_finite(false) {
            return Err(not_finite(context, prompt, &outcome.ids));
        }
        id = next(context.last_logits(), &mut thinking, sampler);
    };
    let rest = decoder.finish();
    if !rest.is_empty() {
        outcome.go_on(last, rest, &thinking, audience);
    }
    outcome.reasoning = outcome.reasoning.trim().to_owned();
    outcome.thought = thinking.thought();
    outcome.n_thinking = thinking.n_tokens();
    Ok(outcome)
}

/// Finds out where values that are no numbers came from, by reading prompt and answer once more.
fn not_finite(context: &mut Context, prompt: &[InputRow<'_>], ids: &[u32]) -> Error {
    context.clear();
    let next = prompt.iter().flat_map(|row| row.position).max().map_or(0, |position| position + 1);
    let rows = [prompt, &text_rows(ids, next)].concat();
    Error::NotFinite { found: context.find_not_finite(&rows).ok().flatten() }
}

/// The next token: chosen from `logits` where it is the model's to choose.
fn next(logits: &mut [f32], thinking: &mut Thinking, sampler: &mut Sampler) -> u32 {
    thinking.prescribed().unwrap_or_else(|| sampler.sample(logits))
}
