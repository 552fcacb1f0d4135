//! Messages as clients of OpenAI's chat send them.

use crate::serve::ask::content::{arguments_of, content_of, result, short};
use crate::serve::ask::conversation::{Conversation, Prefill, turn};
use crate::serve::error::ApiError;
use serde::Deserialize;
use serde_json::Value;

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
        let content = content_of(message.content.take(), &format!("{at}.content"), &mut all.pictures)?;
        all.n_byte += content.text.len();
        match &*message.role {
            "user" => all.messages.push(turn("user", content.into_value())),
            "tool" | "function" => {
                all.messages.push(result(message.tool_call_id.as_deref(), content.into_value()));
            }
            _ if content.has_pictures() => {
                return Err(ApiError::unsupported(&at, "pictures are shown by the user, or by a tool"));
            }
            "system" | "developer" => all.push_system(content.text),
            "assistant" if i + 1 == n && message.tool_calls.as_ref().is_none_or(Vec::is_empty) => {
                all.prefill = Some(Prefill(content.text));
            }
            "assistant" => all.messages.push(assistant(&message, content.text)),
            role => {
                let role = short(role);
                let expected = "expected system, developer, user, assistant or tool";
                return Err(ApiError::field(format!("{at}.role"), format!("{expected}, not {role:?}")));
            }
        }
    }
    Ok(all)
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

/// A call with its arguments as an object: in this API they are a string.
fn with_object(mut call: Value) -> Value {
    let function = if call.get("function").is_some_and(Value::is_object) { &mut call["function"] } else { &mut call };
    let Some(function) = function.as_object_mut() else { return call };
    let arguments = arguments_of(function.get("arguments"));
    function.insert("arguments".to_owned(), arguments.into());
    call
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
