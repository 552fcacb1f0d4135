//! What an answer keeps to: a schema that came with the request.

use crate::constrain::{Grammar, SchemaError, SharedVocabulary, Strictness, VocabularyError};
use crate::serve::error::ApiError;
use serde_json::{Value, json};

/// A schema that an answer keeps to.
pub(in crate::serve) struct AnswerForm {
    /// The field that it came in.
    pub at: &'static str,
    pub schema: Value,
    /// Whether it is refused where it cannot be held in full.
    pub is_strict: bool,
}

impl AnswerForm {
    /// The schema that the field `at` should have.
    ///
    /// # Errors
    /// It has none.
    pub fn of_schema(at: &'static str, schema: Option<Value>, is_strict: bool) -> Result<AnswerForm, ApiError> {
        let schema = schema.ok_or_else(|| ApiError::field(at, "is missing"))?;
        Ok(AnswerForm { at, schema, is_strict })
    }

    /// Any object, which the field `at` asks for.
    pub fn of_object(at: &'static str) -> AnswerForm {
        AnswerForm { at, schema: json!({"type": "object"}), is_strict: true }
    }

    /// The grammar of the schema.
    ///
    /// # Errors
    /// It cannot be held.
    pub fn grammar(&self, vocabulary: &SharedVocabulary) -> Result<Grammar, ApiError> {
        let of_server = |error: VocabularyError| ApiError::server(error.to_string());
        let vocabulary = vocabulary.get().map_err(of_server)?;
        let strictness = if self.is_strict { Strictness::Strict } else { Strictness::Lenient };
        Grammar::of_schema(&self.schema, strictness, &vocabulary).map_err(|error| match error {
            SchemaError::Vocabulary(error) => of_server(error),
            SchemaError::NoThread => ApiError::unavailable(error.to_string()),
            error => ApiError::schema(self.at, error.to_string()),
        })
    }
}
