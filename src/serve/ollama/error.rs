//! Errors as clients of Ollama's API expect them.

use crate::serve::error::ApiError;
use serde_json::{Value, json};

/// What a response says, or the last line of a stream.
pub(in crate::serve) fn to_json(error: &ApiError) -> Value {
    json!({"error": error.message})
}
