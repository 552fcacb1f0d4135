//! A file of which some blocks are there.
//!
//! ```text
//! size bytes          the file, with holes where blocks are missing
//! one byte a block    1 for a block that is whole
//! ```
//!
//! A file of exactly `size` bytes has all its blocks.

use super::error::FetchError;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Bytes of a block; the last one of a file may be shorter.
pub const BLOCK: u64 = 4 << 20;

/// Bytes of a file at most, which is more than any model has.
const LARGEST: u64 = 1 << 44;

/// Which of the blocks of a file of `size` bytes are whole; `None` if it is no such file.
fn marks(mut file: &File, size: u64, n_block: usize) -> io::Result<Option<Vec<bool>>> {
    let there = file.metadata()?.len();
    if there == size {
        return Ok(Some(vec![size > 0; n_block]));
    }
    if there != size + n_block as u64 {
        return Ok(None);
    }
    let mut marks = vec![0; n_block];
    file.seek(SeekFrom::Start(size))?;
    file.read_exact(&mut marks)?;
    Ok(Some(marks.iter().map(|&mark| mark == 1).collect()))
}

/// Bytes of the blocks that are whole.
fn bytes(whole: &[bool], size: u64) -> u64 {
    let there = whole.iter().enumerate().filter(|(_, whole)| **whole);
    there.map(|(block, _)| BLOCK.min(size - block as u64 * BLOCK)).sum()
}

/// A file in the making. One process at a time may have it open.
pub struct Part {
    path: PathBuf,
    size: u64,
    file: File,
    /// Which blocks are whole.
    whole: Mutex<Vec<bool>>,
}

impl Part {
    /// Takes up a file of `size` bytes at `path`, or begins it. What is there and has another size is begun anew.
    ///
    /// # Errors
    /// If it cannot be made or read.
    pub fn open(path: &Path, size: u64) -> Result<Part, FetchError> {
        let failed = |reason| FetchError::File { path: path.to_owned(), reason };
        // A link would lead elsewhere.
        if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(failed(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is no file is in the way",
            )));
        }
        let options = File::options().read(true).write(true).create(true).truncate(false).clone();
        let file = options.open(path).map_err(failed)?;
        let n_block = usize::try_from(size.div_ceil(BLOCK)).ok().filter(|_| size <= LARGEST);
        let n_block = n_block.ok_or_else(|| failed(io::ErrorKind::FileTooLarge.into()))?;
        let whole = match marks(&file, size, n_block).map_err(failed)? {
            Some(whole) => whole,
            None => {
                // In this order a cut in between leaves nothing that looks whole.
                file.set_len(0).and_then(|()| file.set_len(size + n_block as u64)).map_err(failed)?;
                vec![false; n_block]
            }
        };
        Ok(Part { path: path.to_owned(), size, file, whole: Mutex::new(whole) })
    }

    /// Bytes of the blocks that are there of a file of `size` bytes at `path`, which is not touched.
    pub fn bytes_at(path: &Path, size: u64) -> u64 {
        let n_block = usize::try_from(size.div_ceil(BLOCK)).ok().filter(|_| size <= LARGEST);
        let whole = n_block.and_then(|n_block| marks(&File::open(path).ok()?, size, n_block).ok().flatten());
        whole.map_or(0, |whole| bytes(&whole, size))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many blocks it has.
    pub fn n_block(&self) -> usize {
        self.whole().len()
    }

    /// The bytes of a block.
    pub fn range(&self, block: usize) -> Range<u64> {
        let start = block as u64 * BLOCK;
        start..(start + BLOCK).min(self.size)
    }

    /// Whether a block is there.
    pub fn has(&self, block: usize) -> bool {
        self.whole()[block]
    }

    /// The bytes of the blocks that are there.
    pub fn bytes(&self) -> u64 {
        bytes(&self.whole(), self.size)
    }

    fn whole(&self) -> std::sync::MutexGuard<'_, Vec<bool>> {
        self.whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn failed(&self, reason: io::Error) -> FetchError {
        FetchError::File { path: self.path.clone(), reason }
    }

    /// A handle of its own, which reads and writes wherever it likes.
    ///
    /// # Errors
    /// What the system said.
    pub fn handle(&self) -> Result<File, FetchError> {
        File::options().read(true).write(true).open(&self.path).map_err(|reason| self.failed(reason))
    }

    /// Writes a block by a handle of the caller's, and notes that it is there. A block is noted behind its bytes, so that a
    /// process that ends in between leaves it missing.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub fn write(&self, handle: &mut File, block: usize, bytes: &[u8]) -> Result<(), FetchError> {
        let mut write = |at, bytes| handle.seek(SeekFrom::Start(at)).and_then(|_| handle.write_all(bytes));
        let marks = self.size;
        write(self.range(block).start, bytes)
            .and_then(|()| write(marks + block as u64, &[1]))
            .map_err(|reason| self.failed(reason))?;
        self.whole()[block] = true;
        Ok(())
    }

    /// Forgets all blocks.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn clear(&self) -> Result<(), FetchError> {
        let mut whole = self.whole();
        let n_block = whole.len() as u64;
        self.file
            .set_len(0)
            .and_then(|()| self.file.set_len(self.size + n_block))
            .map_err(|reason| self.failed(reason))?;
        whole.fill(false);
        Ok(())
    }

    /// Moves the file, which is whole, to its place.
    ///
    /// # Errors
    /// If it cannot be written or moved.
    pub fn finish(self, place: &Path) -> Result<(), FetchError> {
        debug_assert!(self.whole().iter().all(|&whole| whole));
        let done = self.file.set_len(self.size).and_then(|()| self.file.sync_all());
        done.and_then(|()| fs::rename(&self.path, place)).map_err(|reason| self.failed(reason))
    }

    /// Removes the file.
    pub fn remove(self) {
        // The failure that brought us here is the one to report.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("qwen-edge-part-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn blocks_that_are_there_are_there_the_next_time() {
        let path = scratch("blocks");
        let size = 2 * BLOCK + 5;
        let part = Part::open(&path, size).unwrap();
        assert_eq!((part.n_block(), part.range(2), part.bytes()), (3, 2 * BLOCK..size, 0));
        part.write(&mut part.handle().unwrap(), 2, b"abcde").unwrap();
        let part = Part::open(&path, size).unwrap();
        assert_eq!(([0, 1, 2].map(|block| part.has(block)), part.bytes()), ([false, false, true], 5));
        // Another size is another file.
        assert_eq!(Part::open(&path, size + 1).unwrap().bytes(), 0);
        assert_eq!(Part::open(&path, size).unwrap().bytes(), 0);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_was_whole_and_not_moved_yet_is_whole() {
        let path = scratch("whole");
        let part = Part::open(&path, 3).unwrap();
        part.write(&mut part.handle().unwrap(), 0, b"abc").unwrap();
        File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
        let part = Part::open(&path, 3).unwrap();
        assert!(part.has(0));
        let place = path.with_extension("place");
        part.finish(&place).unwrap();
        assert_eq!((fs::read(&place).unwrap(), path.exists()), (b"abc".to_vec(), false));
        fs::remove_file(&place).unwrap();
    }
}
