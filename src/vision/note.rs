//! What is worth saying of a picture that was read all the same.

use super::alpha::Alpha;
use std::fmt;

/// One remark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// The file ends too early, or in something else; no pixel is missing.
    NoEnd {
        /// What is missing.
        mark: &'static str,
    },
    /// A checksum over the pixels is wrong.
    Checksum,
    /// The decoder did not find all the pixels, and filled the rest.
    Incomplete {
        /// Rows from the top that are there.
        rows: usize,
        /// Rows the picture has.
        of: usize,
    },
    /// A scan of a progressive picture breaks off.
    Scan,
    /// Some pixels are transparent.
    Transparent(Alpha),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NoEnd { mark } => write!(f, "{mark} is missing, all pixels are there"),
            Note::Checksum => write!(f, "a checksum is wrong, pixels may be damaged"),
            Note::Incomplete { rows, of } => write!(f, "damaged: only the first {rows} of {of} rows are certain"),
            Note::Scan => write!(f, "damaged: a scan breaks off, and it is less sharp than it should be"),
            Note::Transparent(Alpha::White) => write!(f, "transparent pixels laid over white"),
            Note::Transparent(Alpha::Drop) => write!(f, "transparency dropped"),
        }
    }
}
