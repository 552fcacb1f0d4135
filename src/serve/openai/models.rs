//! `GET /v1/models` and `/v1/models/{id}`.

use crate::serve::error::ApiError;
use crate::serve::models::{Listed, Models};
use serde_json::{Value, json};

/// All models, loaded or not.
///
/// # Errors
/// The first one is being loaded.
pub(in crate::serve) fn list(models: &Models) -> Result<Value, ApiError> {
    models.check_ready()?;
    let all: Vec<Value> = models.list().iter().map(model).collect();
    Ok(json!({"object": "list", "data": all}))
}

/// The model of that name.
///
/// # Errors
/// There is none, or the first one is being loaded.
pub(in crate::serve) fn one(models: &Models, id: &str) -> Result<Value, ApiError> {
    models.check_ready()?;
    let found = models.list().into_iter().find(|listed| listed.about.id == id);
    found.as_ref().map(model).ok_or_else(|| ApiError::not_found("no such model: see /v1/models"))
}

fn model(Listed { about, served }: &Listed) -> Value {
    let sees = served.as_ref().map_or(about.sees, |served| served.pictures.is_some());
    let input: &[&str] = if sees { &["text", "image"] } else { &["text"] };
    let mut meta = json!({"n_vocab": about.n_vocab, "n_ctx_train": about.n_ctx_train, "size": about.size});
    if let Some(served) = served {
        meta["n_ctx"] = served.n_ctx.into();
    }
    json!({
        "id": about.id,
        "object": "model",
        "created": about.created,
        "owned_by": "qwen-edge",
        // As llama-server tells of the models that it starts on demand.
        "status": {"value": if served.is_some() { "loaded" } else { "unloaded" }},
        "meta": meta,
        "architecture": {"input_modalities": input, "output_modalities": ["text"]},
    })
}
