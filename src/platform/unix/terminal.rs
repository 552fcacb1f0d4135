//! Terminals of Unix systems.

use std::fs::File;
use std::io::{self, IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};

pub(crate) fn take_stdout() -> io::Result<Option<File>> {
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

pub(crate) struct Keys {
    before: rustix::termios::Termios,
}

impl Keys {
    pub(crate) fn watch() -> Option<Keys> {
        use rustix::termios::{InputModes, LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok()?;
        let mut modes = before.clone();
        modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        modes.input_modes &= !(InputModes::ICRNL | InputModes::IXON);
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).ok()?;
        Some(Keys { before })
    }

    pub(crate) fn is_pressed(&self) -> bool {
        rustix::io::ioctl_fionread(io::stdin()).is_ok_and(|n| n > 0)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.before);
    }
}

/// Whether text may steer the terminal that standard error goes to: every terminal of these systems understands that.
pub(crate) fn prepare() -> bool {
    true
}
