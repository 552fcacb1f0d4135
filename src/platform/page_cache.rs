//! The system's cache of file pages.

use super::system;
use std::path::Path;

/// Has the system forget the pages of a file that has just been written: who reads it first then finds it as on any other
/// day, in memory in the large pages that a reader asks for, not in the small ones in which it was written. Advice only, and
/// nothing where the system knows no such advice.
pub fn forget(path: &Path) {
    system::page_cache::forget(path);
}
