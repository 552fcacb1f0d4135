//! macOS.
#![allow(unsafe_code)]

pub(crate) mod machine;
pub(crate) mod maps;
#[cfg(feature = "cli")]
pub(crate) mod places;
#[cfg(feature = "cli")]
pub(crate) mod program;

pub(crate) use super::unix::{files, page_cache};
