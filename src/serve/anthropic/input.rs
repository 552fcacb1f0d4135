//! Messages as clients of this API send them: blocks of text, pictures, thinking, calls, and what these gave.

use crate::serve::ask::content::{self, Content, arguments_of, kind_of, short, text_of, unknown_kind};
use crate::serve::ask::conversation::{Conversation, Prefill, turn};
use crate::serve::error::ApiError;
use crate::serve::pictures::PictureFile;
use serde::Deserialize;
use serde_json::Value;

/// What lines begin with that a client writes for the service and not for the model. They change with every request: in a
/// prompt, they would have all behind them read again.
const FOR_THE_SERVICE: &str = "x-anthropic-";

/// What stands before what a call gave that failed.
const FAILED: &str = "Error: ";

/// A message of a client.
#[derive(Deserialize)]
pub(super) struct Message {
    role: String,
    content: Option<Value>,
}

/// Makes messages for a template.
///
/// # Errors
/// One makes no sense, or holds what this server does not take.
pub(super) fn conversation(system: Option<&Value>, messages: Vec<Message>) -> Result<Conversation, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "expected one or more"));
    }
    let mut all = Conversation::default();
    push_system(system, "system", &mut all)?;
    let n = messages.len();
    for (i, Message { role, content }) in messages.into_iter().enumerate() {
        let at = format!("messages[{i}].content");
        match &*role {
            "user" => push_user(content, &at, &mut all)?,
            "assistant" => push_assistant(content, &at, i + 1 == n, &mut all)?,
            "system" => push_system(content.as_ref(), &at, &mut all)?,
            role => {
                let message = format!("expected user or assistant, not {:?}", short(role));
                return Err(ApiError::field(format!("messages[{i}].role"), message));
            }
        }
    }
    Ok(all)
}

/// The blocks of a content: a text is one.
fn blocks(content: Option<Value>, at: &str) -> Result<Vec<Value>, ApiError> {
    match content {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![serde_json::json!({"type": "text", "text": text})]),
        Some(Value::Array(blocks)) => Ok(blocks),
        Some(_) => Err(ApiError::field(at, "expected a string or a list of blocks")),
    }
}

/// Goes on with what the system says, without what it says to the service.
fn push_system(system: Option<&Value>, at: &str, all: &mut Conversation) -> Result<(), ApiError> {
    for (i, block) in blocks(system.cloned(), at)?.iter().enumerate() {
        let at = format!("{at}[{i}]");
        if kind_of(block, &at)? != "text" {
            return Err(unknown_kind(kind_of(block, &at)?, &at));
        }
        let text = text_of(block, "text", &at)?;
        all.n_byte += text.len();
        let is_for_us = |line: &&str| !line.starts_with(FOR_THE_SERVICE);
        let ours: String = text.split_inclusive('\n').filter(is_for_us).collect();
        if ours.len() == text.len() || !ours.trim().is_empty() {
            all.push_system(ours);
        }
    }
    Ok(())
}

/// What the user says, behind what the calls of the turn before gave.
fn push_user(content: Option<Value>, at: &str, all: &mut Conversation) -> Result<(), ApiError> {
    let mut said = Spoken::default();
    let (mut is_result, mut is_spoken) = (false, false);
    for (i, block) in blocks(content, at)?.iter().enumerate() {
        let at = format!("{at}[{i}]");
        if kind_of(block, &at)? != "tool_result" {
            is_spoken = true;
            said.push(block, &at, &mut all.pictures)?;
            continue;
        }
        is_result = true;
        let call = block.get("tool_use_id").and_then(Value::as_str);
        let mut given = Spoken::default();
        if block.get("is_error") == Some(&Value::Bool(true)) {
            given.0.say(FAILED);
        }
        let at = format!("{at}.content");
        for (i, block) in blocks(block.get("content").cloned(), &at)?.iter().enumerate() {
            given.push(block, &format!("{at}[{i}]"), &mut all.pictures)?;
        }
        all.n_byte += given.0.text.len();
        all.messages.push(content::result(call, given.0.into_value()));
    }
    if is_spoken || !is_result {
        all.n_byte += said.0.text.len();
        all.messages.push(turn("user", said.0.into_value()));
    }
    Ok(())
}

/// What is said in blocks of text and pictures: each text on lines of its own.
#[derive(Default)]
struct Spoken(Content);

impl Spoken {
    fn push(&mut self, block: &Value, at: &str, pictures: &mut Vec<PictureFile>) -> Result<(), ApiError> {
        let Spoken(content) = self;
        match kind_of(block, at)? {
            "text" => {
                let text = text_of(block, "text", at)?;
                let is_apart = content.text.is_empty() || content.text.ends_with('\n') || content.text == FAILED;
                if is_apart { content.say(text) } else { content.say(&["\n", text].concat()) }
            }
            "image" => {
                pictures.push(picture(block, at)?);
                content.show();
            }
            kind => return Err(unknown_kind(kind, at)),
        }
        Ok(())
    }
}

fn picture(block: &Value, at: &str) -> Result<PictureFile, ApiError> {
    let at_source = format!("{at}.source");
    let source = block.get("source").filter(|source| source.is_object());
    let source = source.ok_or_else(|| ApiError::field(&*at_source, "expected an object"))?;
    match kind_of(source, &at_source)? {
        "base64" => {
            let data = text_of(source, "data", &at_source)?;
            PictureFile::of(&["data:;base64,", data].concat(), at.to_owned())
        }
        "url" => PictureFile::of(text_of(source, "url", &at_source)?, at.to_owned()),
        kind => {
            let message = format!("pictures come in the request, as base64, and not as {:?}", short(kind));
            Err(ApiError::unsupported(&at_source, message))
        }
    }
}

/// What the model has said, or the beginning of what it is to say.
fn push_assistant(content: Option<Value>, at: &str, is_last: bool, all: &mut Conversation) -> Result<(), ApiError> {
    let (mut text, mut reasoning, mut calls) = (String::new(), None::<String>, Vec::new());
    for (i, block) in blocks(content, at)?.iter().enumerate() {
        let at = format!("{at}[{i}]");
        match kind_of(block, &at)? {
            "text" => text.push_str(text_of(block, "text", &at)?),
            "thinking" => reasoning.get_or_insert_default().push_str(text_of(block, "thinking", &at)?),
            // It was for the service alone.
            "redacted_thinking" => {}
            "tool_use" => {
                let id = block.get("id").and_then(Value::as_str);
                calls.push(content::call(id, text_of(block, "name", &at)?, arguments_of(block.get("input"))));
            }
            kind => return Err(unknown_kind(kind, &at)),
        }
    }
    all.n_byte += text.len() + reasoning.as_ref().map_or(0, String::len);
    if is_last && calls.is_empty() {
        all.prefill = Some(Prefill(text));
    } else {
        all.messages.push(content::assistant(text, reasoning, calls));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(system: Value, messages: Value) -> Result<Conversation, Value> {
        conversation(Some(&system), serde_json::from_value(messages).unwrap())
            .map(Conversation::finish)
            .map_err(|error| error.to_json()["error"]["param"].clone())
    }

    #[test]
    fn what_is_said_to_the_service_is_left_out() {
        let header = "x-anthropic-billing-header: cc_version=2.1; cch=a1b2;";
        for (system, expected) in [
            (json!("Be kind."), Some("Be kind.")),
            (json!(format!("{header}\nBe kind.\n")), Some("Be kind.\n")),
            (
                json!([{"type": "text", "text": header}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
                Some("a\n\nb"),
            ),
            (json!([{"type": "text", "text": header}]), None),
            (json!("Of x-anthropic- nothing is known."), Some("Of x-anthropic- nothing is known.")),
            (Value::Null, None),
        ] {
            let messages = made(system, json!([{"role": "user", "content": header}])).ok().unwrap().messages;
            assert_eq!(messages.last().unwrap(), &json!({"role": "user", "content": header}));
            assert_eq!(messages[0]["content"].as_str().filter(|_| messages.len() > 1), expected);
        }
    }

    #[test]
    fn blocks_become_turns() {
        let conversation = made(Value::Null, json!([
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "c", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "d"}, {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "2", "name": "g", "input": "{broken"},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "e"}, {"type": "tool_result", "tool_use_id": "1", "content": "f"},
                {"type": "tool_result", "tool_use_id": "2", "is_error": true, "content": [{"type": "text", "text": "g"}]},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "3"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "So"}]},
        ])).ok().unwrap();
        let call = |id: &str, name: &str, arguments: Value| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let expected = json!([
            {"role": "user", "content": "a\nb"},
            {"role": "assistant", "content": "d", "reasoning_content": "c", "tool_calls": [
                call("1", "f", json!({"x": 1})), call("2", "g", json!({"arguments": "{broken"})),
            ]},
            {"role": "tool", "content": "f", "tool_call_id": "1"},
            {"role": "tool", "content": "Error: g", "tool_call_id": "2"},
            {"role": "user", "content": "e"},
            {"role": "tool", "content": "", "tool_call_id": "3"},
        ]);
        assert_eq!(Value::from(conversation.messages), expected);
        assert_eq!(conversation.prefill.unwrap().0, "So");
    }

    #[test]
    fn pictures_have_their_places() {
        let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
        let conversation = made(
            Value::Null,
            json!([
                {"role": "user", "content": [{"type": "text", "text": "a"}, picture, {"type": "text", "text": "b"}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [picture]}]},
            ]),
        )
        .ok()
        .unwrap();
        let text = |text: &str| json!({"type": "text", "text": text});
        assert_eq!(conversation.messages[0]["content"], json!([text("a"), {"type": "image"}, text("\nb")]));
        assert_eq!((&conversation.messages[1]["role"], conversation.pictures.len()), (&json!("tool"), 2));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (role, block, param) in [
            ("user", json!({"text": "a"}), "messages[0].content[0].type"),
            ("user", json!({"type": "text"}), "messages[0].content[0].text"),
            ("user", json!({"type": "document", "source": {}}), "messages[0].content[0]"),
            ("user", json!({"type": "image"}), "messages[0].content[0].source"),
            (
                "user",
                json!({"type": "image", "source": {"type": "file", "file_id": "a"}}),
                "messages[0].content[0].source",
            ),
            (
                "user",
                json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}),
                "messages[0].content[0]",
            ),
            ("user", json!({"type": "tool_result", "content": 7}), "messages[0].content[0].content"),
            ("user", json!({"type": "tool_result", "content": [{"type": "x"}]}), "messages[0].content[0].content[0]"),
            ("user", json!({"type": "tool_use", "name": "f"}), "messages[0].content[0]"),
            ("assistant", json!({"type": "tool_use", "input": {}}), "messages[0].content[0].name"),
            ("assistant", json!({"type": "server_tool_use"}), "messages[0].content[0]"),
            ("judge", json!({"type": "text", "text": "a"}), "messages[0].role"),
        ] {
            assert_eq!(made(Value::Null, json!([{"role": role, "content": [block]}])).err().unwrap(), param);
        }
        assert_eq!(made(Value::Null, json!([])).err().unwrap(), "messages");
        assert_eq!(made(json!(7), json!([{"role": "user", "content": "a"}])).err().unwrap(), "system");
    }
}
