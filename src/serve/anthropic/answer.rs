//! Answers of `/v1/messages`: events of a stream, and the whole.

use super::error;
use crate::hex::Hex;
use crate::serve::error::ApiError;
use crate::serve::event::{Event, Reason};
use crate::serve::parts::{Part, Parts};
use crate::serve::random;
use crate::serve::reply::{Choice, Dialect, Usage};
use crate::serve::served::ModelCard;
use crate::serve::sse::write_named;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// A message in the making.
pub(super) struct MessageDialect {
    id: String,
    model: String,
    /// Tokens of the prompt.
    n_prompt: usize,
    /// The texts that end the answer.
    stop: Vec<String>,
    /// What a stream has said.
    parts: Parts,
    /// Why the answer ended.
    reason: Option<Reason>,
}

impl MessageDialect {
    /// A new message behind a prompt of so many tokens, which one of these texts may end.
    pub fn new(about: &ModelCard, n_prompt: usize, stop: Vec<String>) -> MessageDialect {
        let (id, model) = (random::id("msg_"), about.id.clone());
        MessageDialect { id, model, n_prompt, stop, parts: Parts::default(), reason: None }
    }

    fn message(&self, content: Value, end: &Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": end["stop_reason"],
            "stop_sequence": end["stop_sequence"],
            "usage": usage,
        })
    }

    /// Why the answer ended, in words of this API.
    fn end_of(&self, reason: Option<Reason>) -> Value {
        let (word, stop) = match reason {
            Some(Reason::Stop) => ("end_turn", None),
            Some(Reason::StopString(i)) => ("stop_sequence", self.stop.get(i)),
            Some(Reason::Calls) => ("tool_use", None),
            Some(Reason::ContextFull) => ("model_context_window_exceeded", None),
            Some(Reason::Length | Reason::Repetition) => ("max_tokens", None),
            // For a server that ends there is no word: see `unsaid`.
            Some(Reason::Shutdown) | None => return json!({"stop_reason": null, "stop_sequence": null}),
        };
        json!({"stop_reason": word, "stop_sequence": stop})
    }

    /// What is said in place of the end of an answer for whose end there is no word.
    fn unsaid(reason: Option<Reason>) -> Result<(), ApiError> {
        if reason == Some(Reason::Shutdown) { Err(ApiError::unavailable("the server ends")) } else { Ok(()) }
    }

    fn delta(&self, delta: Value, out: &mut String) {
        let index = self.parts.all().len().saturating_sub(1);
        write_named(&json!({"type": "content_block_delta", "index": index, "delta": delta}), out);
    }

    /// Ends the block that was begun last.
    fn end_block(&self, out: &mut String) {
        if let Some(Part::Thinking(text)) = self.parts.all().last() {
            self.delta(json!({"type": "signature_delta", "signature": signature(text)}), out);
        }
        let index = self.parts.all().len().saturating_sub(1);
        write_named(&json!({"type": "content_block_stop", "index": index}), out);
    }

    fn begin_block(&self, out: &mut String) {
        let block = match self.parts.all().last() {
            Some(Part::Thinking(_)) => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Some(Part::Call(call)) => json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}),
            Some(Part::Text(..)) | None => json!({"type": "text", "text": ""}),
        };
        let index = self.parts.all().len().saturating_sub(1);
        write_named(&json!({"type": "content_block_start", "index": index, "content_block": block}), out);
    }
}

/// Adds what this API has no word for.
fn remark(reason: Option<Reason>, to: &mut Value) {
    if let Some((key, value)) = reason.and_then(Reason::remark) {
        to[key] = value;
    }
}

/// Tokens.
fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.n_prompt.saturating_sub(usage.n_cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.n_cached,
        "output_tokens": usage.n_completion,
        "output_tokens_details": {"thinking_tokens": usage.n_reasoning},
    })
}

/// What a client sends back with the thinking. Nobody looks at it.
fn signature(thinking: &str) -> String {
    Hex(&Sha256::digest(thinking)).to_string()
}

/// A block, whole.
fn block(part: &Part) -> Value {
    match part {
        Part::Thinking(text) => json!({"type": "thinking", "thinking": text, "signature": signature(text)}),
        Part::Text(text, _) => json!({"type": "text", "text": text}),
        Part::Call(call) => {
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": whole_members(&call.arguments)})
        }
    }
}

/// The members of an object of which there may be only a beginning, as far as they are whole.
fn whole_members(json: &str) -> Map<String, Value> {
    let parsed = |json: &str| serde_json::from_str(json).ok();
    if let Some(members) = parsed(json).or_else(|| parsed(&[json, "}"].concat())) {
        return members;
    }
    // Up to the last comma between members.
    let (mut depth, mut in_string, mut is_escaped, mut end) = (0, false, false, None);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 1 => end = Some(at),
            _ => {}
        }
    }
    end.and_then(|end| parsed(&[&json[..end], "}"].concat())).unwrap_or_default()
}

impl Dialect for MessageDialect {
    fn say(&mut self, _: usize, event: &Event, out: &mut String) {
        if self.parts.are_ended_by(event) {
            self.end_block(out);
        }
        if self.parts.push(event) {
            self.begin_block(out);
        }
        match event {
            Event::Started { n_cached } => {
                let usage = usage_json(&Usage { n_prompt: self.n_prompt, n_cached: *n_cached, ..Usage::default() });
                let message = self.message(json!([]), &Value::Null, usage);
                write_named(&json!({"type": "message_start", "message": message}), out);
                self.keep_alive(out);
            }
            Event::Thinking(text) => self.delta(json!({"type": "thinking_delta", "thinking": text}), out),
            Event::Text(text, _) => self.delta(json!({"type": "text_delta", "text": text}), out),
            Event::CallArguments(piece) => {
                self.delta(json!({"type": "input_json_delta", "partial_json": piece}), out);
            }
            Event::Finished(finish) => self.reason = Some(finish.reason),
            Event::Scored(_) | Event::Reading { .. } | Event::Failed(_) => {}
            Event::CallBegun { .. } | Event::CallEnded => {}
        }
    }

    fn end(&mut self, usage: &Usage, out: &mut String) {
        if let Err(error) = MessageDialect::unsaid(self.reason) {
            return self.fail(&error, out);
        }
        let usage = usage_json(usage);
        let mut delta = json!({"type": "message_delta", "delta": self.end_of(self.reason), "usage": usage});
        remark(self.reason, &mut delta);
        write_named(&delta, out);
        write_named(&json!({"type": "message_stop"}), out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut String) {
        write_named(&error::to_json(error, None), out);
    }

    fn keep_alive(&mut self, out: &mut String) {
        write_named(&json!({"type": "ping"}), out);
    }

    fn whole(&mut self, choices: &[Choice], usage: &Usage) -> Result<Value, ApiError> {
        let Some(choice) = choices.first() else { return Err(ApiError::server("an answer of no choice")) };
        MessageDialect::unsaid(choice.reason)?;
        let content = choice.parts.all().iter().map(block).collect();
        let usage = usage_json(usage);
        let mut message = self.message(content, &self.end_of(choice.reason), usage);
        remark(choice.reason, &mut message);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::event::Finish;
    use std::time::Duration;

    fn said(events: &[Event]) -> Vec<(String, Value)> {
        let about = ModelCard { id: "m".to_owned(), ..ModelCard::default() };
        let mut dialect = MessageDialect::new(&about, 9, Vec::new());
        let mut out = String::new();
        events.iter().for_each(|event| dialect.say(0, event, &mut out));
        dialect.end(&Usage { n_prompt: 9, n_cached: 4, n_completion: 3, ..Usage::default() }, &mut out);
        let event = |event: &str| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            (name.replace("event: ", ""), serde_json::from_str(data).unwrap())
        };
        out.split_terminator("\n\n").map(event).collect()
    }

    fn finished(reason: Reason) -> Event {
        let outcome = Finish {
            reason,
            n_prompt: 9,
            n_cached: 4,
            n_completion: 3,
            n_reasoning: 0,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
            n_drafted: 0,
            n_accepted: 0,
            reuse: None,
        };
        Event::Finished(Box::new(outcome))
    }

    #[test]
    fn an_answer_ends_with_a_word_of_the_api_or_an_error() {
        for (reason, word) in [
            (Reason::Stop, "end_turn"),
            (Reason::Calls, "tool_use"),
            (Reason::Length, "max_tokens"),
            (Reason::Repetition, "max_tokens"),
            (Reason::ContextFull, "model_context_window_exceeded"),
        ] {
            let events = said(&[Event::Started { n_cached: 4 }, finished(reason)]);
            let names: Vec<&str> = events.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, ["message_start", "ping", "message_delta", "message_stop"]);
            assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 5);
            assert_eq!(events[2].1["delta"]["stop_reason"], word);
            assert_eq!(events[2].1["usage"]["cache_read_input_tokens"], 4);
            assert_eq!(events[2].1.get("qwen_edge").is_some(), reason == Reason::Repetition);
        }
        let events = said(&[Event::Started { n_cached: 4 }, finished(Reason::Shutdown)]);
        let (name, last) = events.last().unwrap();
        assert_eq!((&**name, &last["error"]["type"]), ("error", &json!("api_error")));
    }

    #[test]
    fn of_a_call_that_was_cut_the_whole_members_are_left() {
        for (json, members) in [
            ("", json!({})),
            ("{}", json!({})),
            (r#"{"a":1}"#, json!({"a": 1})),
            (r#"{"a":1"#, json!({"a": 1})),
            (r#"{"a":1,"b":"#, json!({"a": 1})),
            (r#"{"a":"x, \"y","b":"z, "#, json!({"a": "x, \"y"})),
            (r#"{"a":[1,{"b":2}],"c":"\\"#, json!({"a": [1, {"b": 2}]})),
            (r#"{"a":"b,"#, json!({})),
            ("7", json!({})),
        ] {
            assert_eq!(Value::from(whole_members(json)), members, "{json}");
        }
    }
}
