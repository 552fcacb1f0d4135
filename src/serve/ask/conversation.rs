//! A conversation as a chat template takes it, whatever dialect it came in.
//!
//! A template takes a system message in first place only. Several at the beginning become one, with blank lines between
//! them; one that comes later becomes a turn of the user, or, behind what a call gave, a part of that: a turn of the user
//! would end the loop of calls, and all that was thought in it would be left out of the prompt.

use crate::serve::pictures::PictureFile;
use serde_json::{Map, Value, json};

/// The end of a conversation that the model goes on writing.
pub(in crate::serve) struct Prefill(pub String);

/// Messages for a template, and the beginning of the answer, if the client has written one.
#[derive(Default)]
pub(in crate::serve) struct Conversation {
    pub messages: Vec<Value>,
    pub prefill: Option<Prefill>,
    /// The pictures in them, in order.
    pub pictures: Vec<PictureFile>,
    /// Bytes of what they say.
    pub n_byte: usize,
    /// System messages at the beginning.
    system: Vec<String>,
}

impl Conversation {
    /// Goes on with a message of the system, the developer, or whoever is to be obeyed.
    pub fn push_system(&mut self, text: String) {
        match self.messages.last_mut() {
            None => self.system.push(text),
            Some(last) if last["role"] == "tool" => match &mut last["content"] {
                Value::Array(parts) => parts.push(json!({"type": "text", "text": format!("\n\n{text}")})),
                given => *given = format!("{}\n\n{text}", given.as_str().unwrap_or_default()).into(),
            },
            Some(_) => self.messages.push(turn("user", text)),
        }
    }

    /// Puts what the system said first, and what calls gave into the order of the calls; nothing is pushed behind that.
    pub fn finish(mut self) -> Conversation {
        order_results(&mut self.messages);
        if !self.system.is_empty() {
            self.messages.insert(0, turn("system", std::mem::take(&mut self.system).join("\n\n")));
        }
        self
    }
}

/// A message for a template. What it says may be long, and is not copied.
pub(in crate::serve) fn turn(role: &str, content: impl Into<Value>) -> Value {
    Map::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content.into())]).into()
}

/// Puts messages with what calls gave into the order of their calls, which is all that a template tells them by. What has
/// no call stays behind.
fn order_results(messages: &mut [Value]) {
    let is_result = |message: &Value| message["role"] == "tool";
    let mut at = 0;
    while at < messages.len() {
        let n = messages[at + 1..].iter().take_while(|message| is_result(message)).count();
        let (before, rest) = messages[at..].split_at_mut(1);
        if let Some(Value::Array(calls)) = before[0].get("tool_calls").filter(|_| n > 1) {
            let place = |result: &Value| {
                let id = result.get("tool_call_id").filter(|id| id.is_string());
                id.and_then(|id| calls.iter().position(|call| call.get("id") == Some(id))).unwrap_or(calls.len())
            };
            rest[..n].sort_by_key(place);
        }
        at += 1 + n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_in_a_loop_of_calls_ends_none() {
        let parts = json!([{"type": "image"}, {"type": "text", "text": "\n\nb"}]);
        for (given, expected) in [(json!("a"), json!("a\n\nb")), (json!([{"type": "image"}]), parts)] {
            let mut conversation = Conversation::default();
            conversation.push_system("Be kind.".to_owned());
            conversation.messages.extend([turn("user", "c"), turn("tool", given)]);
            conversation.push_system("b".to_owned());
            conversation.messages.push(turn("user", "d"));
            conversation.push_system("e".to_owned());
            let expected = [
                turn("system", "Be kind."),
                turn("user", "c"),
                turn("tool", expected),
                turn("user", "d"),
                turn("user", "e"),
            ];
            assert_eq!(conversation.finish().messages, expected);
        }
    }

    #[test]
    fn results_come_in_the_order_of_their_calls() {
        let result = |id: &str| json!({"role": "tool", "content": id, "tool_call_id": id});
        let calls = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "a"}, {"id": "b"}, {"id": "c"}]});
        let user = json!({"role": "user", "content": ""});
        let mut messages = vec![result("z"), user.clone(), calls.clone()];
        messages.extend(["c", "x", "a", "y"].map(result));
        messages.extend([user.clone(), result("q")]);
        order_results(&mut messages);
        let mut expected = vec![result("z"), user.clone(), calls];
        expected.extend(["a", "c", "x", "y"].map(result));
        expected.extend([user, result("q")]);
        assert_eq!(messages, expected);
    }
}
