//! Messages as clients of OpenAI's chat send them.

use crate::serve::ask::conversation::{Conversation, Prefill, turn};
use crate::serve::error::ApiError;
use crate::serve::pictures::PictureFile;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Characters of a role or type that an error repeats.
const LONGEST_WORD: usize = 40;

/// A message of a client.
#[derive(Deserialize)]
pub(super) struct Message {
    role: String,
    content: Option<Value>,
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
    thinking: Option<Value>,
    tool_calls: Option<Vec<Value>>,
    tool_call_id: Option<String>,
}

/// Makes messages for a template.
///
/// # Errors
/// One makes no sense, or holds what this server does not take.
pub(super) fn conversation(messages: Vec<Message>) -> Result<Conversation, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "expected one or more"));
    }
    let n = messages.len();
    let mut all = Conversation::default();
    for (i, mut message) in messages.into_iter().enumerate() {
        let at = format!("messages[{i}]");
        let Content { text, parts } = content_of(message.content.take(), &at, &mut all.pictures)?;
        all.n_byte += text.len();
        match &*message.role {
            "user" if !parts.is_empty() => all.messages.push(turn("user", parts)),
            "tool" | "function" if !parts.is_empty() => all.messages.push(result(message.tool_call_id, parts)),
            _ if !parts.is_empty() => {
                return Err(ApiError::unsupported(&at, "pictures are shown by the user, or by a tool"));
            }
            "system" | "developer" => all.push_system(text),
            "user" => all.messages.push(turn("user", text)),
            "tool" | "function" => all.messages.push(result(message.tool_call_id, text)),
            "assistant" if i + 1 == n && message.tool_calls.as_ref().is_none_or(Vec::is_empty) => {
                all.prefill = Some(Prefill(text));
            }
            "assistant" => all.messages.push(assistant(&message, text)),
            role => {
                let role: String = role.chars().take(LONGEST_WORD).collect();
                let expected = "expected system, developer, user, assistant or tool";
                return Err(ApiError::field(format!("{at}.role"), format!("{expected}, not {role:?}")));
            }
        }
    }
    Ok(all)
}

/// What a call gave.
fn result(call: Option<String>, content: impl Into<Value>) -> Value {
    let mut result = turn("tool", content);
    if let Some(call) = call {
        result["tool_call_id"] = call.into();
    }
    result
}

fn assistant(message: &Message, text: String) -> Value {
    let mut turn = turn("assistant", text);
    let thoughts = [&message.reasoning_content, &message.reasoning, &message.thinking];
    if let Some(thought) = thoughts.into_iter().flatten().find_map(Value::as_str) {
        turn["reasoning_content"] = thought.into();
    }
    if let Some(calls) = message.tool_calls.as_ref().filter(|calls| !calls.is_empty()) {
        turn["tool_calls"] = calls.iter().cloned().map(with_object).collect();
    }
    turn
}

/// A call with its arguments as an object: in this API they are a string. What is no object stays as it is, under a
/// name.
fn with_object(mut call: Value) -> Value {
    let function = if call.get("function").is_some_and(Value::is_object) { &mut call["function"] } else { &mut call };
    let Some(function) = function.as_object_mut() else { return call };
    let arguments = match function.get("arguments") {
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(arguments)) => arguments,
            _ => Map::from_iter([("arguments".to_owned(), text.as_str().into())]),
        },
        Some(Value::Object(_)) => return call,
        _ => Map::new(),
    };
    function.insert("arguments".to_owned(), arguments.into());
    call
}

/// What a message says.
#[derive(Default)]
struct Content {
    text: String,
    /// The texts and the places of pictures, as templates take them, if there are pictures.
    parts: Vec<Value>,
}

/// The content of a message: a string, parts of which each has a text or a picture, or nothing.
fn content_of(content: Option<Value>, at: &str, pictures: &mut Vec<PictureFile>) -> Result<Content, ApiError> {
    let parts = match content {
        None => return Ok(Content::default()),
        Some(Value::String(text)) => return Ok(Content { text, parts: Vec::new() }),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(ApiError::field(format!("{at}.content"), "expected a string or a list of parts")),
    };
    let mut whole = Content::default();
    let n_before = pictures.len();
    for (i, part) in parts.iter().enumerate() {
        let at = format!("{at}.content[{i}]");
        let text = |key: &str| part.get(key).and_then(Value::as_str);
        let said = match text("type") {
            Some("text" | "input_text" | "output_text") => {
                text("text").ok_or_else(|| ApiError::field(format!("{at}.text"), "expected a string"))?
            }
            Some("refusal") => text("refusal").unwrap_or_default(),
            Some("image_url" | "input_image") => {
                let url = part.get("image_url").and_then(|url| url.as_str().or_else(|| url.get("url")?.as_str()));
                let url = url.ok_or_else(|| ApiError::field(format!("{at}.image_url"), "expected a data URL"))?;
                pictures.push(PictureFile::of(url, at)?);
                whole.parts.push(json!({"type": "image"}));
                continue;
            }
            Some(kind) => {
                let kind: String = kind.chars().take(LONGEST_WORD).collect();
                return Err(ApiError::unsupported(&at, format!("parts of type {kind:?} are not understood")));
            }
            None => return Err(ApiError::field(format!("{at}.type"), "expected a string")),
        };
        whole.text.push_str(said);
        whole.parts.push(json!({"type": "text", "text": said}));
    }
    if pictures.len() == n_before {
        whole.parts.clear();
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(messages: Value) -> Result<Conversation, Value> {
        conversation(serde_json::from_value(messages).unwrap())
            .map(Conversation::finish)
            .map_err(|error| error.to_json()["error"].clone())
    }

    #[test]
    fn system_messages_come_first_or_become_turns_of_the_user() {
        let conversation = made(json!([
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
            {"role": "user", "content": "d"},
            {"role": "system", "content": "e"},
        ]));
        let expected = json!([
            {"role": "system", "content": "a\n\nbc"},
            {"role": "user", "content": "d"},
            {"role": "user", "content": "e"},
        ]);
        assert_eq!(Value::from(conversation.ok().unwrap().messages), expected);
    }

    #[test]
    fn turns_of_the_model_keep_thoughts_and_calls() {
        let conversation = made(json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "reasoning": "b", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1]}"}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{broken"}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "c"},
            {"role": "assistant", "content": "So"},
        ]))
        .ok()
        .unwrap();
        let turn = &conversation.messages[1];
        assert_eq!((&turn["content"], &turn["reasoning_content"]), (&json!(""), &json!("b")));
        assert_eq!(turn["tool_calls"][0]["function"]["arguments"], json!({"x": [1]}));
        assert_eq!(turn["tool_calls"][1]["function"]["arguments"], json!({"arguments": "{broken"}));
        assert_eq!(conversation.messages[2], json!({"role": "tool", "content": "c", "tool_call_id": "1"}));
        assert_eq!(conversation.prefill.unwrap().0, "So");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (content, param) in [
            (json!(7), "messages[0].content"),
            (json!([{"text": "a"}]), "messages[0].content[0].type"),
            (json!([{"type": "text", "text": "a"}, {"type": "input_audio"}]), "messages[0].content[1]"),
            (json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]), "messages[0].content[0]"),
        ] {
            let error = made(json!([{"role": "user", "content": content}])).err().unwrap();
            assert_eq!(error["param"], param);
        }
        assert_eq!(made(json!([])).err().unwrap()["param"], "messages");
        assert_eq!(made(json!([{"role": "judge"}])).err().unwrap()["param"], "messages[0].role");
    }
}
