//! The time of day, as answers tell it.

use crate::chat::time::strftime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    since_1970().as_secs()
}

/// A time since 1970 as RFC 3339 has it: 2026-11-27T23:00:00.000000Z.
pub(super) fn rfc3339(time: Duration) -> String {
    strftime(time, "%Y-%m-%dT%H:%M:%S.%fZ")
}
