//! Files that appear whole or not at all.

use super::files::{is_device, make_private};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files that are being written, by the names they have until they are whole.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every file that is not whole yet, for a program that is about to end.
pub fn discard_unfinished() {
    for path in unfinished().drain(..) {
        // One that cannot be removed is no reason to stay.
        let _ = fs::remove_file(path);
    }
}

/// A file written beside its final place and moved there by [`AtomicFile::commit`]. Dropped before that, it leaves
/// nothing behind, and whatever had the name is untouched.
pub struct AtomicFile {
    writer: Option<BufWriter<File>>,
    /// Where the bytes go until the commit; the path itself where that is a device or a pipe, which cannot be replaced.
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts a file that is to become `path`.
    ///
    /// # Errors
    /// If the folder does not exist or cannot be written to.
    pub fn create(path: &Path) -> io::Result<AtomicFile> {
        AtomicFile::with(path, File::options().write(true).create(true).truncate(true))
    }

    /// The same for a file that no other user can read.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create_private(path: &Path) -> io::Result<AtomicFile> {
        let mut options = File::options();
        make_private(&mut options);
        AtomicFile::with(path, options.write(true).create(true).truncate(true))
    }

    fn with(path: &Path, options: &OpenOptions) -> io::Result<AtomicFile> {
        let named = |error| named(path, error);
        let (temporary, file) = if is_device(path) {
            // There is nothing to be made or cut short.
            (path.to_owned(), File::options().write(true).open(path).map_err(named)?)
        } else {
            let name = path.file_name().ok_or_else(|| named(io::ErrorKind::InvalidFilename.into()))?;
            let mut name = name.to_owned();
            name.push(format!(".{}.part", std::process::id()));
            let temporary = path.with_file_name(name);
            // Under the lock: whoever ends the program knows every file that is there.
            let mut unfinished = unfinished();
            let file = options.open(&temporary).map_err(named)?;
            unfinished.push(temporary.clone());
            (temporary, file)
        };
        Ok(AtomicFile { writer: Some(BufWriter::with_capacity(1 << 20, file)), temporary, path: path.to_owned() })
    }

    /// Moves the file to its place.
    ///
    /// # Errors
    /// If the last bytes cannot be written or the file not be moved.
    pub fn commit(self) -> io::Result<()> {
        self.finish(true)
    }

    /// Moves the file to its place, without waiting for the disk: after a power cut there may be a file there that is not
    /// whole.
    ///
    /// # Errors
    /// As [`AtomicFile::commit`].
    pub fn commit_unsynced(self) -> io::Result<()> {
        self.finish(false)
    }

    fn finish(mut self, sync: bool) -> io::Result<()> {
        let writer = self.writer.take().expect("taken here only");
        let finish = || -> io::Result<()> {
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            if self.temporary == self.path {
                return Ok(());
            }
            if sync {
                file.sync_data()?;
            }
            // Under the lock: a file is either unfinished or at its place, whoever looks.
            let mut unfinished = unfinished();
            fs::rename(&self.temporary, &self.path)?;
            unfinished.retain(|path| *path != self.temporary);
            Ok(())
        };
        let result = finish().map_err(|error| named(&self.path, error));
        if result.is_err() {
            self.discard();
        }
        result
    }

    fn discard(&self) {
        if self.temporary != self.path {
            // The failure that brought us here is the one to report.
            let mut unfinished = unfinished();
            let _ = fs::remove_file(&self.temporary);
            unfinished.retain(|path| *path != self.temporary);
        }
    }
}

/// The error, saying which file it is about.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().expect("present until the commit").write(bytes).map_err(|error| named(&self.path, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().expect("present until the commit").flush().map_err(|error| named(&self.path, error))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // Not `into_inner`: what is buffered is not wanted any more.
            drop(writer.into_parts());
            self.discard();
        }
    }
}
