//! Calls that an answer makes, as results have them.

use qwen_edge::chat::calls::Call;
use serde_json::{Value, json};

/// The calls of an answer that came to their end.
pub(super) fn report(calls: &[Call]) -> Value {
    let whole = calls.iter().filter(|call| call.is_whole);
    whole.enumerate().map(|(i, call)| report_one(i, call)).collect()
}

/// The call that has so many before it.
pub(super) fn report_one(n_before: usize, call: &Call) -> Value {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    json!({"id": format!("call_{}", n_before + 1), "name": call.name, "arguments": arguments})
}
