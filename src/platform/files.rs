//! What programs ask of files and folders, which the systems do in different ways.

use super::system;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The path of these bytes; on systems whose paths are text, what of them is none is replaced.
pub fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    system::files::path_from_bytes(bytes)
}

/// Has a file that is created be readable by this user alone. A folder of a Windows user is so by itself.
pub fn make_private(options: &mut OpenOptions) {
    system::files::make_private(options);
}

/// Makes a folder for this user alone, and the folders above it, unless it is there.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    system::files::create_private_folder(path)
}

/// Why others than this user may have put something into the folder, if they may.
pub fn open_to_others(metadata: &Metadata) -> Option<&'static str> {
    system::files::open_to_others(metadata)
}

/// Bytes that a file takes of the disk: a file in the making has holes. 0 where there is none.
pub fn bytes_on_disk(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| system::files::bytes_on_disk(path, &metadata))
}

/// Whether an open file is still the one at its path.
pub fn is_at(file: &File, path: &Path) -> bool {
    system::files::is_at(file, path)
}

/// Makes a symbolic link to a file.
///
/// # Errors
/// Windows lets few users do that.
pub fn link(target: &Path, place: &Path) -> io::Result<()> {
    system::files::link(target, place)
}

/// Whether the error is that whoever read what is written here has gone.
pub fn is_closed_pipe(error: &io::Error) -> bool {
    system::files::is_closed_pipe(error)
}
