//! Advice in a file that makes no sense: it is ignored, and the user is told so.
//!
//! A key that changes what is computed is a fact, and a wrong one makes the file unusable. A key that only advises (which
//! token pads, which ends an answer) has something to fall back on, and a wrong one is worth a sentence.

use super::Error;
use std::fmt;

/// Something in a file that is ignored, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// What is ignored, for example a key by its name.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Note {
    /// A note on a key.
    pub fn key(key: &str, why: impl Into<String>) -> Note {
        Note { what: format!("key {key}"), why: why.into() }
    }

    /// A note on a part of a file.
    pub fn part(what: &str, why: impl Into<String>) -> Note {
        Note { what: what.to_owned(), why: why.into() }
    }

    /// A note on a key whose value cannot be read as what it should be.
    pub(super) fn unreadable(key: &str, error: &Error) -> Note {
        match error {
            Error::WrongType { expected, found, .. } => Note::key(key, format!("found {found}, expected {expected}")),
            other => Note::key(key, other.to_string()),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is ignored: {}", self.what, self.why)
    }
}
