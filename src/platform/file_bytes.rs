//! The bytes of one file: mapped, or held in memory.
#![allow(unsafe_code)]

use super::files::in_own_words;
use super::system::{files, maps};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

/// Whether pages of a mapping that are dropped leave memory for certain. Elsewhere what is not to stay in memory is read, and
/// not mapped.
pub(crate) const DROPS_PAGES: bool = maps::DROPS_PAGES;

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

    /// Copies the bytes from `start` on into `out`, past the mapping: what is read so takes no memory but that of `out`, and of
    /// the page cache.
    pub(crate) fn read(&self, start: usize, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Mapped(_, file) => match read_from(file, start, out)? {
                n if n < out.len() => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            },
            _ => {
                let bytes = start.checked_add(out.len()).and_then(|end| self.get(start..end));
                out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// The file of a mapping once more, to be read past the page cache; `None` where the system or the file system has no such
    /// way, and of bytes in memory.
    pub(crate) fn open_direct(&self) -> Option<DirectFile> {
        match self {
            Self::Mapped(_, file) => maps::open_direct(file).map(DirectFile),
            Self::Copied(_) | Self::Owned(_) => None,
        }
    }

    /// Tells the system that [`FileBytes::read`] is called here and there, so that it reads no more than is asked for.
    pub(crate) fn reads_at_random(&self) {
        if let Self::Mapped(_, file) = self {
            maps::reads_at_random(file);
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

/// Bytes that direct reads begin and end at multiples of, in the file and in memory.
pub(crate) const DIRECT_PAGE: usize = 4096;

/// A file that is read past the page cache.
pub(crate) struct DirectFile(File);

impl DirectFile {
    /// Reads whole pages from `start` on, up to the end of `out` or of the file; returns how many bytes that were.
    pub(crate) fn read(&self, start: usize, out: &mut [u8]) -> io::Result<usize> {
        debug_assert!(start.is_multiple_of(DIRECT_PAGE) && out.len().is_multiple_of(DIRECT_PAGE));
        read_from(&self.0, start, out)
    }
}

/// Reads from `start` on until `out` is full or the file ends; returns how many bytes that were.
fn read_from(file: &File, start: usize, out: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        let at = start.checked_add(done).ok_or(io::ErrorKind::UnexpectedEof)? as u64;
        match files::read_at(file, &mut out[done..], at) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Memory in whole pages, which the system takes back when it is dropped. It begins with zeros, and takes room from the first
/// write on.
pub(crate) struct PageBuffer(memmap2::MmapMut);

impl PageBuffer {
    /// A buffer of so many bytes, one at least.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) fn new(len: usize) -> io::Result<PageBuffer> {
        memmap2::MmapMut::map_anon(len.max(1)).map(PageBuffer)
    }
}

impl std::ops::Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
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

    #[test]
    fn what_is_read_is_what_is_mapped_and_no_more_than_there_is() {
        let content: Vec<u8> = (0..70_000u32).map(|i| (i % 247) as u8).collect();
        let path = file("read", &content);
        for bytes in [FileBytes::map(&path).unwrap().unwrap(), FileBytes::Owned(content.clone())] {
            bytes.reads_at_random();
            let mut out = PageBuffer::new(5_000).unwrap();
            bytes.read(60_123, &mut out).unwrap();
            assert!(out[..] == content[60_123..65_123]);
            assert!(bytes.read(65_001, &mut out).is_err() && bytes.read(usize::MAX, &mut out).is_err());
            // Past the page cache, where that can be done: the last pages, of which the file has a part.
            if let Some(direct) = bytes.open_direct() {
                let mut out = PageBuffer::new(3 * DIRECT_PAGE).unwrap();
                let n = direct.read(16 * DIRECT_PAGE, &mut out).unwrap();
                assert!(out[..n] == content[16 * DIRECT_PAGE..]);
            }
        }
        std::fs::remove_file(path).unwrap();
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
