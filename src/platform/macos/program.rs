//! What a program asks of macOS.

pub(crate) use crate::platform::unix::{console, run_with_stack, signals, standard_input, terminal};

/// Opens an address in the user's browser.
pub(crate) const BROWSER: &str = "open";
