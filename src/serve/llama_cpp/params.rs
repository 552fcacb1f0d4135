//! How tokens are chosen, in llama-server's words.

use crate::sampler::Settings;
use serde_json::{Map, Value, json};

/// The settings.
pub(super) fn params(settings: &Settings) -> Map<String, Value> {
    let Settings { temperature, top_k, top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty } =
        settings;
    let pairs = [
        ("temperature", json!(temperature)),
        ("top_k", json!(top_k)),
        ("top_p", json!(top_p)),
        ("min_p", json!(min_p)),
        ("presence_penalty", json!(presence_penalty)),
        ("frequency_penalty", json!(frequency_penalty)),
        ("repeat_penalty", json!(repetition_penalty)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
