//! The fields of a body: read by type, unknown ones ignored, null as absent.

use super::sampling::Sampling;
use crate::serve::error::ApiError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The body of a request as an object.
///
/// # Errors
/// It is none.
pub(in crate::serve) fn object(body: Vec<u8>) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(&body).map_err(|error| ApiError::json(format!("no JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(ApiError::json("expected an object")) }
}

/// The fields of a request.
///
/// # Errors
/// One has another type than it may have.
pub(in crate::serve) fn read<'de, T: Deserialize<'de>>(
    body: impl Deserializer<'de, Error = serde_json::Error>,
) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(body).map_err(|error| match error.path().to_string() {
        path if path == "." => ApiError::invalid(error.inner().to_string()),
        path => ApiError::field(path, error.inner().to_string()),
    })
}

/// What a body says of sampling, which is checked, and the fields of its dialect.
///
/// # Errors
/// It is no object, or a field has another type or value than it may have.
pub(in crate::serve) fn fields<T: DeserializeOwned>(body: Vec<u8>) -> Result<(Sampling, T), ApiError> {
    let body = object(body)?;
    let sampling: Sampling = read(&body)?;
    sampling.check()?;
    let own = read(body)?;
    Ok((sampling, own))
}
