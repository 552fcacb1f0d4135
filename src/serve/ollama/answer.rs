//! Answers of `/api/chat` and `/api/generate`: a line of JSON for each piece of a stream, and the whole.

use super::error;
use super::models::name_of;
use super::options::Common;
use crate::serve::clock;
use crate::serve::error::ApiError;
use crate::serve::event::{Event, Reason};
use crate::serve::logprobs::{TokenLogprob, tokens_json};
use crate::serve::parts::{Call, Part, Parts};
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::served::ModelCard;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Where an answer says its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// In a message.
    Chat,
    /// By itself.
    Generate,
}

/// An answer in the making.
pub(super) struct LineDialect {
    form: Form,
    model: String,
    /// Whether the model is to leave at once.
    unloads: bool,
    since: Instant,
    /// What a stream has said.
    parts: Parts,
    /// Why the answer ended.
    reason: Option<Reason>,
}

/// What a line adds to the answer.
#[derive(Default)]
struct Piece<'a> {
    text: &'a str,
    thinking: &'a str,
    calls: Vec<Value>,
    tokens: &'a [TokenLogprob],
}

impl LineDialect {
    /// A new answer to a request that came then.
    pub fn new(form: Form, about: &ModelCard, common: &Common, since: Instant) -> LineDialect {
        let (model, unloads) = (name_of(about), common.unloads());
        LineDialect { form, model, unloads, since, parts: Parts::default(), reason: None }
    }

    /// A piece of the answer.
    fn piece(&self, piece: Piece<'_>) -> Value {
        let Piece { text, thinking, calls, tokens } = piece;
        let mut line = json!({"model": self.model, "created_at": clock::rfc3339(clock::since_1970())});
        let said = match self.form {
            Form::Chat => {
                line["message"] = json!({"role": "assistant", "content": text});
                &mut line["message"]
            }
            Form::Generate => {
                line["response"] = text.into();
                &mut line
            }
        };
        if !thinking.is_empty() {
            said["thinking"] = thinking.into();
        }
        if !calls.is_empty() {
            said["tool_calls"] = calls.into();
        }
        // There are some where they are asked for.
        if !tokens.is_empty() {
            line["logprobs"] = tokens_json(tokens);
        }
        line["done"] = false.into();
        line
    }

    fn say_piece(&self, piece: Piece<'_>, out: &mut String) {
        write_line(&self.piece(piece), out);
    }

    /// Ollama's word for why an answer ended.
    fn word(&self, reason: Option<Reason>) -> &'static str {
        match reason {
            Some(Reason::Stop | Reason::StopString(_) | Reason::Calls) => "stop",
            Some(Reason::Length | Reason::ContextFull | Reason::Repetition | Reason::Shutdown) => "length",
            // Nothing was asked but that the model be there, or leave.
            None if self.unloads => "unload",
            None => "load",
        }
    }

    /// Makes a piece the last one.
    fn finish(&self, mut line: Value, reason: Option<Reason>, usage: &Usage) -> Value {
        line["done"] = true.into();
        line["done_reason"] = self.word(reason).into();
        // A model is loaded before its requests are made.
        let fields = [
            ("total_duration", nanos(self.since.elapsed())),
            ("load_duration", 0),
            ("prompt_eval_count", usage.n_prompt as u64),
            ("prompt_eval_duration", nanos(usage.prefill)),
            ("eval_count", usage.n_completion as u64),
            ("eval_duration", nanos(usage.decode)),
        ];
        for (key, value) in fields {
            line[key] = value.into();
        }
        if let Some((key, value)) = reason.and_then(Reason::remark) {
            line[key] = value;
        }
        line
    }
}

/// Writes a line of a stream. Other characters that end lines are escaped, for the client for Python ends them there.
fn write_line(value: &Value, out: &mut String) {
    for c in value.to_string().chars() {
        match c {
            '\u{85}' | '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('\n');
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A call, the `index`th of its answer. In this API it comes whole.
fn call_json(index: usize, call: &Call) -> Value {
    let arguments: Map<String, Value> = serde_json::from_str(&call.arguments).unwrap_or_default();
    json!({"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments}})
}

impl Dialect for LineDialect {
    fn media_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn say(&mut self, _: usize, event: &Event, out: &mut String) {
        self.parts.push(event);
        match event {
            Event::Thinking(thinking) => self.say_piece(Piece { thinking, ..Piece::default() }, out),
            Event::Text(text, tokens) => self.say_piece(Piece { text, tokens, ..Piece::default() }, out),
            Event::CallEnded => {
                let call = self.parts.calls().enumerate().last().map(|(index, call)| call_json(index, call));
                self.say_piece(Piece { calls: call.into_iter().collect(), ..Piece::default() }, out);
            }
            Event::Finished(finish) => self.reason = Some(finish.reason),
            Event::Started { .. } | Event::Reading { .. } | Event::Scored(_) | Event::Failed(_) => {}
            Event::CallBegun { .. } | Event::CallArguments(_) => {}
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut String) {
        write_line(&self.finish(self.piece(Piece::default()), self.reason, usage), out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut String) {
        write_line(&error::to_json(error), out);
    }

    /// A line that adds nothing: there are no others that a client would pass over.
    fn keep_alive(&mut self, out: &mut String) {
        self.say_piece(Piece::default(), out);
    }

    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Result<Value, ApiError> {
        let none = Choice::default();
        let choice = choices.first().unwrap_or(&none);
        let parts = &choice.parts;
        // A call that was cut is none.
        let is_cut = parts.go_to_the_end() && matches!(parts.all().last(), Some(Part::Call(_)));
        let n_call = parts.calls().count() - usize::from(is_cut);
        let calls = parts.calls().take(n_call).enumerate().map(|(index, call)| call_json(index, call)).collect();
        let (text, thinking) = (parts.text(), parts.reasoning());
        let piece = Piece { text: &text, thinking: &thinking, calls, tokens: &choice.tokens };
        Ok(self.finish(self.piece(piece), choice.reason, usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_every_client_ends_it() {
        let value = json!({"content": "a\nb\u{85}c\u{2028}d\u{2029}e\u{b}f\u{1c}"});
        let mut out = String::new();
        write_line(&value, &mut out);
        let ends = |c: char| "\n\u{b}\u{c}\r\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}".contains(c);
        assert_eq!((out.matches(ends).count(), serde_json::from_str::<Value>(&out).unwrap()), (1, value));
    }
}
