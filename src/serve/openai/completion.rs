//! `POST /v1/completions`: texts that are continued as they are, control tokens in them included.

use super::envelope::{finish_reason, timings, usage_json, write_event};
use super::text_logprobs::TextLogprobs;
use crate::serve::ask::continuation::{Continuation, prompts};
use crate::serve::ask::fields::fields;
use crate::serve::ask::sampling::Sampling;
use crate::serve::clock::now;
use crate::serve::error::ApiError;
use crate::serve::event::{Event, Reason};
use crate::serve::logprobs::{MOST_LOGPROBS, TokenLogprob, Wanted};
use crate::serve::prepared::{Prepared, Received};
use crate::serve::random;
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::served::ModelCard;
use crate::tokenizer::Tokenizer;
use serde::Deserialize;
use serde_json::{Value, json};

/// Tokens of an answer where nobody says how many, as in OpenAI's API.
const DEFAULT_TOKENS: usize = 16;

/// Fields beside those of [`Sampling`].
#[derive(Deserialize)]
struct Completion {
    prompt: Option<Value>,
    echo: Option<bool>,
    suffix: Option<String>,
    best_of: Option<i64>,
    logprobs: Option<i64>,
}

impl Completion {
    /// Refuses what is asked for and not done.
    fn check(&self) -> Result<(), ApiError> {
        if self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::unsupported("suffix", "this server writes behind a prompt, not into it"));
        }
        if self.best_of.is_some_and(|n| n != 1) {
            return Err(ApiError::unsupported("best_of", "this server does not rank answers: expected 1"));
        }
        Ok(())
    }

    /// The probabilities wanted, if any are: of every token that comes back, the one that ends an answer too, so that an
    /// answer of one token has one probability whatever the token is.
    fn logprobs(&self) -> Result<Option<Wanted>, ApiError> {
        match self.logprobs {
            None => Ok(None),
            Some(n @ 0..=MOST_LOGPROBS) => {
                Ok(Some(Wanted { n_top: n as usize, of_prompt: self.echo == Some(true), of_end: true }))
            }
            Some(n) => Err(ApiError::field("logprobs", format!("expected 0 to {MOST_LOGPROBS}, not {n}"))),
        }
    }
}

/// Makes jobs of a body, one for each prompt.
///
/// # Errors
/// The body makes no sense, or does not fit.
pub(in crate::serve) fn prepare(received: Received<'_>) -> Result<Prepared, ApiError> {
    let Received { body, served, client, since } = received;
    let (sampling, completion): (Sampling, Completion) = fields(body)?;
    let fault = sampling.fault(served.fault.as_deref());
    completion.check()?;
    let n = sampling.choices(served.n_seat)?;
    let n_max =
        if sampling.gives_most_tokens() { sampling.most_tokens(0)?.unwrap_or(usize::MAX) } else { DEFAULT_TOKENS };
    let prompts = prompts(completion.prompt.as_ref(), served)?;
    let (echo, logprobs) = (completion.echo == Some(true), completion.logprobs()?);
    let echoed = prompts.iter().map(|ids| if echo { Echo::of(ids, &served.tokenizer) } else { Echo::default() });
    let (echoed, stream) = (echoed.collect(), sampling.stream == Some(true));
    let dialect = Box::new(CompletionDialect::new(&served.about, sampling.include_usage(), echoed, n, logprobs));
    let continuation = Continuation { prompts, sampling, n, n_max, grammar: None, logprobs, fault };
    let (jobs, events) = continuation.jobs(served, client, since)?;
    Ok(Prepared { jobs, events, dialect, headers: Vec::new(), stream, keep_alive: None })
}

/// A prompt that comes back before its answers.
#[derive(Default)]
struct Echo {
    text: String,
    /// The bytes of its first token, which has no probability.
    first: Vec<u8>,
    /// The tokens behind it, as far as they are read.
    scored: Vec<TokenLogprob>,
    n_scored: usize,
}

impl Echo {
    fn of(ids: &[u32], tokenizer: &Tokenizer) -> Echo {
        let first = ids.first().map_or_else(Vec::new, |&id| tokenizer.token_bytes(id));
        Echo { text: tokenizer.decode(ids), first, scored: Vec::new(), n_scored: ids.len().saturating_sub(1) }
    }
}

/// One answer's envelope.
struct CompletionDialect {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
    /// What comes before the answers to each prompt.
    echoed: Vec<Echo>,
    /// Choices of each prompt.
    n: usize,
    logprobs: Option<Wanted>,
    /// Characters of each choice that a stream has said.
    said: Vec<usize>,
}

impl CompletionDialect {
    fn new(
        about: &ModelCard,
        include_usage: bool,
        echoed: Vec<Echo>,
        n: usize,
        logprobs: Option<Wanted>,
    ) -> CompletionDialect {
        CompletionDialect {
            id: random::id("cmpl-"),
            created: now(),
            model: about.id.clone(),
            fingerprint: about.fingerprint.clone(),
            include_usage,
            said: vec![0; echoed.len() * n],
            echoed,
            n,
            logprobs,
        }
    }

    fn envelope(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    fn chunk(&self, choice: Value, out: &mut String) {
        let mut chunk = self.envelope(json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        write_event(&chunk, out);
    }

    /// Whether the tokens of prompts come back with probabilities.
    fn scores(&self) -> bool {
        self.logprobs.is_some_and(|wanted| wanted.of_prompt)
    }

    /// Says the prompt of a choice.
    fn say_prompt(&mut self, index: usize, out: &mut String) {
        let Echo { text, first, scored, .. } = &self.echoed[index / self.n];
        if text.is_empty() {
            return;
        }
        let mut logprobs = TextLogprobs::new(0);
        if self.scores() {
            logprobs.push_prompt(first, scored);
        }
        let said = choice(index, text, logprobs.json(self.scores()), None);
        let n = text.chars().count();
        self.chunk(said, out);
        self.said[index] += n;
    }

    /// Says a piece of an answer.
    fn say_text(&mut self, index: usize, text: &str, tokens: &[TokenLogprob], out: &mut String) {
        let mut logprobs = TextLogprobs::new(self.said[index]);
        logprobs.push(tokens);
        self.chunk(choice(index, text, logprobs.json(self.logprobs.is_some()), None), out);
        self.said[index] += text.chars().count();
    }
}

/// A choice, or a piece of one.
fn choice(index: usize, text: &str, logprobs: Value, reason: Option<&str>) -> Value {
    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
}

impl Dialect for CompletionDialect {
    fn say(&mut self, index: usize, event: &Event, out: &mut String) {
        match event {
            Event::Started { .. } => {
                let echo = &self.echoed[index / self.n];
                if !self.scores() || echo.scored.len() == echo.n_scored {
                    self.say_prompt(index, out);
                }
            }
            Event::Scored(tokens) => {
                let echo = &mut self.echoed[index / self.n];
                echo.scored.extend_from_slice(tokens);
                // Where a piece begins and ends, characters may not.
                if echo.scored.len() == echo.n_scored {
                    (index..index + self.n).for_each(|index| self.say_prompt(index, out));
                }
            }
            Event::Text(text, tokens) => self.say_text(index, text, tokens, out),
            Event::Finished(finish) => {
                self.chunk(choice(index, "", Value::Null, Some(finish_reason(finish.reason))), out);
            }
            // Nothing is thought or called here.
            Event::Reading { .. } | Event::Thinking(_) | Event::Failed(_) => {}
            Event::CallBegun { .. } | Event::CallArguments(_) | Event::CallEnded => {}
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut String) {
        if self.include_usage {
            let mut chunk = self.envelope(json!([]));
            chunk["usage"] = usage_json(usage);
            write_event(&chunk, out);
        }
        out.push_str("data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &ApiError, out: &mut String) {
        write_event(&error.to_json(), out);
    }

    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Result<Value, ApiError> {
        let one = |(i, made): (usize, &Choice)| {
            let echo = &self.echoed[i / self.n];
            let mut logprobs = TextLogprobs::new(0);
            if self.scores() {
                logprobs.push_prompt(&echo.first, &choices[i - i % self.n].scored);
            } else {
                logprobs = TextLogprobs::new(echo.text.chars().count());
            }
            logprobs.push(&made.tokens);
            let text = format!("{}{}", echo.text, made.parts.text());
            choice(i, &text, logprobs.json(self.logprobs.is_some()), made.reason.map(finish_reason))
        };
        let mut whole = self.envelope(choices.iter().enumerate().map(one).collect());
        whole["usage"] = usage_json(usage);
        whole["timings"] = timings(usage);
        if let Some((key, value)) = choices.iter().filter_map(|choice| choice.reason).find_map(Reason::remark) {
            whole[key] = value;
        }
        Ok(whole)
    }
}
