//! `POST /v1/completions`: texts that are continued as they are, control tokens in them included.

use super::envelope::{finish_reason, now, stopped, timings, usage_json, write_event};
use super::fields::{Sampling, object, read};
use super::prepared::Prepared;
use crate::serve::error::ApiError;
use crate::serve::event::{self, Event};
use crate::serve::job::{Job, Thinks};
use crate::serve::pictures::Pictures;
use crate::serve::random;
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::shared::{ModelCard, Served};
use crate::tokenizer::{Special, Tokenizer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Instant;

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
        if self.logprobs.is_some() {
            return Err(ApiError::unsupported("logprobs", "this server does not give them yet"));
        }
        Ok(())
    }
}

/// Makes jobs of a body, one for each prompt.
///
/// # Errors
/// The body makes no sense, or does not fit.
pub(in crate::serve) fn prepare(
    body: &[u8],
    served: &Served,
    client: IpAddr,
    since: Instant,
) -> Result<Prepared, ApiError> {
    let body = object(body)?;
    let mut sampling: Sampling = read(&body)?;
    let completion: Completion = read(&body)?;
    sampling.check()?;
    let fault = sampling.fault(served.fault.as_deref());
    completion.check()?;
    let n = sampling.choices(served.n_seat)?;
    let n_max =
        if sampling.gives_most_tokens() { sampling.most_tokens(0)?.unwrap_or(usize::MAX) } else { DEFAULT_TOKENS };
    let prompts = prompts(completion.prompt.as_ref(), &served.tokenizer)?;
    for ids in &prompts {
        if ids.len() >= served.n_ctx {
            return Err(ApiError::too_long("prompt", ids.len(), served.n_ctx));
        }
    }
    let settings = sampling.settings(served.sampling[0])?;
    let (seed, stop) = (sampling.seed(), sampling.stops());
    let echo = completion.echo == Some(true);
    let echoed: Vec<String> =
        prompts.iter().map(|ids| if echo { served.tokenizer.decode(ids) } else { String::new() }).collect();
    let n_shared = prompts.len() * n;
    let (sender, events) = event::channel(n_shared);
    let job = |(i, ids): (usize, Vec<u32>)| Job {
        client,
        checkpoint_at: ids.len() - 1,
        ids,
        rows: Vec::new(),
        pictures: Pictures::default(),
        thinks: Thinks::Never,
        sampling: settings,
        seed,
        first_choice: i * n,
        n,
        n_shared,
        n_max,
        stop: stop.clone(),
        logprobs: None,
        since,
        fault,
        events: sender.clone(),
    };
    let jobs = prompts.into_iter().enumerate().map(job).collect();
    let dialect = Box::new(CompletionDialect::new(&served.about, sampling.include_usage(), echoed, n));
    Ok(Prepared { jobs, events, dialect, stream: sampling.stream == Some(true) })
}

/// The prompts, which are a text or its tokens, or a list of such.
fn prompts(prompt: Option<&Value>, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, ApiError> {
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
            Value::String(text) => tokenizer.encode(text, Special::Parse),
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

/// One answer's envelope.
struct CompletionDialect {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
    /// What comes before the answers to each prompt.
    echoed: Vec<String>,
    /// Choices of each prompt.
    n: usize,
}

impl CompletionDialect {
    fn new(about: &ModelCard, include_usage: bool, echoed: Vec<String>, n: usize) -> CompletionDialect {
        CompletionDialect {
            id: random::id("cmpl-"),
            created: now(),
            model: about.id.clone(),
            fingerprint: about.fingerprint.clone(),
            include_usage,
            echoed,
            n,
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
}

/// A choice, or a piece of one.
fn choice(index: usize, text: &str, reason: Option<&str>) -> Value {
    json!({"index": index, "text": text, "logprobs": null, "finish_reason": reason})
}

impl Dialect for CompletionDialect {
    fn say(&mut self, index: usize, event: &Event, out: &mut String) {
        match event {
            Event::Started { .. } => match &*self.echoed[index / self.n] {
                "" => {}
                echoed => self.chunk(choice(index, echoed, None), out),
            },
            Event::Text(text, _) => self.chunk(choice(index, text, None), out),
            Event::Finished(finish) => {
                self.chunk(choice(index, "", Some(finish_reason(finish.reason))), out);
            }
            // Nothing is thought here.
            Event::Reading { .. } | Event::Thinking(_) | Event::Failed(_) => {}
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

    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Value {
        let one = |(i, made): (usize, &Choice)| {
            let text = format!("{}{}", self.echoed[i / self.n], made.text);
            choice(i, &text, made.reason.map(finish_reason))
        };
        let mut whole = self.envelope(choices.iter().enumerate().map(one).collect());
        whole["usage"] = usage_json(usage);
        whole["timings"] = timings(usage);
        if let Some((key, value)) = choices.iter().filter_map(|choice| choice.reason).find_map(stopped) {
            whole[key] = value;
        }
        whole
    }
}
