//! Items of an answer, and the thinking in those that come back.

use crate::serve::logprobs::{TokenLogprob, tokens_json};
use crate::serve::parts::{Call, Part};
use crate::serve::random;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A name for the item of a part.
pub(super) fn id_of(part: &Part) -> String {
    match part {
        Part::Thinking(_) => random::id("rs_"),
        Part::Text(..) => random::id("msg_"),
        Part::Call(_) => random::id("fc_"),
    }
}

/// The content of an item of thinking or text.
pub(super) fn content(part: &Part, tokens: &[TokenLogprob]) -> Value {
    match part {
        Part::Thinking(text) => json!({"type": "reasoning_text", "text": text}),
        Part::Text(text, _) => {
            json!({"type": "output_text", "text": text, "annotations": [], "logprobs": tokens_json(tokens)})
        }
        Part::Call(_) => Value::Null,
    }
}

/// The item of a part as it begins.
pub(super) fn begun(part: &Part, id: &str) -> Value {
    let status = "in_progress";
    match part {
        Part::Thinking(_) => {
            json!({
                "type": "reasoning", "id": id, "summary": [], "content": [], "encrypted_content": null, "status": status,
            })
        }
        Part::Text(..) => json!({"type": "message", "id": id, "role": "assistant", "status": status, "content": []}),
        Part::Call(call) => call_json(call, id, "", status),
    }
}

/// The item of a part at its end: whole, or as far as it came. Thinking is told in `encrypted_content` too, if that is
/// wanted: clients send it back, and it is read again.
pub(super) fn done(part: &Part, id: &str, tokens: &[TokenLogprob], is_whole: bool, encrypts: bool) -> Value {
    let status = if is_whole { "completed" } else { "incomplete" };
    match part {
        Part::Thinking(text) => json!({
            "type": "reasoning",
            "id": id,
            "summary": [],
            "content": [content(part, tokens)],
            "encrypted_content": encrypts.then(|| STANDARD.encode(text)),
            "status": status,
        }),
        Part::Text(..) => json!({
            "type": "message", "id": id, "role": "assistant", "status": status, "content": [content(part, tokens)],
        }),
        Part::Call(call) => call_json(call, id, &call.arguments, status),
    }
}

fn call_json(call: &Call, id: &str, arguments: &str, status: &str) -> Value {
    json!({
        "type": "function_call",
        "id": id,
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
        "status": status,
    })
}

/// The thinking of an item that comes back: as it was told, or out of `encrypted_content`. That of another service is no
/// text.
pub(super) fn thinking_of(item: &Value) -> Option<String> {
    let parts = item.get("content").and_then(Value::as_array);
    let parts = parts.into_iter().flatten().filter_map(|part| part.get("text")?.as_str());
    let told: String = parts.collect();
    if !told.is_empty() {
        return Some(told);
    }
    let hidden = STANDARD.decode(item.get("encrypted_content")?.as_str()?).ok()?;
    String::from_utf8(hidden).ok()
}
