//! Mapped files on macOS: as on Unix systems, but for what is loaded at once.
//!
//! `MADV_DONTNEED` does not drop pages of a file here: the system keeps them until it needs the memory. So no promise on
//! memory is built on [`evict`].

pub(crate) use crate::platform::unix::maps::*;

use memmap2::Mmap;
use std::fs::File;
use std::ops::Range;

/// Bytes of the smallest pages: Intel's. Those of Apple silicon are touched four times.
const PAGE: usize = 4096;

/// Asked for at once.
const STEP: usize = 16 << 20;

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
