//! Errors as clients of Anthropic's API expect them.

use crate::serve::error::ApiError;
use serde_json::{Value, json};

/// The status of a server that has too much to do.
const OVERLOADED: u16 = 529;

/// The status of a response.
pub(in crate::serve) fn status(error: &ApiError) -> u16 {
    if error.code == Some("queue_full") { OVERLOADED } else { error.status }
}

/// What it says.
pub(in crate::serve) fn to_json(error: &ApiError, request_id: Option<&str>) -> Value {
    let kind = match status(error) {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        OVERLOADED => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    let mut whole = json!({"type": "error", "error": {"type": kind, "message": error.message}});
    if let Some(id) = request_id {
        whole["request_id"] = id.into();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_words_are_those_of_the_api() {
        for (error, code, kind) in [
            (ApiError::field("max_tokens", "expected one"), 400, "invalid_request_error"),
            (ApiError::key(), 401, "authentication_error"),
            (ApiError::forbidden(""), 403, "permission_error"),
            (ApiError::not_found(""), 404, "not_found_error"),
            (ApiError::method("POST"), 405, "invalid_request_error"),
            (ApiError::too_large(7), 413, "request_too_large"),
            (ApiError::queue_full(1), 529, "overloaded_error"),
            (ApiError::server(""), 500, "api_error"),
            (ApiError::unavailable(""), 503, "api_error"),
        ] {
            let said = to_json(&error, Some("req_1"));
            assert_eq!((status(&error), &said["error"]["type"]), (code, &json!(kind)), "{error:?}");
            assert_eq!((&said["type"], &said["request_id"]), (&json!("error"), &json!("req_1")));
            assert_eq!(said["error"]["message"], *error.message);
        }
    }
}
