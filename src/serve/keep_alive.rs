//! How long a model is to stay in memory behind a request, as a client says it.

use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long a model stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(super) enum KeepAlive {
    /// So long behind the last request.
    For(Duration),
    /// As long as the server.
    Forever,
}

impl KeepAlive {
    /// How long nobody may ask for the model before it leaves; `None` if it stays.
    pub fn idle_time(self) -> Option<Duration> {
        match self {
            KeepAlive::For(time) => Some(time),
            KeepAlive::Forever => None,
        }
    }
}

/// Units of a duration, each behind those that it ends with, and their seconds.
const UNITS: [(&str, f64); 8] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];

impl TryFrom<Value> for KeepAlive {
    type Error = String;

    /// A number of seconds, or a duration such as `5m` or `1h30m`; what is below zero is for ever.
    fn try_from(value: Value) -> Result<KeepAlive, String> {
        let seconds = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => seconds_of(text),
            _ => None,
        };
        let seconds = seconds.ok_or("expected seconds, or a duration such as 5m or 1h30m")?;
        if seconds < 0.0 {
            return Ok(KeepAlive::Forever);
        }
        // More than there are is for ever too.
        Ok(Duration::try_from_secs_f64(seconds).map_or(KeepAlive::Forever, KeepAlive::For))
    }
}

/// The seconds of a duration: numbers with units, or one without.
fn seconds_of(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1.0, text),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = |digits: &str| {
        let sound = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        digits.parse::<f64>().ok().filter(|_| sound)
    };
    if let Some(seconds) = number(text) {
        return Some(sign * seconds);
    }
    let (mut sum, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, behind) = rest.split_at(end);
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
        sum += number(digits)? * seconds;
        rest = &behind[unit.len()..];
    }
    (!text.is_empty()).then_some(sign * sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_seconds_or_words() {
        let seconds = |n: f64| KeepAlive::For(Duration::from_secs_f64(n));
        for (value, expected) in [
            (json!(0), seconds(0.0)),
            (json!(300), seconds(300.0)),
            (json!(1.5), seconds(1.5)),
            (json!("5m"), seconds(300.0)),
            (json!("1h30m"), seconds(5400.0)),
            (json!("1.5h"), seconds(5400.0)),
            (json!("250ms"), seconds(0.25)),
            (json!("0"), seconds(0.0)),
            (json!("24h0m0s"), seconds(86_400.0)),
            (json!(-1), KeepAlive::Forever),
            (json!("-1"), KeepAlive::Forever),
            (json!("-1m"), KeepAlive::Forever),
            (json!(1e300), KeepAlive::Forever),
        ] {
            assert_eq!(KeepAlive::try_from(value.clone()), Ok(expected), "{value}");
        }
        for value in [json!(""), json!("-"), json!("m"), json!("5"), json!("5x"), json!("1e9s"), json!(true), json!([])]
        {
            assert_eq!(KeepAlive::try_from(value.clone()).is_ok(), value == "5", "{value}");
        }
    }
}
