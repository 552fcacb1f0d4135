//! Messages as clients of this API send them: a text each, with pictures beside it, and calls with their arguments as objects.

use crate::serve::ask::content::{self, Content, arguments_of, short};
use crate::serve::ask::conversation::{Conversation, Prefill, turn};
use crate::serve::error::ApiError;
use crate::serve::pictures::PictureFile;
use serde::Deserialize;
use serde_json::Value;

/// A message of a client.
#[derive(Deserialize)]
pub(super) struct Message {
    role: String,
    content: Option<String>,
    thinking: Option<String>,
    images: Option<Vec<String>>,
    tool_calls: Option<Vec<Call>>,
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: Option<Value>,
}

/// What is said in a text and shown in pictures, which come first.
///
/// # Errors
/// A picture is none.
pub(super) fn content(
    text: &str,
    images: Option<Vec<String>>,
    at: &str,
    all: &mut Conversation,
) -> Result<Content, ApiError> {
    let mut content = Content::default();
    for (i, image) in images.unwrap_or_default().iter().enumerate() {
        let is_url = image.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
        let url = if is_url { image.clone() } else { ["data:;base64,", image].concat() };
        all.pictures.push(PictureFile::of(&url, format!("{at}images[{i}]"))?);
        content.show();
    }
    all.n_byte += text.len();
    content.say(text);
    Ok(content)
}

/// Makes messages for a template.
///
/// # Errors
/// One makes no sense, or holds what this server does not take.
pub(super) fn conversation(messages: Vec<Message>) -> Result<Conversation, ApiError> {
    let n = messages.len();
    let mut all = Conversation::default();
    for (i, message) in messages.into_iter().enumerate() {
        let at = format!("messages[{i}].");
        let Message { role, content: text, thinking, images, tool_calls, tool_call_id } = message;
        let content = content(text.as_deref().unwrap_or_default(), images, &at, &mut all)?;
        match &*role {
            "user" => all.messages.push(turn("user", content.into_value())),
            "tool" => all.messages.push(content::result(tool_call_id.as_deref(), content.into_value())),
            _ if content.has_pictures() => {
                return Err(ApiError::unsupported(
                    &format!("{at}images"),
                    "pictures are shown by the user, or by a tool",
                ));
            }
            "system" => all.push_system(content.text),
            "assistant" => {
                all.n_byte += thinking.as_ref().map_or(0, String::len);
                let call = |Call { id, function: Function { name, arguments } }: &Call| {
                    content::call(id.as_deref(), name, arguments_of(arguments.as_ref()))
                };
                let calls: Vec<Value> = tool_calls.iter().flatten().map(call).collect();
                if i + 1 == n && calls.is_empty() {
                    all.prefill = Some(Prefill(content.text));
                } else {
                    all.messages.push(content::assistant(content.text, thinking, calls));
                }
            }
            role => {
                let message = format!("expected system, user, assistant or tool, not {:?}", short(role));
                return Err(ApiError::field(format!("{at}role"), message));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(messages: Value) -> Result<Conversation, Value> {
        conversation(serde_json::from_value(messages).unwrap())
            .map(Conversation::finish)
            .map_err(|error| error.to_json()["error"]["param"].clone())
    }

    #[test]
    fn messages_become_turns() {
        let conversation = made(json!([
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b", "images": ["AAAA", "data:image/png;base64,AAAA"]},
            {"role": "assistant", "content": "", "thinking": "c", "tool_calls": [
                {"function": {"index": 0, "name": "f", "arguments": {"x": 1}}}, {"id": "2", "function": {"name": "g"}},
            ]},
            {"role": "tool", "tool_name": "f", "content": "d"},
            {"role": "assistant", "content": "So", "tool_calls": []},
        ]))
        .ok()
        .unwrap();
        let function = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
        let expected = json!([
            {"role": "system", "content": "a"},
            {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "", "reasoning_content": "c", "tool_calls": [
                {"type": "function", "function": function("f", json!({"x": 1}))},
                {"id": "2", "type": "function", "function": function("g", json!({}))},
            ]},
            {"role": "tool", "content": "d"},
        ]);
        assert_eq!(Value::from(conversation.messages), expected);
        assert_eq!((conversation.prefill.unwrap().0, conversation.pictures.len()), ("So".to_owned(), 2));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (message, param) in [
            (json!({"role": "judge"}), "messages[0].role"),
            (json!({"role": "system", "content": "a", "images": ["AAAA"]}), "messages[0].images"),
            (json!({"role": "user", "images": ["!"]}), "messages[0].images[0]"),
        ] {
            assert_eq!(made(json!([message])).err().unwrap(), param);
        }
    }
}
