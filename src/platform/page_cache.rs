//! The system's cache of file pages.

use std::path::Path;

/// Has the system forget the pages of a file that has just been written: who reads it first then finds it as on any other
/// day, in memory in the large pages that a reader asks for, not in the small ones in which it was written. Advice only, and
/// nothing where the system knows no such advice.
pub fn forget(path: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(file) = std::fs::File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}
