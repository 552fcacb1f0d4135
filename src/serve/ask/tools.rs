//! Functions that a client offers, and whether one is to be called.

use crate::chat::calls::CallChoice;
use crate::chat::offer::Offer;
use crate::serve::error::ApiError;
use crate::serve::job::CallsAsked;
use crate::serve::random::Names;
use serde_json::Value;
use std::sync::Arc;

/// The functions of a list that came in the field `at`.
///
/// # Errors
/// It is no such list.
pub(in crate::serve) fn offer(list: &[Value], at: &str) -> Result<Offer, ApiError> {
    Offer::of(&list.into()).map_err(|error| ApiError::field(format!("{at}{}", error.at), error.problem))
}

/// Whether one is to be called, as OpenAI's dialects say it: `auto`, `none`, `required`, or the function.
///
/// # Errors
/// It is something else, or not on offer.
pub(in crate::serve) fn choice(choice: Option<&Value>, offer: &Offer) -> Result<CallChoice, ApiError> {
    let wrong = |message: &str| Err(ApiError::field("tool_choice", message));
    let choice = match choice {
        None | Some(Value::Null) => CallChoice::Auto,
        Some(Value::String(word)) => match &**word {
            "auto" => CallChoice::Auto,
            "none" => CallChoice::None,
            "required" | "any" => CallChoice::Any,
            _ => return wrong("expected auto, none, required, or a function"),
        },
        Some(Value::Object(choice)) => {
            let inner = choice.get("function").and_then(Value::as_object).unwrap_or(choice);
            match inner.get("name").and_then(Value::as_str) {
                Some(name) => CallChoice::Named(name.to_owned()),
                None => return wrong("expected the name of a function"),
            }
        }
        Some(_) => return wrong("expected auto, none, required, or a function"),
    };
    match &choice {
        CallChoice::Named(name) if offer.position(name).is_none() => wrong("no function of this name is offered"),
        CallChoice::Any if offer.is_empty() => wrong("no functions are offered"),
        _ => Ok(choice),
    }
}

/// The calls that an answer may make; none where nothing is offered. `several` is what the client says of more than one, and
/// `id_prefix` what their ids begin with.
pub(in crate::serve) fn asked(
    offer: Offer,
    choice: CallChoice,
    several: Option<bool>,
    id_prefix: &'static str,
) -> Option<CallsAsked> {
    let several = several.unwrap_or(true);
    (!offer.is_empty()).then(|| CallsAsked { offer: Arc::new(offer), choice, several, names: Names::new(id_prefix) })
}
