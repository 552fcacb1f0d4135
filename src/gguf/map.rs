//! The bytes of one file: mapped, or held in memory. The only unsafe code of the crate.
#![allow(unsafe_code)]

use super::Error;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// The bytes of a file. They do not move for the life of the value.
pub(super) enum Bytes {
    /// A read-only mapping of a file.
    Mapped(memmap2::Mmap),
    /// Bytes in memory.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps the regular file at `path`.
    pub(super) fn map(path: &Path) -> Result<Self, Error> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::NotAFile);
        }
        if metadata.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        // SAFETY: the mapping is private and read-only, and this process never writes model files it has open. What
        // remains is another process that changes the file while it runs here: the parser has by then copied every
        // number it relies on and all later accesses stay within the mapped length, so changed bytes change numbers
        // and a truncated file ends the process with a signal; neither reaches memory outside the mapping. Every
        // program that maps models accepts this, as the alternative is a second copy of the weights.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self::Mapped(map))
    }

    /// Asks the system to read a range ahead of its use. Advice only: failure means no more than a slower first pass.
    pub(super) fn will_need(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self
            && range.end <= map.len()
        {
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Takes a range out of this process's resident memory. It stays readable: the system fetches it again from the
    /// page cache or the file.
    pub(super) fn evict(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self
            && range.end <= map.len()
        {
            // SAFETY: the mapping is read-only and backed by a file, so there is no private copy to lose: dropped
            // pages are read again with the same contents. The range is within the mapping (checked above).
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
