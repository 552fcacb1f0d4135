//! What the program tells its user beside its output: lines and progress on standard error.
//!
//! Names, paths and errors come from files, so that everything is made [`printable`] here, the one place where it is
//! written.
//!
//! A message that cannot be written (the disk of a log is full, its reader has gone) is no reason to lose the answer,
//! so that failures are ignored here, where `eprintln!` would panic.

use super::printable;
use qwen_edge::platform::program::terminal::is_steerable;
use std::fmt::Arguments;
use std::io::Write;

/// How a message that draws over the line before it begins: with a return, or a return that also clears the line.
const OVERDRAW: [&str; 2] = ["\r\x1b[K", "\r"];

fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a line; its text may have several.
pub(super) fn say(text: Arguments<'_>) {
    write(&printable::lines(&format!("{text}\n")));
}

/// Writes a part of a line. Its format may begin with one of [`OVERDRAW`] and end with a return.
pub(super) fn show(text: Arguments<'_>) {
    let text = text.to_string();
    let over = OVERDRAW.into_iter().find(|over| text.starts_with(over)).unwrap_or_default();
    let text = &text[over.len()..];
    // A console that does not know how to clear a line goes back to its beginning alone.
    let over = if is_steerable() { over } else { &over[..over.len().min(1)] };
    let (text, back) = text.strip_suffix('\r').map_or((text, ""), |text| (text, "\r"));
    write(&format!("{over}{}{back}", printable::lines(text)));
}

/// Writes a part of a line, dim on a terminal.
pub(super) fn show_dim(text: &str, terminal: bool) {
    let text = printable::answer(text);
    write(&if terminal && is_steerable() { format!("\x1b[2m{text}\x1b[0m") } else { text.into_owned() });
}

/// Writes a line, formatted as `println!` does it.
macro_rules! say {
    ($($form:tt)*) => { $crate::cli::message::say(format_args!($($form)*)) };
}

/// Writes without a line's end, formatted as `print!` does it.
macro_rules! show {
    ($($form:tt)*) => { $crate::cli::message::show(format_args!($($form)*)) };
}
