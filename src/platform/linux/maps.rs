//! Mapped files on Linux.
#![allow(unsafe_code)]

use memmap2::{Advice, Mmap, MmapMut, UncheckedAdvice};
use rustix::fs::{OFlags, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Asked for at once: Linux reads no more of a request than its read-ahead window, which is this by default.
const STEP: usize = 128 << 10;

/// Looked for in the page cache at once, to save the steps.
const BLOCK: usize = 16 * STEP;

pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// A token reads all weights: with pages of 2 MiB, where file and system have them, fewer addresses are looked up.
pub(crate) fn prepare(map: &Mmap) {
    let _ = map.advise(Advice::HugePage);
}

/// The same for a copy in memory.
pub(crate) fn prepare_copy(copy: &MmapMut) {
    let _ = copy.advise(Advice::HugePage);
}

pub(crate) fn will_need(map: &Mmap, file: &File, range: Range<usize>) {
    for block in range.clone().step_by(BLOCK) {
        let len = BLOCK.min(range.end - block);
        if !is_cached(file, block + len / 2) {
            for start in (block..block + len).step_by(STEP) {
                let _ = map.advise_range(Advice::WillNeed, start, STEP.min(range.end - start));
            }
        }
    }
}

/// Whether a byte can be had without reading from the disk; false where that cannot be asked.
fn is_cached(file: &File, at: usize) -> bool {
    // Older versions of Android end an app that makes this call.
    if is_android() {
        return false;
    }
    let mut byte = [0];
    preadv2(file, &mut [io::IoSliceMut::new(&mut byte)], at as u64, ReadWriteFlags::NOWAIT) == Ok(1)
}

/// Whether the system is Android, for which a static program for Linux is not built but on which it runs, as in Termux.
fn is_android() -> bool {
    static IS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("ANDROID_ROOT").is_some());
    *IS
}

/// Brings a range into memory; false where the system cannot do so at once.
pub(crate) fn load(map: &Mmap, _: &File, range: Range<usize>) -> bool {
    // By large pages, each read with one request and handed out whole; some at a time, since a disk that can work on
    // several requests is faster so.
    const PAGE: usize = 2 << 20;
    const AT_A_TIME: usize = 4;
    let pages = range.start / PAGE..range.end.div_ceil(PAGE);
    let (next, failed) = (AtomicUsize::new(pages.start), AtomicBool::new(false));
    let populate = || {
        while !failed.load(Ordering::Relaxed) {
            let page = next.fetch_add(1, Ordering::Relaxed);
            let (start, end) = ((page * PAGE).max(range.start), ((page + 1) * PAGE).min(range.end));
            if start >= end {
                break;
            }
            // Linux 5.14 has it.
            if map.advise_range(Advice::PopulateRead, start, end - start).is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_A_TIME.min(pages.len()) {
            scope.spawn(populate);
        }
        populate();
    });
    !failed.into_inner()
}

pub(crate) fn small_pages(map: &Mmap, range: Range<usize>) {
    let _ = map.advise_range(Advice::NoHugePage, range.start, range.len());
}

pub(crate) fn random(map: &Mmap, range: Range<usize>) {
    small_pages(map, range.clone());
    let _ = map.advise_range(Advice::Random, range.start, range.len());
}

pub(crate) const LOCKING: &str = "see ulimit -l";

pub(crate) fn lock(map: &Mmap) -> io::Result<()> {
    map.lock()
}

pub(crate) fn evict(map: &Mmap, range: Range<usize>) {
    // SAFETY: the mapping is read-only and backed by a file, so there is no private copy to lose: dropped pages are read
    // again with the same contents.
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
}

pub(crate) fn uncache(file: &File, range: Range<usize>) {
    let len = std::num::NonZeroU64::new(range.len() as u64);
    let _ = fadvise(file, range.start as u64, len, rustix::fs::Advice::DontNeed);
}

pub(crate) const DROPS_PAGES: bool = true;

pub(crate) fn open_direct(file: &File) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::DIRECT.bits() as i32;
    File::options().read(true).custom_flags(flags).open(path).ok()
}

pub(crate) fn reads_at_random(file: &File) {
    let _ = fadvise(file, 0, None, rustix::fs::Advice::Random);
}
