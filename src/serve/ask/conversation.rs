//! A conversation as a chat template takes it, whatever dialect it came in.
//!
//! A template takes a system message in first place only. Several at the beginning become one, with blank lines between
//! them; one that comes later becomes a turn of the user.

use crate::serve::pictures::PictureFile;
use serde_json::{Map, Value};

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
        if self.messages.is_empty() { self.system.push(text) } else { self.messages.push(turn("user", text)) }
    }

    /// Puts what the system said first; nothing is pushed behind that.
    pub fn finish(mut self) -> Conversation {
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
