//! `--schema`: the file of a JSON schema, and the grammar that answers keep to.

use anyhow::{Context as _, anyhow};
use qwen_edge::constrain::{Grammar, SharedVocabulary, Strictness, check};
use serde_json::Value;
use std::path::{Path, PathBuf};

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
