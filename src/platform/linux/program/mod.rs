//! What a program asks of Linux.

pub(crate) mod standard_input;

pub(crate) use crate::platform::unix::{console, run_with_stack, signals, terminal};

/// Opens an address in the user's browser.
pub(crate) const BROWSER: &str = "xdg-open";
