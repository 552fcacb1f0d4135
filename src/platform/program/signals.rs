//! Signals that ask a program to end: Ctrl-C (SIGINT) and SIGTERM; on Windows Ctrl-C and Ctrl-Break, and the console's
//! closing, a log-off or a shutdown.
//!
//! A thread of its own waits for them, so that they work whatever the program is busy with: reading weights, looking at a
//! picture, waiting for a line. It sleeps until one arrives.

use crate::platform::system;

/// What arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Ctrl-C, or SIGINT otherwise sent.
    Interrupt,
    /// SIGTERM, or that the console closes.
    Terminate,
}

/// What to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// Nothing more.
    Stay,
    /// Restore the terminal, remove unfinished files and let the signal end the process, so that its parent sees which one
    /// it was.
    Leave,
}

/// Starts to listen, and asks `react` about every signal. Where that fails, signals end the program as they would any other.
pub fn listen(react: impl Fn(Signal) -> Reaction + Send + Sync + 'static) {
    system::program::signals::listen(react);
}
