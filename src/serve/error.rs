//! What is wrong with a request, or why it cannot be served: a status and the body that clients of OpenAI's API expect.

use super::http::{LARGEST_HEADER, MOST_HEADERS};
use serde_json::{Value, json};

/// Characters of a message, or of the name of a field, at most: both may repeat what a client sent.
const LONGEST_WORDS: usize = 1000;

/// Why there is no answer, or no more of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct ApiError {
    /// Status of HTTP.
    pub status: u16,
    /// OpenAI's word for the kind.
    kind: &'static str,
    /// What is wrong, in a sentence.
    pub message: Box<str>,
    /// The field of the request that it is about.
    param: Option<Box<str>>,
    /// OpenAI's word for what is wrong, where there is one.
    pub code: Option<&'static str>,
    /// Tokens of a prompt that is too long, and of the context.
    lengths: Option<(usize, usize)>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
    /// Methods that would have done.
    pub allow: Option<&'static str>,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> ApiError {
        let message = shortened(message.into()).into();
        let (param, code, lengths, retry_after, allow) = (None, None, None, None, None);
        ApiError { status, kind, message, param, code, lengths, retry_after, allow }
    }

    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "invalid_request_error", message)
    }

    /// A field of another type or range than it may have.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        let param = shortened(param.into());
        let message = format!("{param}: {}", shortened(message.into()));
        ApiError { param: Some(param.into()), ..ApiError::invalid(message) }
    }

    /// A field that asks for what this server does not do.
    pub fn unsupported(param: &str, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("unsupported_value"), ..ApiError::field(param, message) }
    }

    /// A schema that answers cannot be held to.
    pub fn schema(param: &str, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("invalid_schema"), ..ApiError::field(param, message) }
    }

    /// A body that is no JSON.
    pub fn json(message: impl Into<String>) -> ApiError {
        ApiError { code: Some("invalid_json"), ..ApiError::invalid(message) }
    }

    /// A prompt that leaves no room for an answer.
    pub fn too_long(param: &str, n_prompt: usize, n_ctx: usize) -> ApiError {
        ApiError::length(param, "", n_prompt, n_ctx)
    }

    /// A prompt so long that its tokens were not counted: there are `least` or more.
    pub fn far_too_long(param: &str, least: usize, n_ctx: usize) -> ApiError {
        ApiError::length(param, "at least ", least, n_ctx)
    }

    fn length(param: &str, about: &str, n_prompt: usize, n_ctx: usize) -> ApiError {
        let message = format!("the prompt has {about}{n_prompt} tokens, and a conversation holds {n_ctx}");
        ApiError {
            param: Some(param.into()),
            code: Some("context_length_exceeded"),
            lengths: Some((n_prompt, n_ctx)),
            ..ApiError::invalid(message)
        }
    }

    /// No key, or a wrong one.
    pub fn key() -> ApiError {
        let message = "this server wants its key: Authorization: Bearer KEY, or x-api-key: KEY";
        ApiError { code: Some("invalid_api_key"), ..ApiError::new(401, "authentication_error", message) }
    }

    /// From a place that may not ask.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(403, "permission_error", message)
    }

    /// Nothing is there.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(404, "not_found_error", message)
    }

    /// A model that this server does not have.
    pub fn model(message: impl Into<String>) -> ApiError {
        ApiError { param: Some("model".into()), code: Some("model_not_found"), ..ApiError::not_found(message) }
    }

    /// Something is there, for other methods.
    pub fn method(allow: &'static str) -> ApiError {
        ApiError {
            allow: Some(allow),
            ..ApiError::new(405, "invalid_request_error", format!("another method: expected {allow}"))
        }
    }

    /// A body that does not come.
    pub fn too_slow() -> ApiError {
        ApiError::new(408, "invalid_request_error", "the body came too slowly")
    }

    /// A body that is too large.
    pub fn too_large(most: usize) -> ApiError {
        ApiError::new(413, "invalid_request_error", format!("the body is larger than {most} bytes"))
    }

    /// A header that is too large.
    pub fn large_header() -> ApiError {
        let message = format!("the header has more than {MOST_HEADERS} fields or {LARGEST_HEADER} bytes");
        ApiError::new(431, "invalid_request_error", message)
    }

    /// A body that would take too much memory once it is parsed.
    pub fn too_dear(most: usize) -> ApiError {
        let message =
            format!("the values in the body would take more than {most} bytes of memory: send less of them, or a text");
        ApiError::new(413, "invalid_request_error", message)
    }

    /// A body of another kind.
    pub fn media_type() -> ApiError {
        ApiError::new(415, "invalid_request_error", "expected a body with content-type: application/json")
    }

    /// Too many are waiting.
    pub fn queue_full(retry_after: u32) -> ApiError {
        ApiError {
            code: Some("queue_full"),
            retry_after: Some(retry_after),
            ..ApiError::new(429, "rate_limit_error", "too many requests are waiting")
        }
    }

    /// A fault of this program.
    pub fn server(message: impl Into<String>) -> ApiError {
        ApiError::new(500, "server_error", message)
    }

    /// What this program will not do.
    pub fn not_implemented(message: impl Into<String>) -> ApiError {
        ApiError::new(501, "invalid_request_error", message)
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError { retry_after: Some(1), ..ApiError::new(503, "unavailable_error", message) }
    }

    /// The body: all four keys are always there.
    pub fn to_json(&self) -> Value {
        let mut error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        if let Some((n_prompt, n_ctx)) = self.lengths {
            error["n_prompt_tokens"] = n_prompt.into();
            error["n_ctx"] = n_ctx.into();
        }
        json!({ "error": error })
    }
}

/// The beginning of a text that is too long.
pub(super) fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_WORDS) {
        text.truncate(end);
        text.push_str("...");
        text.shrink_to_fit();
    }
    text
}
