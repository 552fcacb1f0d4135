//! `POST /tokenize`, `/detokenize` and `/apply-template`: from texts and messages to tokens, and back.

use crate::serve::ask::continuation;
use crate::serve::ask::fields::{object, read};
use crate::serve::error::ApiError;
use crate::serve::openai::chat;
use crate::serve::served::Served;
use crate::tokenizer::Special;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Tokenize {
    content: Option<String>,
    /// There is no token that begins a text, so that this changes nothing.
    #[serde(rename = "add_special")]
    _add_special: Option<bool>,
    parse_special: Option<bool>,
    with_pieces: Option<bool>,
}

/// The tokens of a text.
///
/// # Errors
/// The body makes no sense.
pub(in crate::serve) fn tokenize(body: Vec<u8>, served: &Served) -> Result<Value, ApiError> {
    let Tokenize { content, parse_special, with_pieces, .. } = read(object(body)?)?;
    let content = content.ok_or_else(|| ApiError::field("content", "expected a string"))?;
    let special = if parse_special == Some(false) { Special::None } else { Special::Parse };
    let ids = served.tokenizer.encode(&content, special);
    if with_pieces != Some(true) {
        return Ok(json!({"tokens": ids}));
    }
    let piece = |&id: &u32| {
        let bytes = served.tokenizer.token_bytes(id);
        let piece = String::from_utf8(bytes).map_or_else(|error| json!(error.as_bytes()), Value::from);
        json!({"id": id, "piece": piece})
    };
    Ok(json!({"tokens": ids.iter().map(piece).collect::<Vec<_>>()}))
}

#[derive(Deserialize)]
struct Detokenize {
    tokens: Option<Vec<Value>>,
}

/// The text of tokens; what is not UTF-8 of it is replaced.
///
/// # Errors
/// The body makes no sense.
pub(in crate::serve) fn detokenize(body: Vec<u8>, served: &Served) -> Result<Value, ApiError> {
    let Detokenize { tokens } = read(object(body)?)?;
    let tokens = tokens.ok_or_else(|| ApiError::field("tokens", "expected the numbers of tokens"))?;
    let ids = continuation::tokens("tokens", &tokens, served)?;
    Ok(json!({"content": served.tokenizer.decode(&ids)}))
}

/// The prompt that a chat's messages become.
///
/// # Errors
/// The body makes no sense.
pub(in crate::serve) fn apply_template(body: Vec<u8>, served: &Served) -> Result<Value, ApiError> {
    Ok(json!({"prompt": served.tokenizer.decode(&chat::prompt(body, served)?)}))
}
