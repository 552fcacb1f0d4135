//! `POST /completion`: a text that is continued as it is, in llama-server's own words.

use super::params::params;
use crate::sampler::Settings;
use crate::serve::ask::answer_form::AnswerForm;
use crate::serve::ask::continuation::{Continuation, prompts};
use crate::serve::ask::fields::fields;
use crate::serve::ask::sampling::Sampling;
use crate::serve::error::ApiError;
use crate::serve::event::{Event, Finish, Reason};
use crate::serve::logprobs::{Likely, MOST_LOGPROBS, TokenLogprob, Wanted};
use crate::serve::openai::envelope::{timings, write_event};
use crate::serve::prepared::{Prepared, Received};
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::served::Served;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Fields beside those of [`Sampling`].
#[derive(Deserialize)]
struct Completion {
    prompt: Option<Value>,
    n_predict: Option<i64>,
    n_probs: Option<i64>,
    return_tokens: Option<bool>,
    json_schema: Option<Value>,
    input_prefix: Option<Value>,
    input_suffix: Option<Value>,
}

impl Completion {
    /// The probabilities wanted, if any are, or the numbers of tokens, which come with them.
    fn logprobs(&self) -> Result<Option<Wanted>, ApiError> {
        let wanted = |n_top| Some(Wanted { n_top, of_prompt: false, of_end: false });
        match self.n_probs {
            Some(n @ 1..=MOST_LOGPROBS) => Ok(wanted(n as usize)),
            None | Some(0) if self.return_tokens == Some(true) => Ok(wanted(0)),
            None | Some(0) => Ok(None),
            Some(n) => Err(ApiError::field("n_probs", format!("expected 0 to {MOST_LOGPROBS}, not {n}"))),
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        for (field, given) in [("input_prefix", &self.input_prefix), ("input_suffix", &self.input_suffix)] {
            if given.is_some() {
                return Err(ApiError::unsupported(field, "this server writes behind a prompt, not into it"));
            }
        }
        if self.prompt.as_ref().is_some_and(Value::is_object) {
            return Err(ApiError::unsupported("prompt", "pictures are taken by /v1/chat/completions"));
        }
        Ok(())
    }
}

/// Makes a job of a body.
///
/// # Errors
/// The body makes no sense, or does not fit.
pub(in crate::serve) fn prepare(received: Received<'_>) -> Result<Prepared, ApiError> {
    let Received { body, served, client, since } = received;
    let (mut sampling, mut completion): (Sampling, Completion) = fields(body)?;
    let fault = sampling.fault(served.fault.as_deref());
    completion.check()?;
    if sampling.choices(served.n_seat)? != 1 {
        return Err(ApiError::unsupported("n", "one answer comes at a time here: /v1/completions makes several"));
    }
    let prompts = prompts(completion.prompt.as_ref(), served)?;
    if prompts.len() != 1 {
        return Err(ApiError::unsupported("prompt", "expected one: /v1/completions takes several"));
    }
    if let Some(n) = completion.n_predict {
        sampling.limit_tokens(n);
    }
    let n_max = sampling.most_tokens(0)?.unwrap_or(usize::MAX);
    let logprobs = completion.logprobs()?;
    let schema = completion.json_schema.take();
    let form = schema.map(|schema| AnswerForm::of_schema("json_schema", Some(schema), false));
    let grammar = form.transpose()?.map(|form| form.grammar(&served.vocabulary)).transpose()?.map(Arc::new);
    let stream = sampling.stream == Some(true);
    let continuation = Continuation { prompts, sampling, n: 1, n_max, grammar, logprobs, fault };
    let (jobs, events) = continuation.jobs(served, client, since)?;
    let dialect = CompletionDialect {
        model: served.about.id.clone(),
        settings: generation_settings(&jobs[0].sampling, jobs[0].seed, n_max, &jobs[0].stop, stream),
        prompt: prompt_text(completion.prompt, &jobs[0].ids, served),
        stop: jobs[0].stop.clone(),
        returns_tokens: completion.return_tokens == Some(true),
        wants_probabilities: completion.n_probs.is_some_and(|n| n > 0),
        n_prompt: jobs[0].ids.len(),
        finish: None,
    };
    Ok(Prepared { jobs, events, dialect: Box::new(dialect), headers: Vec::new(), stream, keep_alive: None })
}

/// The prompt as a text.
fn prompt_text(prompt: Option<Value>, ids: &[u32], served: &Served) -> String {
    match prompt {
        Some(Value::String(text)) => text,
        _ => served.tokenizer.decode(ids),
    }
}

fn generation_settings(
    sampling: &Settings,
    seed: u64,
    n_max: usize,
    stop: &[String],
    stream: bool,
) -> Map<String, Value> {
    let mut settings = params(sampling);
    settings.insert("seed".to_owned(), seed.into());
    settings.insert("n_predict".to_owned(), i64::try_from(n_max).unwrap_or(-1).into());
    settings.insert("stop".to_owned(), stop.into());
    settings.insert("stream".to_owned(), stream.into());
    settings
}

/// One answer's envelope.
struct CompletionDialect {
    model: String,
    /// How tokens are chosen.
    settings: Map<String, Value>,
    prompt: String,
    stop: Vec<String>,
    returns_tokens: bool,
    wants_probabilities: bool,
    n_prompt: usize,
    finish: Option<Finish>,
}

impl CompletionDialect {
    /// A piece of a stream.
    fn piece(&self, text: &str, tokens: &[TokenLogprob]) -> Value {
        let mut said = json!({
            "index": 0, "content": text, "tokens": ids(tokens), "stop": false, "id_slot": -1,
            "tokens_evaluated": self.n_prompt,
        });
        if self.wants_probabilities {
            said["completion_probabilities"] = probabilities(tokens);
        }
        said
    }

    /// What is said at the end, of a text that came before in a stream and comes now in a whole answer.
    fn ended(&self, text: &str, tokens: &[TokenLogprob], reason: Option<Reason>, usage: &Usage) -> Value {
        let (stop_type, word) = match reason {
            Some(Reason::StopString(i)) => ("word", self.stop.get(i).map_or("", |stop| stop)),
            Some(Reason::Stop | Reason::Calls) => ("eos", ""),
            Some(Reason::Length | Reason::ContextFull | Reason::Repetition) => ("limit", ""),
            Some(Reason::Shutdown) | None => ("none", ""),
        };
        let mut said = json!({
            "index": 0,
            "content": text,
            "tokens": if self.returns_tokens { ids(tokens) } else { json!([]) },
            "id_slot": -1,
            "stop": true,
            "model": self.model,
            "tokens_predicted": usage.n_completion,
            "tokens_evaluated": usage.n_prompt,
            "generation_settings": self.settings,
            "prompt": self.prompt,
            "has_new_line": text.contains('\n'),
            "truncated": false,
            "stop_type": stop_type,
            "stopping_word": word,
            "tokens_cached": usage.n_prompt + usage.n_completion.saturating_sub(1),
            "timings": timings(usage),
        });
        if self.wants_probabilities && !tokens.is_empty() {
            said["completion_probabilities"] = probabilities(tokens);
        }
        if let Some((key, value)) = reason.and_then(Reason::remark) {
            said[key] = value;
        }
        said
    }
}

fn ids(tokens: &[TokenLogprob]) -> Value {
    tokens.iter().map(|token| token.id).collect()
}

/// The probabilities of tokens, and of those that might have come.
fn probabilities(tokens: &[TokenLogprob]) -> Value {
    let one = |id: u32, bytes: &[u8], logprob: f32| json!({"id": id, "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": logprob});
    let entry = |token: &TokenLogprob| {
        let mut said = one(token.id, &token.bytes, token.logprob);
        let top = token.top.iter().map(|Likely { id, bytes, logprob }| one(*id, bytes, *logprob));
        said["top_logprobs"] = top.collect();
        said
    };
    tokens.iter().map(entry).collect()
}

impl Dialect for CompletionDialect {
    fn say(&mut self, _: usize, event: &Event, out: &mut String) {
        match event {
            Event::Text(text, tokens) => write_event(&self.piece(text, tokens), out),
            Event::Finished(finish) => self.finish = Some(**finish),
            // Nothing is thought, called or scored here.
            Event::Started { .. } | Event::Reading { .. } | Event::Scored(_) | Event::Thinking(_) => {}
            Event::CallBegun { .. } | Event::CallArguments(_) | Event::CallEnded | Event::Failed(_) => {}
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut String) {
        let reason = self.finish.map(|finish| finish.reason);
        write_event(&self.ended("", &[], reason, usage), out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut String) {
        write_event(&error.to_json(), out);
    }

    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Result<Value, ApiError> {
        let choice = &choices[0];
        Ok(self.ended(&choice.parts.text(), &choice.tokens, choice.reason, usage))
    }
}
