//! `--schema`: the file of a JSON schema, and the grammar that answers keep to.

use anyhow::{Context as _, anyhow};
use qwen_edge::constrain::{Grammar, SharedVocabulary, Strictness, check};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A schema whose keywords can all be held.
pub struct SchemaFile {
    path: PathBuf,
    schema: Value,
}

impl SchemaFile {
    /// Reads a schema.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON, or has a keyword that cannot be held.
    pub fn open(path: &Path) -> anyhow::Result<SchemaFile> {
        let read = || -> anyhow::Result<Value> {
            let schema = serde_json::from_slice(&std::fs::read(path)?)?;
            check(&schema, Strictness::Strict)?;
            Ok(schema)
        };
        Ok(SchemaFile { path: path.to_owned(), schema: read().with_context(|| path.display().to_string())? })
    }

    /// The grammar of the schema.
    ///
    /// # Errors
    /// It cannot be held.
    pub fn grammar(&self, vocabulary: &SharedVocabulary) -> anyhow::Result<Grammar> {
        let vocabulary = vocabulary.get().map_err(|error| anyhow!(error))?;
        Grammar::of_schema(&self.schema, Strictness::Strict, &vocabulary)
            .with_context(|| self.path.display().to_string())
    }
}

/// What it took to keep an answer to its schema: `tokens` that were, `ms` for all of them, and of one `median_us` and `worst_us`.
pub fn report(keeping: &[Duration]) -> Value {
    let mut sorted = keeping.to_vec();
    sorted.sort_unstable();
    let us = |time: Option<&Duration>| time.map_or(0.0, |time| (time.as_secs_f64() * 1e7).round() / 10.0);
    let total: Duration = sorted.iter().sum();
    json!({
        "tokens": sorted.len(),
        "ms": (total.as_secs_f64() * 1e5).round() / 100.0,
        "median_us": us(sorted.get(sorted.len() / 2)),
        "worst_us": us(sorted.last()),
    })
}
