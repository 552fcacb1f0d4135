//! What all answers of this API have in common.

use crate::serve::event::Reason;
use crate::serve::reply::Usage;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// Writes an event of a stream.
pub(in crate::serve) fn write_event(value: &Value, out: &mut String) {
    let _ = write!(out, "data: {value}\n\n");
}

/// OpenAI's word for why an answer ended.
pub(super) fn finish_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop | Reason::StopString(_) => "stop",
        Reason::Calls => "tool_calls",
        Reason::Length | Reason::ContextFull | Reason::Repetition | Reason::Shutdown => "length",
    }
}

/// Tokens.
pub(super) fn usage_json(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.n_prompt,
        "completion_tokens": usage.n_completion,
        "total_tokens": usage.n_prompt + usage.n_completion,
        "prompt_tokens_details": {"cached_tokens": usage.n_cached},
        "completion_tokens_details": {"reasoning_tokens": usage.n_reasoning},
    })
}

/// As llama-server says it.
pub(in crate::serve) fn timings(usage: &Usage) -> Value {
    let rate = |n: usize, time: Duration| if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() };
    let n_read = usage.n_prompt - usage.n_cached;
    let mut timings = json!({
        "cache_n": usage.n_cached,
        "prompt_n": n_read,
        "prompt_ms": millis(usage.prefill),
        "prompt_per_second": rate(n_read, usage.prefill),
        "predicted_n": usage.n_completion,
        "predicted_ms": millis(usage.decode),
        "predicted_per_second": rate(usage.n_completion.saturating_sub(1), usage.decode),
    });
    if let Some(reuse) = usage.reuse {
        timings["cache_reason"] = reuse.to_string().into();
    }
    if usage.n_drafted > 0 {
        timings["draft_n"] = usage.n_drafted.into();
        timings["draft_n_accepted"] = usage.n_accepted.into();
    }
    timings
}

/// Milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
