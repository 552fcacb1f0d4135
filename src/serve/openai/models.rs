//! `GET /v1/models` and `/v1/models/{id}`.

use crate::serve::error::ApiError;
use crate::serve::shared::Served;
use serde_json::{Value, json};

/// All models: the one there is.
pub(in crate::serve) fn list(served: &Served) -> Value {
    json!({"object": "list", "data": [model(served)]})
}

/// The model of that name.
///
/// # Errors
/// There is none.
pub(in crate::serve) fn one(served: &Served, id: &str) -> Result<Value, ApiError> {
    if id == served.about.id { Ok(model(served)) } else { Err(ApiError::not_found("no such model: see /v1/models")) }
}

fn model(served: &Served) -> Value {
    let about = &served.about;
    let input: &[&str] = if served.pictures.is_some() { &["text", "image"] } else { &["text"] };
    json!({
        "id": about.id,
        "object": "model",
        "created": about.created,
        "owned_by": "qwen-edge",
        "meta": {
            "n_vocab": about.n_vocab, "n_ctx": served.n_ctx, "n_ctx_train": about.n_ctx_train, "size": about.size,
        },
        "architecture": {"input_modalities": input, "output_modalities": ["text"]},
    })
}
