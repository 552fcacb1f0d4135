//! A terminal that lines are read from: its keys between two lines, and standard output beside it.

use std::fs::File;
use std::io;

/// Where standard output is no terminal, takes it for the caller, and lets what else is written to it go to the terminal
/// that standard input comes from. `None` where it is one, and on systems that cannot do that.
///
/// # Errors
/// What the system said.
#[cfg(unix)]
pub fn take_stdout() -> io::Result<Option<File>> {
    use std::io::{IsTerminal, stderr, stdin, stdout};
    use std::os::fd::{AsFd, OwnedFd};

    if stdout().is_terminal() {
        return Ok(None);
    }
    let by_name = rustix::termios::ttyname(stdin(), Vec::new()).ok();
    let by_name = by_name.and_then(|name| File::options().write(true).open(name.to_str().ok()?).ok());
    let terminal: OwnedFd = match by_name {
        Some(file) => file.into(),
        None if stderr().is_terminal() => stderr().as_fd().try_clone_to_owned()?,
        // Most terminals are open for both.
        None => stdin().as_fd().try_clone_to_owned()?,
    };
    let taken = stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(&terminal)?;
    Ok(Some(taken.into()))
}

#[cfg(not(unix))]
#[allow(missing_docs)]
pub fn take_stdout() -> io::Result<Option<File>> {
    Ok(None)
}

/// Standard input while nobody edits a line on it: it is seen when a key is pressed, keys are not shown, and none sends a
/// signal. What was pressed is there for who edits the next line; then this is dropped, and the terminal is as it was.
#[cfg(unix)]
pub struct Keys {
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl Keys {
    /// Looks at keys from now on; `None` where standard input is no terminal.
    pub fn watch() -> Option<Keys> {
        use rustix::termios::{InputModes, LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok()?;
        let mut modes = before.clone();
        modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        modes.input_modes &= !(InputModes::ICRNL | InputModes::IXON);
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).ok()?;
        Some(Keys { before })
    }

    /// Whether a key was pressed.
    pub fn is_pressed(&self) -> bool {
        rustix::io::ioctl_fionread(io::stdin()).is_ok_and(|n| n > 0)
    }
}

#[cfg(unix)]
impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.before);
    }
}

/// Other systems do not tell.
#[cfg(not(unix))]
#[allow(missing_docs)]
pub struct Keys(());

#[cfg(not(unix))]
#[allow(missing_docs)]
impl Keys {
    pub fn watch() -> Option<Keys> {
        None
    }

    pub fn is_pressed(&self) -> bool {
        true
    }
}
