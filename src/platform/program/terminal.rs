//! Standard output beside a terminal that lines are read from.

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
