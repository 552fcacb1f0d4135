//! What clients of Responses send: the items of a conversation. Those of one turn of the model become one message.

use super::items::thinking_of;
use crate::serve::ask::content::{self, arguments_of, content_of, kind_of, short, text_of};
use crate::serve::ask::conversation::{Conversation, Prefill, turn};
use crate::serve::error::ApiError;
use serde_json::{Map, Value};

/// The name under which a local shell is called.
const LOCAL_SHELL: &str = "local_shell";

/// Makes messages for a template.
///
/// # Errors
/// An item makes no sense, or is what this server does not take.
pub(super) fn conversation(instructions: Option<String>, input: Option<Value>) -> Result<Conversation, ApiError> {
    let items = match input {
        Some(Value::String(text)) => vec![turn("user", text)],
        Some(Value::Array(items)) if !items.is_empty() => items,
        _ => return Err(ApiError::field("input", "expected a string, or one item or more")),
    };
    let mut all = Conversation::default();
    if let Some(instructions) = instructions {
        all.n_byte += instructions.len();
        all.push_system(instructions);
    }
    let mut model = ModelTurn::default();
    for (i, item) in items.into_iter().enumerate() {
        let at = format!("input[{i}]");
        let is_message = item.get("type").is_none_or(Value::is_null);
        match if is_message { "message" } else { kind_of(&item, &at)? } {
            "message" => push_message(item, &at, &mut model, &mut all)?,
            "reasoning" => model.reason(thinking_of(&item)),
            kind @ ("function_call" | "custom_tool_call" | "local_shell_call") => {
                let (name, arguments) = match kind {
                    "function_call" => (text_of(&item, "name", &at)?, arguments_of(item.get("arguments"))),
                    "custom_tool_call" => {
                        let input = text_of(&item, "input", &at)?;
                        (text_of(&item, "name", &at)?, Map::from_iter([("input".to_owned(), input.into())]))
                    }
                    _ => (LOCAL_SHELL, arguments_of(item.get("action"))),
                };
                model.calls.push(content::call(id_of(&item), name, arguments));
            }
            "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
                model.end(&mut all);
                let given = content_of(item.get("output").cloned(), &format!("{at}.output"), &mut all.pictures)?;
                all.n_byte += given.text.len();
                all.messages.push(content::result(id_of(&item), given.into_value()));
            }
            kind => {
                let message = format!("items of type {:?} are not understood", short(kind));
                return Err(ApiError::unsupported(&at, message));
            }
        }
    }
    // What the model has begun to say, it goes on saying; what it has only thought, it may think again.
    if !model.calls.is_empty() {
        model.end(&mut all);
    } else if model.has_spoken {
        all.n_byte += model.text.len();
        all.prefill = Some(Prefill(model.text));
    }
    Ok(all)
}

/// The name of a call, by which its output is found.
fn id_of(item: &Value) -> Option<&str> {
    item.get("call_id").and_then(Value::as_str)
}

fn push_message(mut item: Value, at: &str, model: &mut ModelTurn, all: &mut Conversation) -> Result<(), ApiError> {
    let content = item.get_mut("content").map(Value::take);
    let content = content_of(content, &format!("{at}.content"), &mut all.pictures)?;
    let role = text_of(&item, "role", at)?;
    if content.has_pictures() && role != "user" {
        return Err(ApiError::unsupported(at, "pictures are shown by the user, or by a tool"));
    }
    match role {
        "assistant" => {
            model.has_spoken = true;
            model.text.push_str(&content.text);
            return Ok(());
        }
        "user" | "system" | "developer" => model.end(all),
        role => {
            let expected = "expected user, assistant, system or developer";
            return Err(ApiError::field(format!("{at}.role"), format!("{expected}, not {:?}", short(role))));
        }
    }
    all.n_byte += content.text.len();
    match role {
        "user" => all.messages.push(turn("user", content.into_value())),
        _ => all.push_system(content.text),
    }
    Ok(())
}

/// A turn of the model, of which the items come one by one.
#[derive(Default)]
struct ModelTurn {
    reasoning: Option<String>,
    text: String,
    has_spoken: bool,
    calls: Vec<Value>,
}

impl ModelTurn {
    fn reason(&mut self, thinking: Option<String>) {
        if let Some(thinking) = thinking {
            self.reasoning.get_or_insert_default().push_str(&thinking);
        }
    }

    /// Somebody else speaks.
    fn end(&mut self, all: &mut Conversation) {
        let ModelTurn { reasoning, text, has_spoken, calls } = std::mem::take(self);
        if has_spoken || !calls.is_empty() {
            all.n_byte += text.len() + reasoning.as_ref().map_or(0, String::len);
            all.messages.push(content::assistant(text, reasoning, calls));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(input: Value) -> Result<Conversation, Value> {
        conversation(Some("Be kind.".to_owned()), Some(input))
            .map(Conversation::finish)
            .map_err(|error| error.to_json()["error"]["param"].clone())
    }

    fn call(id: &str, name: &str, arguments: Value) -> Value {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }

    #[test]
    fn items_of_a_turn_become_one_message() {
        let made = made(json!([
            {"role": "developer", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "message", "role": "user", "content": "b"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "c"}], "encrypted_content": "eA=="},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "d"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{\"x\":1}"},
            {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "raw"},
            {"type": "local_shell_call", "call_id": "3", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "function_call_output", "call_id": "1", "output": "e"},
            {"type": "custom_tool_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "f"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "Z8Okbnpl"},
            {"type": "function_call", "call_id": "4", "name": "f", "arguments": "{broken"},
            {"role": "user", "content": "h"},
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAABnot text"},
        ]))
        .ok()
        .unwrap();
        let expected = json!([
            {"role": "system", "content": "Be kind.\n\na"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "d", "reasoning_content": "c", "tool_calls": [
                call("1", "f", json!({"x": 1})), call("2", "g", json!({"input": "raw"})),
                call("3", "local_shell", json!({"type": "exec", "command": ["ls"]})),
            ]},
            {"role": "tool", "content": "e", "tool_call_id": "1"},
            {"role": "tool", "content": "f", "tool_call_id": "2"},
            {"role": "assistant", "content": "", "reasoning_content": "gänze", "tool_calls": [
                call("4", "f", json!({"arguments": "{broken"})),
            ]},
            {"role": "user", "content": "h"},
        ]);
        assert_eq!(Value::from(made.messages), expected);
        assert!(made.prefill.is_none());
    }

    #[test]
    fn what_the_model_has_begun_it_goes_on_with() {
        let made =
            made(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "So"}])).ok().unwrap();
        assert_eq!((made.messages.len(), made.prefill.unwrap().0), (2, "So".to_owned()));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (item, param) in [
            (json!({"type": "item_reference", "id": "msg_1"}), "input[0]"),
            (json!({"type": "web_search_call", "id": "ws_1"}), "input[0]"),
            (json!({"type": 7}), "input[0].type"),
            (json!({"content": "a"}), "input[0].role"),
            (json!({"role": "judge", "content": "a"}), "input[0].role"),
            (json!({"role": "user", "content": [{"type": "input_file", "file_id": "a"}]}), "input[0].content[0]"),
            (json!({"role": "user", "content": 7}), "input[0].content"),
            (json!({"type": "function_call", "arguments": "{}"}), "input[0].name"),
            (json!({"type": "function_call_output", "output": 7}), "input[0].output"),
            (json!(7), "input[0].role"),
        ] {
            assert_eq!(made(json!([item])).err().unwrap(), param, "{item}");
        }
        for input in [json!([]), json!(7), Value::Null] {
            assert_eq!(made(input).err().unwrap(), "input");
        }
    }
}
