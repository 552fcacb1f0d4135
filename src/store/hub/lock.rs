//! Files that one process at a time works on.

use crate::platform::files::is_at;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a lock that another process has is asked for.
const TICK: Duration = Duration::from_millis(100);

/// A lock that this process has, until it is dropped. The hub's own client takes the same ones.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`; `wait` is called once where another process has it.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn take(path: &Path, mut wait: impl FnMut()) -> io::Result<Lock> {
        let mut told = false;
        loop {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => return Ok(Lock { _file: file }),
                // Whoever had it took it away with it.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                // A file system without locks: what follows is right nevertheless, as files are moved when they are whole.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Lock { _file: file });
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if !told {
                wait();
                told = true;
            }
            thread::sleep(TICK);
        }
    }
}

/// The lock of a file in the making, where the hub's client has none.
pub fn beside(part: &Path) -> PathBuf {
    part.with_extension("qwen-edge-lock")
}

/// Whether nobody has the lock at `path`, which is not made.
pub fn is_free(path: &Path) -> bool {
    let file = File::options().read(true).write(true).open(path);
    file.map_or(true, |file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}
