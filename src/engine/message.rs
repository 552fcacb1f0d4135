//! Messages of a conversation, as a session takes them: text, with pictures and clips that have been looked at.

use super::generate::Outcome;
use crate::chat::calls::Call;
use crate::vision::eyes::Seen;
use serde_json::{Value, json};

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Whoever set the conversation up.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
}

/// A part of a message.
#[derive(Clone)]
pub enum Part {
    /// Text. Whatever it holds, it is read as text: control tokens come from the template alone.
    Text(String),
    /// A picture.
    Image(Seen),
    /// A clip.
    Clip(Seen),
}

/// A message.
#[derive(Clone)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said and shown, in order.
    pub parts: Vec<Part>,
    /// What an assistant thought before it spoke; templates leave out that of earlier turns.
    pub reasoning: String,
    /// The functions that it called, behind what it said.
    pub calls: Vec<Call>,
}

impl From<&str> for Part {
    fn from(text: &str) -> Part {
        Part::Text(text.to_owned())
    }
}

impl Message {
    /// A message of several parts, such as a picture and what is asked about it.
    pub fn new(role: Role, parts: impl Into<Vec<Part>>) -> Message {
        Message { role, parts: parts.into(), reasoning: String::new(), calls: Vec::new() }
    }

    fn text(role: Role, text: impl Into<String>) -> Message {
        Message::new(role, [Part::Text(text.into())])
    }

    /// A system message.
    pub fn system(text: impl Into<String>) -> Message {
        Message::text(Role::System, text)
    }

    /// A question, of text alone.
    pub fn user(text: impl Into<String>) -> Message {
        Message::text(Role::User, text)
    }

    /// An answer.
    pub fn assistant(text: impl Into<String>) -> Message {
        Message::text(Role::Assistant, text)
    }

    /// What is said, without what is shown.
    pub fn plain_text(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Image(_) | Part::Clip(_) => None,
        };
        self.parts.iter().filter_map(text).collect()
    }

    /// Whether a picture or a clip is a part of it.
    pub fn shows_something(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// The message as chat templates take it: a text as it is, anything else as a list of parts.
    pub fn to_json(&self) -> Value {
        let role = match self.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let part = |part: &Part| match part {
            Part::Text(text) => json!({"type": "text", "text": text}),
            Part::Image(_) => json!({"type": "image"}),
            Part::Clip(_) => json!({"type": "video"}),
        };
        let content: Value = match &self.parts[..] {
            [Part::Text(text)] => text.as_str().into(),
            parts => parts.iter().map(part).collect(),
        };
        let mut message = json!({"role": role, "content": content});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.iter().map(Call::to_json).collect();
        }
        message
    }
}

/// The answer as a message, with which the conversation goes on.
impl From<Outcome> for Message {
    fn from(outcome: Outcome) -> Message {
        // One that was cut is no call.
        let calls = outcome.calls.into_iter().filter(|call| call.is_whole).collect();
        Message { reasoning: outcome.reasoning, calls, ..Message::assistant(outcome.text) }
    }
}

/// The pictures and the clips of a conversation, each in order.
pub(super) fn shown(messages: &[Message]) -> (Vec<Seen>, Vec<Seen>) {
    let (mut images, mut clips) = (Vec::new(), Vec::new());
    for part in messages.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text(_) => {}
            Part::Image(seen) => images.push(seen.clone()),
            Part::Clip(seen) => clips.push(seen.clone()),
        }
    }
    (images, clips)
}
