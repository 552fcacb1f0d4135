//! `POST /v1/completions`: texts that are continued as they are, control tokens in them included.

use super::envelope::{finish_reason, timings, usage_json, write_event};
use super::text_logprobs::TextLogprobs;
use crate::serve::ask::fields::fields;
use crate::serve::ask::sampling::Sampling;
use crate::serve::clock::now;
use crate::serve::error::ApiError;
use crate::serve::event::{self, Event, Reason};
use crate::serve::job::{Job, Thinks};
use crate::serve::logprobs::{MOST_LOGPROBS, TokenLogprob, Wanted};
use crate::serve::pictures::Pictures;
use crate::serve::prepared::{Prepared, Received};
use crate::serve::random;
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::shared::{ModelCard, Served};
use crate::tokenizer::{Special, Tokenizer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Prompts of a request at most.
const MOST_PROMPTS: usize = 16;

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
    let (mut sampling, completion): (Sampling, Completion) = fields(body)?;
    let fault = sampling.fault(served.fault.as_deref());
    completion.check()?;
    let n = sampling.choices(served.n_seat)?;
    let n_max =
        if sampling.gives_most_tokens() { sampling.most_tokens(0)?.unwrap_or(usize::MAX) } else { DEFAULT_TOKENS };
    let prompts = prompts(completion.prompt.as_ref(), served)?;
    for ids in &prompts {
        if ids.len() >= served.n_ctx {
            return Err(ApiError::too_long("prompt", ids.len(), served.n_ctx));
        }
    }
    let settings = sampling.settings(served.sampling[0])?;
    let (seed, stop) = (sampling.seed(), sampling.stops());
    let echo = completion.echo == Some(true);
    let logprobs = completion.logprobs()?;
    let biases = sampling.biases(served.tokenizer.n_vocab())?;
    let echoed = prompts.iter().map(|ids| if echo { Echo::of(ids, &served.tokenizer) } else { Echo::default() });
    let echoed = echoed.collect();
    let n_shared = prompts.len() * n;
    let (sender, events) = event::channel(n_shared);
    let job = |(i, ids): (usize, Vec<u32>)| Job {
        client,
        ids,
        rows: Vec::new(),
        pictures: Pictures::default(),
        turn: None,
        thinks: Thinks::Never,
        calls: None,
        grammar: None,
        call_grammar: None,
        sampling: settings,
        biases: Arc::clone(&biases),
        seed,
        first_choice: i * n,
        n,
        n_shared,
        n_max,
        stop: stop.clone(),
        logprobs,
        since,
        fault,
        events: sender.clone(),
    };
    let jobs = prompts.into_iter().enumerate().map(job).collect();
    let dialect = Box::new(CompletionDialect::new(&served.about, sampling.include_usage(), echoed, n, logprobs));
    Ok(Prepared { jobs, events, dialect, headers: Vec::new(), stream: sampling.stream == Some(true) })
}

/// The prompts, which are a text or its tokens, or a list of such.
fn prompts(prompt: Option<&Value>, served: &Served) -> Result<Vec<Vec<u32>>, ApiError> {
    let tokenizer = &served.tokenizer;
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
                tokenizer.encode(text, Special::Parse)
            }
            Value::Array(ids) => {
                let id = |id: &Value| id.as_u64().filter(|&id| id < tokenizer.n_vocab() as u64).map(|id| id as u32);
                let ids: Option<Vec<u32>> = ids.iter().map(id).collect();
                ids.ok_or_else(|| wrong(&format!("expected tokens from 0 to {}", tokenizer.n_vocab() - 1)))?
            }
            _ => return Err(wrong("expected a string, its tokens, or a list of such")),
        };
        if ids.is_empty() { Err(wrong("a prompt has no tokens")) } else { Ok(ids) }
    };
    all.iter().map(one).collect()
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
