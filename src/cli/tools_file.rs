//! A file of functions that a model may call.

use super::text;
use anyhow::{Context as _, anyhow, ensure};
use qwen_edge::chat::offer::Offer;
use serde_json::Value;
use std::path::Path;

/// The functions in a file.
///
/// # Errors
/// If it cannot be read, or holds something else.
pub(super) fn open(path: &Path) -> anyhow::Result<Offer> {
    let read = || -> anyhow::Result<Offer> {
        let list: Value = serde_json::from_str(&text::decode(&std::fs::read(path)?)?)?;
        let offer = Offer::of(&list).map_err(|error| anyhow!("{error}; a file of tools is {FORM}"))?;
        ensure!(!offer.is_empty(), "no functions: a file of tools is {FORM}");
        Ok(offer)
    };
    read().with_context(|| path.display().to_string())
}

const FORM: &str = r#"[{"type": "function", "function": {"name": .., "description": .., "parameters": SCHEMA}}, ..]"#;
