//! What the program tells its user beside its output: lines and progress on standard error.
//!
//! A message that cannot be written (the disk of a log is full, its reader has gone) is no reason to lose the answer, so
//! that failures are ignored here, where `eprintln!` would panic.

use std::fmt::Arguments;
use std::io::Write;

/// Writes `text` as it is.
pub(super) fn write(text: Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

/// Writes a line, formatted as `println!` does it.
macro_rules! say {
    ($($form:tt)*) => { $crate::cli::message::write(format_args!("{}\n", format_args!($($form)*))) };
}

/// Writes without a line's end, formatted as `print!` does it.
macro_rules! show {
    ($($form:tt)*) => { $crate::cli::message::write(format_args!($($form)*)) };
}
