//! What a message says, whatever dialect it came in: texts and pictures, the calls of the model, and what they gave.

use super::conversation::turn;
use crate::serve::error::ApiError;
use crate::serve::pictures::PictureFile;
use serde_json::{Map, Value, json};

/// Characters of a role or type that an error repeats.
const LONGEST_WORD: usize = 40;

/// What a message says.
#[derive(Default)]
pub(in crate::serve) struct Content {
    /// All of its text.
    pub text: String,
    parts: Vec<Value>,
    has_pictures: bool,
}

impl Content {
    /// It goes on with a text.
    pub fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.parts.push(json!({"type": "text", "text": text}));
    }

    /// It goes on with a picture.
    pub fn show(&mut self) {
        self.has_pictures = true;
        self.parts.push(json!({"type": "image"}));
    }

    /// Whether it shows anything.
    pub fn has_pictures(&self) -> bool {
        self.has_pictures
    }

    /// As templates take it: a text, or the texts and the places of pictures, if there are any.
    pub fn into_value(self) -> Value {
        if self.has_pictures { self.parts.into() } else { self.text.into() }
    }
}

/// The content of a message as OpenAI's dialects have it: a string, parts of which each has a text or a picture, or nothing.
///
/// # Errors
/// It is something else, or holds what this server does not take.
pub(in crate::serve) fn content_of(
    content: Option<Value>,
    at: &str,
    pictures: &mut Vec<PictureFile>,
) -> Result<Content, ApiError> {
    let parts = match content {
        None | Some(Value::Null) => return Ok(Content::default()),
        Some(Value::String(text)) => return Ok(Content { text, ..Content::default() }),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(ApiError::field(at, "expected a string or a list of parts")),
    };
    let mut whole = Content::default();
    for (i, part) in parts.iter().enumerate() {
        let at = format!("{at}[{i}]");
        match kind_of(part, &at)? {
            "text" | "input_text" | "output_text" => whole.say(text_of(part, "text", &at)?),
            "refusal" => whole.say(part.get("refusal").and_then(Value::as_str).unwrap_or_default()),
            "image_url" | "input_image" => {
                let url = part.get("image_url").and_then(|url| url.as_str().or_else(|| url.get("url")?.as_str()));
                let url = url.ok_or_else(|| ApiError::field(format!("{at}.image_url"), "expected a data URL"))?;
                pictures.push(PictureFile::of(url, at)?);
                whole.show();
            }
            kind => return Err(unknown_kind(kind, &at)),
        }
    }
    Ok(whole)
}

/// The type of a part.
///
/// # Errors
/// It says none.
pub(in crate::serve) fn kind_of<'a>(part: &'a Value, at: &str) -> Result<&'a str, ApiError> {
    let kind = part.get("type").and_then(Value::as_str);
    kind.ok_or_else(|| ApiError::field(format!("{at}.type"), "expected a string"))
}

/// A text of a part.
///
/// # Errors
/// It has none.
pub(in crate::serve) fn text_of<'a>(part: &'a Value, key: &str, at: &str) -> Result<&'a str, ApiError> {
    let text = part.get(key).and_then(Value::as_str);
    text.ok_or_else(|| ApiError::field(format!("{at}.{key}"), "expected a string"))
}

/// What is said of a part of a type that is not taken.
pub(in crate::serve) fn unknown_kind(kind: &str, at: &str) -> ApiError {
    ApiError::unsupported(at, format!("parts of type {:?} are not understood", short(kind)))
}

/// The beginning of a word of a client.
pub(in crate::serve) fn short(word: &str) -> String {
    word.chars().take(LONGEST_WORD).collect()
}

/// The arguments of a call: an object, or a string of one. What is no object stays as it is, under a name.
pub(in crate::serve) fn arguments_of(arguments: Option<&Value>) -> Map<String, Value> {
    match arguments {
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(arguments)) => arguments,
            _ => Map::from_iter([("arguments".to_owned(), text.as_str().into())]),
        },
        _ => Map::new(),
    }
}

/// A call as templates take it.
pub(in crate::serve) fn call(id: Option<&str>, name: &str, arguments: Map<String, Value>) -> Value {
    let function = json!({"name": name, "arguments": arguments});
    match id {
        Some(id) => json!({"id": id, "type": "function", "function": function}),
        None => json!({"type": "function", "function": function}),
    }
}

/// A turn of the model as templates take it.
pub(in crate::serve) fn assistant(text: String, reasoning: Option<String>, calls: Vec<Value>) -> Value {
    let mut turn = turn("assistant", text);
    if let Some(reasoning) = reasoning {
        turn["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        turn["tool_calls"] = calls.into();
    }
    turn
}

/// What a call gave, as templates take it.
pub(in crate::serve) fn result(call: Option<&str>, content: impl Into<Value>) -> Value {
    let mut result = turn("tool", content);
    if let Some(call) = call {
        result["tool_call_id"] = call.into();
    }
    result
}
