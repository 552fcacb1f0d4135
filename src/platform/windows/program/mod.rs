//! What a program asks of Windows.

pub(crate) mod console;
pub(crate) mod signals;
pub(crate) mod standard_input;
pub(crate) mod terminal;

/// Opens an address in the user's browser.
pub(crate) const BROWSER: &str = "explorer";
