//! What Linux, macOS and other Unix systems have in common.

pub(crate) mod files;
#[cfg(feature = "cli")]
pub(crate) mod console;
#[cfg(feature = "cli")]
pub(crate) mod places;
#[cfg(feature = "cli")]
pub(crate) mod signals;
#[cfg(feature = "cli")]
pub(crate) mod standard_input;
#[cfg(feature = "cli")]
pub(crate) mod terminal;
