//! `GET /slots`: what each seat of a model does, without a word of what is said there.

use crate::serve::error::ApiError;
use crate::serve::models::Listed;
use crate::serve::slots::Slot;
use serde_json::Value;

/// The seats of a model; none where it is not loaded.
///
/// # Errors
/// All are taken, and the client `must` have one.
pub(in crate::serve) fn slots(listed: &Listed, must: bool) -> Result<Value, ApiError> {
    let Some(served) = &listed.served else { return Ok(Value::Array(Vec::new())) };
    if must && served.slots.iter().all(Slot::is_busy) {
        return Err(ApiError::unavailable("no slot is free"));
    }
    Ok(served.slots.iter().enumerate().map(|(i, slot)| slot.to_json(i, served.n_ctx)).collect())
}
