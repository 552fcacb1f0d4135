//! The user's web browser.

use crate::platform::system::program::BROWSER;
use std::io;
use std::process::{Command, Stdio};

/// Opens an address in the user's browser, which may take its time; nobody waits for it.
///
/// # Errors
/// The system has nothing to open one with.
pub fn open(address: &str) -> io::Result<()> {
    let mut command = Command::new(BROWSER);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{BROWSER}: {error}"));
    let mut child = command.spawn().map_err(named)?;
    // Somebody has to take note that it has ended.
    std::thread::Builder::new().name("browser".to_owned()).spawn(move || child.wait())?;
    Ok(())
}
