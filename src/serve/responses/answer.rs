//! Answers of `/v1/responses`: events of a stream, and the whole.

use super::items::{begun, content, done, id_of};
use crate::sampler::Settings;
use crate::serve::clock::now;
use crate::serve::error::ApiError;
use crate::serve::event::{Event, Reason};
use crate::serve::logprobs::{TokenLogprob, tokens_json};
use crate::serve::parts::{Part, Parts};
use crate::serve::random;
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::served::ModelCard;
use crate::serve::sse::{KEEP_ALIVE, write_named};
use serde_json::{Map, Value, json};

/// What an answer repeats of its request.
pub(super) struct Echo {
    pub instructions: Option<String>,
    pub format: Value,
    pub max_output_tokens: Option<i64>,
    pub tools: Vec<Value>,
    pub tool_choice: Value,
    pub parallel_tool_calls: bool,
    pub effort: Option<&'static str>,
    pub metadata: Map<String, Value>,
    pub user: Option<Value>,
    /// Whether thinking is told in a form that clients send back.
    pub encrypts: bool,
}

/// A response in the making.
pub(super) struct ResponseDialect {
    /// What does not change while it is made.
    frame: Value,
    encrypts: bool,
    /// Events so far.
    n_event: usize,
    /// Whether the prompt is still being read.
    is_reading: bool,
    parts: Parts,
    /// The name of the item that was begun last, and the tokens of it, where they are told.
    id: String,
    tokens: Vec<TokenLogprob>,
    /// The items that are done.
    output: Vec<Value>,
    reason: Option<Reason>,
}

impl ResponseDialect {
    /// A new response.
    pub fn new(about: &ModelCard, echo: Echo, sampling: &Settings) -> ResponseDialect {
        let encrypts = echo.encrypts;
        let frame = json!({
            "id": random::id("resp_"),
            "object": "response",
            "created_at": now(),
            "status": "in_progress",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": echo.instructions,
            "max_output_tokens": echo.max_output_tokens,
            "model": about.id,
            "output": [],
            "parallel_tool_calls": echo.parallel_tool_calls,
            "previous_response_id": null,
            "reasoning": {"effort": echo.effort, "summary": null},
            "store": false,
            "temperature": sampling.temperature,
            "text": {"format": echo.format},
            "tool_choice": echo.tool_choice,
            "tools": echo.tools,
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "usage": null,
            "user": echo.user,
            "metadata": echo.metadata,
        });
        ResponseDialect {
            frame,
            encrypts,
            n_event: 0,
            is_reading: true,
            parts: Parts::default(),
            id: String::new(),
            tokens: Vec::new(),
            output: Vec::new(),
            reason: None,
        }
    }

    /// Writes an event: its type, its number, and these fields.
    fn event(&mut self, kind: &str, fields: Value, out: &mut String) {
        let mut event = json!({"type": kind, "sequence_number": self.n_event});
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        self.n_event += 1;
        write_named(&event, out);
    }

    /// Writes an event of the item that was begun last.
    fn item_event(&mut self, kind: &str, mut fields: Value, out: &mut String) {
        fields["item_id"] = self.id.as_str().into();
        fields["output_index"] = self.output.len().into();
        self.event(kind, fields, out);
    }

    fn begin_item(&mut self, out: &mut String) {
        let Some(part) = self.parts.all().last() else { return };
        self.id = id_of(part);
        let (item, empty) = (begun(part, &self.id), empty(part));
        let output_index = self.output.len();
        self.event("response.output_item.added", json!({"output_index": output_index, "item": item}), out);
        if let Some(empty) = empty {
            let part = content(&empty, &[]);
            self.item_event("response.content_part.added", json!({"content_index": 0, "part": part}), out);
        }
    }

    fn end_item(&mut self, is_whole: bool, out: &mut String) {
        let Some(part) = self.parts.all().last() else { return };
        let tokens = std::mem::take(&mut self.tokens);
        let item = done(part, &self.id, &tokens, is_whole, self.encrypts);
        let (kind, fields) = match part {
            Part::Thinking(text) => ("response.reasoning_text.done", json!({"content_index": 0, "text": text})),
            Part::Text(text, _) => (
                "response.output_text.done",
                json!({"content_index": 0, "text": text, "logprobs": tokens_json(&tokens)}),
            ),
            Part::Call(call) => {
                ("response.function_call_arguments.done", json!({"name": call.name, "arguments": call.arguments}))
            }
        };
        let content = content(part, &tokens);
        self.item_event(kind, fields, out);
        if !content.is_null() {
            self.item_event("response.content_part.done", json!({"content_index": 0, "part": content}), out);
        }
        let output_index = self.output.len();
        self.event("response.output_item.done", json!({"output_index": output_index, "item": item}), out);
        self.output.push(item);
    }

    /// The response at its end.
    fn ended(&self, output: Vec<Value>, reason: Option<Reason>, usage: &Usage) -> Value {
        let mut response = self.frame.clone();
        response["output"] = output.into();
        response["usage"] = usage_json(usage);
        response["status"] = "completed".into();
        match reason {
            Some(Reason::Stop | Reason::StopString(_) | Reason::Calls) | None => {}
            Some(Reason::Length | Reason::ContextFull | Reason::Repetition) => {
                response["status"] = "incomplete".into();
                response["incomplete_details"] = json!({"reason": "max_output_tokens"});
            }
            Some(Reason::Shutdown) => fail(&mut response, "server_error", "the server ends"),
        }
        if let Some((key, value)) = reason.and_then(Reason::remark) {
            response[key] = value;
        }
        response
    }

    fn end_with(&mut self, response: Value, out: &mut String) {
        let kind = match response["status"].as_str() {
            Some("completed") => "response.completed",
            Some("incomplete") => "response.incomplete",
            _ => "response.failed",
        };
        self.event(kind, json!({ "response": response }), out);
    }
}

/// The part before anything of it is written, if its item has a content.
fn empty(part: &Part) -> Option<Part> {
    match part {
        Part::Thinking(_) => Some(Part::Thinking(String::new())),
        Part::Text(..) => Some(Part::Text(String::new(), 0)),
        Part::Call(_) => None,
    }
}

fn fail(response: &mut Value, code: &str, message: &str) {
    response["status"] = "failed".into();
    response["error"] = json!({"code": code, "message": message});
}

/// Whether an answer that ended so came to an end of its own.
fn is_whole(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::Stop | Reason::StopString(_) | Reason::Calls))
}

/// Tokens.
fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.n_prompt,
        "input_tokens_details": {"cached_tokens": usage.n_cached},
        "output_tokens": usage.n_completion,
        "output_tokens_details": {"reasoning_tokens": usage.n_reasoning},
        "total_tokens": usage.n_prompt + usage.n_completion,
    })
}

impl Dialect for ResponseDialect {
    fn say(&mut self, _: usize, event: &Event, out: &mut String) {
        if self.parts.are_ended_by(event) {
            let is_whole = !matches!(event, Event::Finished(finish) if !is_whole(Some(finish.reason)));
            self.end_item(is_whole, out);
        }
        if self.parts.push(event) {
            self.begin_item(out);
        }
        self.is_reading &= matches!(event, Event::Started { .. } | Event::Reading { .. });
        match event {
            Event::Started { .. } => {
                for kind in ["response.created", "response.in_progress"] {
                    let response = self.frame.clone();
                    self.event(kind, json!({ "response": response }), out);
                }
            }
            Event::Thinking(text) => {
                let delta = json!({"content_index": 0, "delta": text});
                self.item_event("response.reasoning_text.delta", delta, out);
            }
            Event::Text(text, tokens) => {
                let delta = json!({"content_index": 0, "delta": text, "logprobs": tokens_json(tokens)});
                self.item_event("response.output_text.delta", delta, out);
                self.tokens.extend_from_slice(tokens);
            }
            Event::CallArguments(piece) => {
                self.item_event("response.function_call_arguments.delta", json!({"delta": piece}), out);
            }
            Event::Finished(finish) => self.reason = Some(finish.reason),
            Event::Scored(_) | Event::Reading { .. } | Event::Failed(_) => {}
            Event::CallBegun { .. } | Event::CallEnded => {}
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut String) {
        let output = std::mem::take(&mut self.output);
        let response = self.ended(output, self.reason, usage);
        self.end_with(response, out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut String) {
        let mut response = self.frame.clone();
        response["output"] = std::mem::take(&mut self.output).into();
        fail(&mut response, error.code.unwrap_or("server_error"), &error.message);
        self.end_with(response, out);
    }

    fn keep_alive(&mut self, out: &mut String) {
        out.push_str(KEEP_ALIVE);
        // Some clients give up where there are no events, however long a prompt takes.
        if self.is_reading {
            let response = self.frame.clone();
            self.event("response.in_progress", json!({ "response": response }), out);
        }
    }

    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Result<Value, ApiError> {
        let Some(choice) = choices.first() else { return Err(ApiError::server("an answer of no choice")) };
        let n = choice.parts.all().len();
        let mut tokens = &choice.tokens[..];
        let item = |(i, part): (usize, &Part)| {
            let is_whole = i + 1 < n || !choice.parts.go_to_the_end() || is_whole(choice.reason);
            let of_part = tokens.split_off(..part.n_token()).unwrap_or_default();
            done(part, &id_of(part), of_part, is_whole, self.encrypts)
        };
        let output = choice.parts.all().iter().enumerate().map(item).collect();
        Ok(self.ended(output, choice.reason, usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect() -> ResponseDialect {
        let about = ModelCard { id: "m".to_owned(), ..ModelCard::default() };
        let echo = Echo {
            instructions: Some("a".to_owned()),
            format: json!({"type": "text"}),
            max_output_tokens: Some(7),
            tools: vec![json!({"type": "function", "name": "f"})],
            tool_choice: "auto".into(),
            parallel_tool_calls: false,
            effort: Some("low"),
            metadata: Map::new(),
            user: None,
            encrypts: false,
        };
        ResponseDialect::new(&about, echo, &Settings { temperature: 0.7, ..Settings::greedy() })
    }

    #[test]
    fn a_long_prompt_is_said_to_be_read_and_later_silence_is_not() {
        let mut dialect = dialect();
        let mut out = String::new();
        dialect.say(0, &Event::Started { n_cached: 0 }, &mut out);
        dialect.say(0, &Event::Reading { done: 1, total: 2 }, &mut out);
        out.clear();
        dialect.keep_alive(&mut out);
        assert!(out.starts_with(": keep-alive\n\nevent: response.in_progress\ndata: {"), "{out}");
        assert!(out.contains("\"sequence_number\":2,") && out.ends_with("}\n\n"), "{out}");
        dialect.say(0, &Event::Text("a".to_owned(), Vec::new()), &mut out);
        out.clear();
        dialect.keep_alive(&mut out);
        assert_eq!(out, KEEP_ALIVE);
    }

    #[test]
    fn a_response_repeats_its_request_and_says_how_it_ended() {
        let dialect = dialect();
        let usage = Usage { n_prompt: 9, n_cached: 4, n_completion: 3, n_reasoning: 2, ..Usage::default() };
        for (reason, status) in [
            (Reason::Stop, "completed"),
            (Reason::StopString(0), "completed"),
            (Reason::Calls, "completed"),
            (Reason::Length, "incomplete"),
            (Reason::ContextFull, "incomplete"),
            (Reason::Repetition, "incomplete"),
            (Reason::Shutdown, "failed"),
        ] {
            let response = dialect.ended(Vec::new(), Some(reason), &usage);
            assert_eq!(response["status"], status);
            assert_eq!(response["incomplete_details"].is_null(), status != "incomplete");
            assert_eq!(response["error"].is_null(), status != "failed");
            assert_eq!(response["usage"]["total_tokens"], 12);
            assert_eq!((&response["tools"][0]["name"], &response["reasoning"]["effort"]), (&json!("f"), &json!("low")));
            assert!(response.to_string().contains("\"temperature\":0.7,"), "{response}");
        }
    }
}
