//! When something is tried again, and how long is waited before.

use super::connection::Head;
use super::error::FetchError;
use std::time::Duration;

/// Tries in a row of which none got any further.
pub const TRIES: u32 = 6;

/// The longest that a server may ask to be left alone; what takes longer is for the user to decide.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long to wait before a try; `None` where there is to be no other. `tried` counts those in a row that failed, this
/// one among them; `patience` is how long nothing may come of a connection.
pub fn pause(error: &FetchError, tried: u32, patience: Duration) -> Option<Duration> {
    if !error.may_pass() || tried >= TRIES {
        return None;
    }
    match error {
        FetchError::Status { retry_after: Some(wait), .. } => Some(*wait).filter(|wait| *wait <= LONGEST_WAIT),
        FetchError::Status { .. } => Some((patience / 10) * (1 << tried.saturating_sub(1))),
        // A connection that was cut is taken up at once.
        _ if tried <= 1 => Some(Duration::ZERO),
        _ => Some((patience / 40) * (1 << tried)),
    }
}

/// How long the head of an answer asks to wait: in seconds of `Retry-After`, or until the next window of `RateLimit`.
pub fn asked_for(head: &Head) -> Option<Duration> {
    let after = head.get("retry-after").and_then(|value| value.trim().parse().ok());
    let window = || head.get("ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok());
    after.or_else(window).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<u64>) -> FetchError {
        let retry_after = retry_after.map(Duration::from_secs);
        FetchError::Status { host: String::new(), status, code: None, message: String::new(), retry_after }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_a_server_is_left_alone_as_it_asks() {
        let pause = |error: &FetchError, tried| pause(error, tried, Duration::from_secs(10));
        assert_eq!(pause(&status(429, Some(7)), 1), Some(Duration::from_secs(7)));
        assert_eq!(pause(&status(503, None), 3), Some(Duration::from_secs(4)));
        for (error, tried) in
            [(status(404, None), 1), (status(403, None), 1), (status(429, Some(3600)), 1), (status(500, None), 6)]
        {
            assert_eq!(pause(&error, tried), None, "{error}");
        }
    }
}
