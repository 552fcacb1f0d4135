//! A terminal that lines are read from: its keys between two lines, and standard output beside it.

use crate::platform::system::program::terminal;
use std::fs::File;
use std::io;
use std::sync::OnceLock;

/// Whether the terminal understands escape sequences; set once.
static STEERABLE: OnceLock<bool> = OnceLock::new();

/// Makes the terminal show UTF-8 and understand escape sequences, where it does not by itself.
pub fn prepare() {
    let _ = STEERABLE.get_or_init(terminal::prepare);
}

/// Whether the terminal understands escape sequences: for dim text and for lines that are drawn over.
pub fn is_steerable() -> bool {
    *STEERABLE.get_or_init(terminal::prepare)
}

/// Where standard output is no terminal, takes it for the caller, and lets what else is written to it go to the terminal
/// that standard input comes from. `None` where it is one, and on systems that cannot do that.
///
/// # Errors
/// What the system said.
pub fn take_stdout() -> io::Result<Option<File>> {
    terminal::take_stdout()
}

/// Standard input while nobody edits a line on it: it is seen when a key is pressed, keys are not shown, and none sends a
/// signal. What was pressed is there for who edits the next line; then this is dropped, and the terminal is as it was.
pub struct Keys(terminal::Keys);

impl Keys {
    /// Looks at keys from now on; `None` where standard input is no terminal.
    pub fn watch() -> Option<Keys> {
        terminal::Keys::watch().map(Keys)
    }

    /// Whether a key was pressed.
    pub fn is_pressed(&self) -> bool {
        self.0.is_pressed()
    }
}
