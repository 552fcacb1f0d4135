//! Mapped files on macOS.
//!
//! `MADV_DONTNEED` does not drop pages of a file here: the system keeps them until it needs the memory. So no promise on
//! memory is built on [`evict`].

use memmap2::{Advice, Mmap, MmapMut};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

pub(crate) const LOCKING: &str = "see ulimit -l";

/// Bytes of the smallest pages: Intel's. Those of Apple silicon are touched four times.
const PAGE: usize = 4096;

/// Asked for at once.
const STEP: usize = 16 << 20;

pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Mapped files have pages of one size here.
pub(crate) fn prepare(_: &Mmap) {}

pub(crate) fn prepare_copy(_: &MmapMut) {}

pub(crate) fn will_need(map: &Mmap, _: &File, range: Range<usize>) {
    let _ = map.advise_range(Advice::WillNeed, range.start, range.len());
}

/// Asks for a step, then touches it.
pub(crate) fn load(map: &Mmap, file: &File, range: Range<usize>) -> bool {
    for start in range.clone().step_by(STEP) {
        let step = start..range.end.min(start + STEP);
        will_need(map, file, step.clone());
        for page in map[step].chunks(PAGE) {
            std::hint::black_box(page[0]);
        }
    }
    true
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
    let advice = memmap2::UncheckedAdvice::DontNeed;
    let _ = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
}

pub(crate) fn uncache(_: &File, _: Range<usize>) {}

pub(crate) const DROPS_PAGES: bool = false;

pub(crate) fn open_direct(_: &File) -> Option<File> {
    None
}

pub(crate) fn reads_at_random(_: &File) {}
