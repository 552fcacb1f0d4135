//! Mapped files in the words that Unix systems have in common.
#![allow(unsafe_code)]

use memmap2::{Advice, Mmap, MmapMut};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

pub(crate) const LOCKING: &str = "see ulimit -l";

pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub(crate) fn prepare(_: &Mmap) {}

pub(crate) fn prepare_copy(_: &MmapMut) {}

pub(crate) fn will_need(map: &Mmap, _: &File, range: Range<usize>) {
    let _ = map.advise_range(Advice::WillNeed, range.start, range.len());
}

#[cfg(not(target_os = "macos"))]
pub(crate) fn load(_: &Mmap, _: &File, _: Range<usize>) -> bool {
    false
}

pub(crate) fn small_pages(_: &Mmap, _: Range<usize>) {}

pub(crate) fn random(map: &Mmap, range: Range<usize>) {
    let _ = map.advise_range(Advice::Random, range.start, range.len());
}

pub(crate) fn lock(map: &Mmap) -> io::Result<()> {
    map.lock()
}

/// A hint that the pages may go first.
pub(crate) fn evict(map: &Mmap, range: Range<usize>) {
    // SAFETY: the mapping is read-only and backed by a file, so there is no private copy to lose.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
}

pub(crate) fn uncache(_: &File, _: Range<usize>) {}

pub(crate) const DROPS_PAGES: bool = false;

pub(crate) fn open_direct(_: &File) -> Option<File> {
    None
}

pub(crate) fn reads_at_random(_: &File) {}
