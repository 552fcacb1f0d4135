//! Disks: the room on them, and who may write.

use std::io;
use std::path::Path;

/// Bytes that this user can still write where `path` is or is to be; `None` where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    free(nearest(path)?)
}

/// Whether this user can make files in a folder, which is there or is to be; nothing is made.
///
/// # Errors
/// Why not.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    let Some(there) = nearest(folder) else { return Ok(()) };
    if there.is_dir() { access(there) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// What there is of a path: what does not exist yet will be in there.
fn nearest(path: &Path) -> Option<&Path> {
    let there = path.ancestors().find(|path| path.as_os_str().is_empty() || path.exists())?;
    Some(if there.as_os_str().is_empty() { Path::new(".") } else { there })
}

#[cfg(unix)]
fn access(folder: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(unix))]
fn access(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn free(path: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(path).ok()?;
    facts.f_bavail.checked_mul(facts.f_frsize)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}
