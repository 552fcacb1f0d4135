//! The bytes of one file: mapped, or held in memory.
#![allow(unsafe_code)]

use super::files::in_own_words;
use super::system::maps;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

/// The bytes of a file. They do not move for the life of the value.
pub(crate) enum FileBytes {
    /// A read-only mapping of a file, and the file.
    Mapped(memmap2::Mmap, File),
    /// A copy of a file in memory of its own.
    Copied(memmap2::MmapMut),
    /// Bytes in memory.
    Owned(Vec<u8>),
}

impl FileBytes {
    /// Maps the regular file at `path`; `None` when it is a directory, a pipe or a device.
    pub(crate) fn map(path: &Path) -> io::Result<Option<Self>> {
        // Looked at first: to open a pipe that nobody writes to would wait for ever.
        if !std::fs::metadata(path).map_err(in_own_words)?.is_file() {
            return Ok(None);
        }
        let file = maps::open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() == 0 {
            return Ok(Some(Self::Owned(Vec::new())));
        }
        // SAFETY: the mapping is shared and read-only, and this process never writes model files it has open. What
        // remains is another process that changes the file while it runs here: places of keys and tensors were copied
        // when the header was checked, what is read again (the lengths of strings) is checked again against the bytes
        // of its array, and all accesses stay within the mapped length. So changed bytes change numbers, and a
        // truncated file ends the process with a signal; neither reaches memory outside the mapping. Every program
        // that maps models accepts this, as the alternative is a second copy of the weights.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        maps::prepare(&map);
        Ok(Some(Self::Mapped(map, file)))
    }

    /// When the mapped file was last changed; `None` of bytes in memory, and where the system does not tell.
    pub(crate) fn changed(&self) -> Option<SystemTime> {
        match self {
            Self::Mapped(_, file) => file.metadata().ok()?.modified().ok(),
            Self::Copied(_) | Self::Owned(_) => None,
        }
    }

    /// Has the system read a range ahead of its use, from start to end. Returns when the last of it is under way, which on
    /// a slow disk is when most of it is there. Advice only: failure means no more than a slower first pass.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        if let Some((map, file)) = self.mapped(&range) {
            maps::will_need(map, file, range);
        }
    }

    /// Brings a range into this process's memory, from start to end, where the system can do so at once and in large
    /// pages; elsewhere as [`FileBytes::will_need`].
    pub(crate) fn load(&self, range: Range<usize>) {
        if let Some((map, file)) = self.mapped(&range)
            && !maps::load(map, file, range.clone())
        {
            maps::will_need(map, file, range);
        }
    }

    /// Tells the system to hand out small pages in a range of which parts come and go.
    pub(crate) fn small_pages(&self, range: Range<usize>) {
        if let Some((map, _)) = self.mapped(&range) {
            maps::small_pages(map, range);
        }
    }

    /// Tells the system that a range is read here and there, so that it reads nothing ahead.
    pub(crate) fn random(&self, range: Range<usize>) {
        if let Some((map, _)) = self.mapped(&range) {
            maps::random(map, range);
        }
    }

    /// The mapping and its file, if there is one and the range is within it.
    fn mapped(&self, range: &Range<usize>) -> Option<(&memmap2::Mmap, &File)> {
        match self {
            Self::Mapped(map, file) if range.start <= range.end && range.end <= map.len() => Some((map, file)),
            _ => None,
        }
    }

    /// Keeps the mapped pages in memory, reading them all now.
    pub(crate) fn lock(&self) -> io::Result<()> {
        match self {
            Self::Mapped(map, _) => maps::lock(map),
            Self::Copied(_) | Self::Owned(_) => Ok(()),
        }
    }

    /// A copy of a mapping in memory, read from start to end; `None` of bytes that are in memory already. `progress` is told
    /// the bytes of each step.
    pub(crate) fn copied(&self, mut progress: impl FnMut(usize)) -> io::Result<Option<Self>> {
        const STEP: usize = 16 << 20;
        let Self::Mapped(map, file) = self else { return Ok(None) };
        let mut file = file;
        let mut copy = memmap2::MmapMut::map_anon(map.len())?;
        maps::prepare_copy(&copy);
        file.rewind()?;
        for piece in copy.chunks_mut(STEP) {
            // The directory was checked against the length of the mapping: a shorter file is an error.
            file.read_exact(piece)?;
            progress(piece.len());
        }
        Ok(Some(Self::Copied(copy)))
    }

    /// Takes a range out of this process's resident memory. It stays readable: the system fetches it again from the
    /// page cache or the file.
    pub(crate) fn evict(&self, range: Range<usize>) {
        if let Some((map, _)) = self.mapped(&range) {
            maps::evict(map, range);
        }
    }

    /// Takes a range that was evicted out of the system's page cache too. Advice only, and for nothing where the system
    /// knows no such advice.
    pub(crate) fn uncache(&self, range: Range<usize>) {
        if let Some((_, file)) = self.mapped(&range) {
            maps::uncache(file, range);
        }
    }
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Copied(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("qwen-edge-map-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_copy_has_the_bytes_of_the_mapping() {
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let path = file("copy", &content);
        let bytes = FileBytes::map(&path).unwrap().unwrap();
        assert!(matches!(bytes, FileBytes::Mapped(..)) && *bytes == content[..]);
        let mut read = 0;
        let bytes = bytes.copied(|n| read += n).unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(matches!(bytes, FileBytes::Copied(..)) && *bytes == content[..]);
        assert_eq!(read, content.len());
    }

    #[test]
    fn what_was_dropped_and_read_ahead_has_the_same_bytes() {
        let content: Vec<u8> = (0..5_000_000u32).map(|i| (i % 253) as u8).collect();
        let path = file("dropped", &content);
        let bytes = FileBytes::map(&path).unwrap().unwrap();
        let range = 4_321..4_900_001;
        for _ in 0..2 {
            assert!(*bytes == content[..]);
            bytes.evict(range.clone());
            bytes.uncache(range.clone());
            bytes.will_need(range.clone());
        }
        std::fs::remove_file(path).unwrap();
        assert!(*bytes == content[..]);
    }

    /// Windows lets nobody shorten a file that is mapped.
    #[test]
    #[cfg(unix)]
    fn a_file_that_shrank_since_it_was_mapped_is_an_error() {
        let path = file("shrank", &[1; 5000]);
        let bytes = FileBytes::map(&path).unwrap().unwrap();
        File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
        assert!(bytes.copied(|_| ()).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
