//! Windows 10 and newer.
#![allow(unsafe_code)]

pub(crate) mod files;
pub(crate) mod machine;
pub(crate) mod maps;
pub(crate) mod page_cache;
#[cfg(feature = "cli")]
pub(crate) mod places;
#[cfg(feature = "cli")]
pub(crate) mod program;
