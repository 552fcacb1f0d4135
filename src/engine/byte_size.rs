//! A number of bytes as people write and read it.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written `1.6G`, `800M`, `2GiB` or `1500000000`: G is 10⁹, Gi or GiB is 2³⁰.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

/// A text that is no [`ByteSize`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is no size; write for example 1.6G, 800M or 2GiB")]
#[non_exhaustive]
pub struct NotASize {
    /// The text.
    pub text: String,
}

impl FromStr for ByteSize {
    type Err = NotASize;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let wrong = || NotASize { text: s.to_owned() };
        let end = s.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(s.len());
        let (number, unit) = s.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_ascii_lowercase();
        let (prefix, binary) = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('i')) {
            Some(prefix) => (prefix, true),
            None => (unit.strip_suffix('b').unwrap_or(&unit), false),
        };
        let power = ["", "k", "m", "g", "t"].iter().position(|&p| p == prefix).ok_or_else(wrong)?;
        if power == 0 && binary {
            return Err(wrong());
        }
        let bytes = number * if binary { 1024f64 } else { 1000f64 }.powi(power as i32);
        // The cast saturates; nothing has 2⁶⁴ bytes.
        Ok(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0 as f64;
        match self.0 {
            0..1_000_000 => write!(f, "{:.0} kB", n / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.0} MB", n / 1e6),
            _ => write!(f, "{:.2} GB", n / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1.6G", 1_600_000_000),
            ("800M", 800_000_000),
            ("800MB", 800_000_000),
            ("2GiB", 2 << 30),
            ("512Mi", 512 << 20),
            ("64k", 64_000),
            ("123456", 123_456),
            ("12B", 12),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "G", "1.6X", "-1G", "1..2G", "5i", "1.6 GBs", "NaN"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(1_600_000_000).to_string(), "1.60 GB");
        assert_eq!(ByteSize(39_500_000).to_string(), "40 MB");
    }
}
