//! Functions that a client offers, and whether one is to be called.

use super::content::short;
use crate::chat::calls::CallChoice;
use crate::chat::offer::Offer;
use crate::serve::error::ApiError;
use crate::serve::job::CallsAsked;
use crate::serve::random::Names;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Tools that are named as left out, at most.
const MOST_NAMED: usize = 32;

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
    available(choice, offer)
}

/// The choice, if it can be made.
///
/// # Errors
/// What is to be called is not on offer.
pub(in crate::serve) fn available(choice: CallChoice, offer: &Offer) -> Result<CallChoice, ApiError> {
    let wrong = |message: &str| Err(ApiError::field("tool_choice", message));
    match &choice {
        CallChoice::Named(name) if offer.position(name).is_none() => wrong("no function of this name is offered"),
        CallChoice::Any if offer.is_empty() => wrong("no functions are offered"),
        _ => Ok(choice),
    }
}

/// The functions of a list `tools` whose entries are of type `kind` and have their schema in the field `schema`, and the names
/// of entries of other types: tools of a service that this server is not.
///
/// # Errors
/// A function makes no sense.
pub(in crate::serve) fn unwrapped(tools: &[Value], kind: &str, schema: &str) -> Result<(Offer, Vec<String>), ApiError> {
    let (mut functions, mut places, mut ignored) = (Vec::new(), Vec::new(), Vec::new());
    for (place, tool) in tools.iter().enumerate() {
        match tool.get("type") {
            Some(Value::String(other)) if other != kind => ignored.push(short(other)),
            None | Some(Value::Null | Value::String(_)) => {
                let given = |key: &str| tool.get(key).filter(|value| !value.is_null()).cloned();
                let fields = [("name", "name"), ("description", "description"), ("parameters", schema)];
                let fields = fields.into_iter().filter_map(|(key, of)| Some((key.to_owned(), given(of)?)));
                functions.push(json!({"type": "function", "function": fields.collect::<Map<_, _>>()}));
                places.push(place);
            }
            Some(_) => return Err(ApiError::field(format!("tools[{place}].type"), "expected a string")),
        }
    }
    // Where it is in the list as it was sent.
    let at = |at: &str| {
        let (i, field) = at.strip_prefix('[')?.split_once("].function.")?;
        let field = if field == "parameters" { schema } else { field };
        Some(format!("tools[{}].{field}", places.get(i.parse::<usize>().ok()?)?))
    };
    let offer = Offer::of(&functions.into());
    let offer = offer.map_err(|error| ApiError::field(at(&error.at).unwrap_or("tools".to_owned()), error.problem));
    Ok((offer?, ignored))
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

/// The header that names tools which were left out.
pub(in crate::serve) fn ignored_header(ignored: &[String]) -> Vec<(&'static str, String)> {
    let mut kinds: Vec<&str> = Vec::new();
    for kind in ignored.iter().map(|kind| &**kind).filter(|kind| kind.bytes().all(|byte| byte.is_ascii_graphic())) {
        if !kinds.contains(&kind) && kinds.len() < MOST_NAMED {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() { Vec::new() } else { vec![("x-qwen-edge-ignored", kinds.join(", "))] }
}
