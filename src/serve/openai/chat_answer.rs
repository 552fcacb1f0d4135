//! Answers of `/v1/chat/completions`: chunks of a stream, and the whole.

use super::envelope::{finish_reason, millis, timings, usage_json, write_event};
use crate::serve::clock::now;
use crate::serve::error::ApiError;
use crate::serve::event::{Event, Reason};
use crate::serve::logprobs::{TokenLogprob, tokens_json};
use crate::serve::parts::Call;
use crate::serve::random;
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::served::ModelCard;
use serde_json::{Value, json};
use std::time::Instant;

/// One answer's envelope.
pub(super) struct ChatDialect {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
    progress: bool,
    logprobs: bool,
    since: Instant,
    n_cached: usize,
    /// Calls of each choice that a stream has begun.
    n_call: Vec<usize>,
}

impl ChatDialect {
    /// The envelope of a new answer.
    pub fn new(about: &ModelCard, include_usage: bool, progress: bool, logprobs: bool, since: Instant) -> ChatDialect {
        ChatDialect {
            id: random::id("chatcmpl-"),
            created: now(),
            model: about.id.clone(),
            fingerprint: about.fingerprint.clone(),
            include_usage,
            progress,
            logprobs,
            since,
            n_cached: 0,
            n_call: Vec::new(),
        }
    }

    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    fn chunk(&self, choices: Value, more: Option<(&str, Value)>, out: &mut String) {
        let mut chunk = self.envelope("chat.completion.chunk", choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        if let Some((key, value)) = more {
            chunk[key] = value;
        }
        write_event(&chunk, out);
    }

    fn logprobs(&self, tokens: &[TokenLogprob]) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        json!({"content": tokens_json(tokens), "refusal": null})
    }

    fn delta(&self, choice: usize, delta: Value, reason: Option<Reason>, out: &mut String) {
        self.delta_of(choice, delta, &Value::Null, reason, out);
    }

    fn delta_of(&self, choice: usize, delta: Value, logprobs: &Value, reason: Option<Reason>, out: &mut String) {
        let choice = json!({
            "index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason.map(finish_reason),
        });
        self.chunk(json!([choice]), reason.and_then(Reason::remark), out);
    }
}

impl Dialect for ChatDialect {
    fn say(&mut self, choice: usize, event: &Event, out: &mut String) {
        match event {
            Event::Started { n_cached } => {
                self.n_cached = *n_cached;
                self.delta(choice, json!({"role": "assistant", "content": ""}), None, out);
            }
            Event::Reading { done, total } if self.progress => {
                let progress = json!({
                    "total": total, "cache": self.n_cached, "processed": done, "time_ms": millis(self.since.elapsed()),
                });
                let choices = json!([{"index": choice, "delta": {}, "logprobs": null, "finish_reason": null}]);
                self.chunk(choices, Some(("prompt_progress", progress)), out);
            }
            Event::Reading { .. } | Event::Scored(_) | Event::Failed(_) => {}
            Event::Thinking(text) => self.delta(choice, json!({"reasoning_content": text}), None, out),
            Event::Text(text, tokens) => {
                self.delta_of(choice, json!({"content": text}), &self.logprobs(tokens), None, out);
            }
            Event::CallBegun { id, name } => {
                if self.n_call.len() <= choice {
                    self.n_call.resize(choice + 1, 0);
                }
                let index = self.n_call[choice];
                self.n_call[choice] += 1;
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": id, "type": "function", "function": function});
                self.delta(choice, json!({"tool_calls": [call]}), None, out);
            }
            Event::CallArguments(piece) => {
                let index = self.n_call.get(choice).map_or(0, |n| n - 1);
                let call = json!({"index": index, "function": {"arguments": piece}});
                self.delta(choice, json!({"tool_calls": [call]}), None, out);
            }
            Event::CallEnded => {}
            Event::Finished(finish) => self.delta(choice, json!({}), Some(finish.reason), out),
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut String) {
        if self.include_usage {
            let mut chunk = self.envelope("chat.completion.chunk", json!([]));
            chunk["usage"] = usage_json(usage);
            chunk["timings"] = timings(usage);
            write_event(&chunk, out);
        }
        out.push_str("data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &ApiError, out: &mut String) {
        write_event(&error.to_json(), out);
    }

    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Result<Value, ApiError> {
        let choices_json = choices.iter().enumerate().map(|(i, choice)| {
            let (reasoning, text) = (choice.parts.reasoning(), choice.parts.text());
            let call = |Call { id, name, arguments }: &Call| {
                json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
            };
            let calls: Vec<Value> = choice.parts.calls().map(call).collect();
            let content = (!text.is_empty() || calls.is_empty()).then_some(text);
            let mut message = json!({"role": "assistant", "content": content, "refusal": null});
            if !reasoning.is_empty() {
                message["reasoning_content"] = reasoning.into();
            }
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            let reason = choice.reason.map(finish_reason);
            json!({"index": i, "finish_reason": reason, "logprobs": self.logprobs(&choice.tokens), "message": message})
        });
        let mut whole = self.envelope("chat.completion", choices_json.collect());
        whole["usage"] = usage_json(usage);
        whole["timings"] = timings(usage);
        if let Some((key, value)) = choices.iter().filter_map(|choice| choice.reason).find_map(Reason::remark) {
            whole[key] = value;
        }
        Ok(whole)
    }
}
