//! Functions that a client offers, and whether one is to be called, as this API has them.

use crate::chat::calls::CallChoice;
use crate::chat::offer::Offer;
use crate::serve::ask::tools::{asked, available, unwrapped};
use crate::serve::error::ApiError;
use crate::serve::job::CallsAsked;
use serde::Deserialize;
use serde_json::Value;

/// Whether one is to be called.
#[derive(Deserialize)]
pub(super) struct ToolChoice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

/// The calls that an answer may make, if functions are offered, and the names of tools that are none.
///
/// # Errors
/// A tool or the choice makes no sense.
pub(super) fn calls(
    tools: &[Value],
    choice: Option<ToolChoice>,
) -> Result<(Option<CallsAsked>, Vec<String>), ApiError> {
    let (offer, ignored) = unwrapped(tools, "custom", "input_schema")?;
    let several = choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use).map(|disabled| !disabled);
    Ok((asked(offer.clone(), chosen(choice, &offer)?, several, "toolu_"), ignored))
}

fn chosen(choice: Option<ToolChoice>, offer: &Offer) -> Result<CallChoice, ApiError> {
    let Some(ToolChoice { kind, name, .. }) = choice else { return Ok(CallChoice::Auto) };
    let choice = match (&*kind, name) {
        ("auto", _) => CallChoice::Auto,
        ("none", _) => CallChoice::None,
        ("any", _) => CallChoice::Any,
        ("tool", Some(name)) => CallChoice::Named(name),
        ("tool", None) => return Err(ApiError::field("tool_choice.name", "expected the name of a tool")),
        _ => return Err(ApiError::field("tool_choice.type", "expected auto, any, tool or none")),
    };
    available(choice, offer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(tools: Value, choice: Value) -> Result<(Option<CallsAsked>, Vec<String>), Value> {
        let choice = serde_json::from_value(choice).unwrap();
        calls(tools.as_array().unwrap(), choice).map_err(|error| error.to_json()["error"]["param"].clone())
    }

    #[test]
    fn tools_are_functions_or_left_out() {
        let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        let tools = json!([
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            {"name": "f", "description": "F.", "input_schema": schema, "cache_control": {"type": "ephemeral"}},
            {"type": "custom", "name": "g", "input_schema": {"type": "object"}},
        ]);
        let choice = json!({"type": "tool", "name": "g", "disable_parallel_tool_use": true});
        let (calls, ignored) = made(tools.clone(), choice).ok().unwrap();
        let calls = calls.unwrap();
        assert_eq!((ignored, calls.several), (vec!["web_search_20250305".to_owned()], false));
        assert_eq!(calls.choice, CallChoice::Named("g".to_owned()));
        let expected =
            json!({"type": "function", "function": {"name": "f", "description": "F.", "parameters": schema}});
        assert_eq!(calls.offer.list()[0], expected);
        for (choice, param) in [
            (json!({"type": "tool", "name": "web_search"}), "tool_choice"),
            (json!({"type": "tool"}), "tool_choice.name"),
            (json!({"type": "some"}), "tool_choice.type"),
        ] {
            assert_eq!(made(tools.clone(), choice).err().unwrap(), param);
        }
        assert_eq!(made(json!([tools[0], {"name": "a b"}]), Value::Null).err().unwrap(), "tools[1].name");
        let wrong = json!([tools[0], {"name": "a", "input_schema": 7}]);
        assert_eq!(made(wrong, Value::Null).err().unwrap(), "tools[1].input_schema");
        assert!(made(json!([tools[0]]), json!({"type": "auto"})).ok().unwrap().0.is_none());
    }
}
