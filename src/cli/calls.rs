//! Calls that an answer makes, as results have them.

use anyhow::anyhow;
use qwen_edge::chat::calls::Call;
use qwen_edge::chat::offer::{Function, Offer};
use qwen_edge::constrain::{Grammar, SharedVocabulary};
use serde_json::{Value, json};
use std::sync::Arc;

/// What calls keep to. Of functions that are too many or too much work it is nothing.
///
/// # Errors
/// No answer of the model can be constrained.
pub(super) fn grammar(offer: &Offer, vocabulary: &SharedVocabulary) -> anyhow::Result<Option<Arc<Grammar>>> {
    let vocabulary = vocabulary.get().map_err(|error| anyhow!(error))?;
    let functions: Vec<&Function> = offer.functions().iter().collect();
    Ok(Grammar::of_calls(&functions, &vocabulary).ok().map(Arc::new))
}

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
