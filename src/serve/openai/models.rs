//! `GET /v1/models` and `/v1/models/{id}`.

use crate::serve::error::ApiError;
use crate::serve::shared::ModelCard;
use serde_json::{Value, json};

/// All models: the one there is.
pub(in crate::serve) fn list(about: &ModelCard) -> Value {
    json!({"object": "list", "data": [model(about)]})
}

/// The model of that name.
///
/// # Errors
/// There is none.
pub(in crate::serve) fn one(about: &ModelCard, id: &str) -> Result<Value, ApiError> {
    if id == about.id { Ok(model(about)) } else { Err(ApiError::not_found("no such model: see /v1/models")) }
}

fn model(about: &ModelCard) -> Value {
    json!({
        "id": about.id,
        "object": "model",
        "created": about.created,
        "owned_by": "qwen-edge",
        "meta": {"n_vocab": about.n_vocab, "n_ctx_train": about.n_ctx_train, "size": about.size},
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    })
}
