//! The user's web browser.

use std::io;
use std::process::{Command, Stdio};

/// What opens an address on this system.
#[cfg(target_os = "macos")]
const OPENER: &str = "open";
#[cfg(target_os = "windows")]
const OPENER: &str = "explorer";
#[cfg(not(any(target_os = "macos", target_os = "windows")))]
const OPENER: &str = "xdg-open";

/// Opens an address in the user's browser, which may take its time; nobody waits for it.
///
/// # Errors
/// The system has nothing to open one with.
pub fn open(address: &str) -> io::Result<()> {
    let mut command = Command::new(OPENER);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{OPENER}: {error}"));
    let mut child = command.spawn().map_err(named)?;
    // Somebody has to take note that it has ended.
    std::thread::Builder::new().name("browser".to_owned()).spawn(move || child.wait())?;
    Ok(())
}
