//! Room on disks.

use std::path::Path;

/// Bytes that this user can still write where `path` is or is to be; `None` where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    // What does not exist yet will be where its folder is.
    let there = path.ancestors().find(|path| path.exists())?;
    free(if there.as_os_str().is_empty() { Path::new(".") } else { there })
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
