//! Server-sent events.

use serde_json::Value;
use std::fmt::Write;

/// The type of such a stream.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";

/// Says that the stream lives, without an event.
pub(super) const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// Writes an event that has a name, which is also the `type` in what it says.
pub(super) fn write_named(value: &Value, out: &mut String) {
    let name = value["type"].as_str().unwrap_or_default();
    let _ = write!(out, "event: {name}\ndata: {value}\n\n");
}
