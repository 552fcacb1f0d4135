//! What programs ask of files and folders, which the systems do in different ways.

use super::system;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The path that a `file:` URL has, decoded. On systems whose paths are text, what of it is none is replaced; there a drive's
/// letter comes first.
pub fn path_of_url(path: Vec<u8>) -> PathBuf {
    system::files::path_of_url(path)
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

/// Whether a path is that of a device or a pipe, or anything else that no file can take the place of.
pub fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| !there.is_file()) || system::files::is_device(path)
}

/// Makes a symbolic link to a file.
///
/// # Errors
/// Windows lets few users do that.
pub fn link(target: &Path, place: &Path) -> io::Result<()> {
    system::files::link(target, place)
}

/// The bytes of a file.
///
/// # Errors
/// In the same words on every system where there is no file or it is a folder; else what the system said.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    check_no_folder(path)?;
    fs::read(path).map_err(in_own_words)
}

/// Opens a file to read it.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path) -> io::Result<File> {
    check_no_folder(path)?;
    File::open(path).map_err(in_own_words)
}

/// Looked at first: Windows opens no folder, and says that access is denied.
fn check_no_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() { Err(in_own_words(io::ErrorKind::IsADirectory.into())) } else { Ok(()) }
}

/// The error of the system in words that are the same on all of them, where it is one that people meet.
pub fn in_own_words(error: io::Error) -> io::Error {
    match own_words(&error) {
        Some(words) => io::Error::new(error.kind(), words),
        None => error,
    }
}

/// Our words for what the system said, if there are any: what a program added to it is left alone.
pub fn own_words(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        _ if error.get_ref().is_some() => None,
        io::ErrorKind::NotFound => Some("no such file or folder"),
        io::ErrorKind::IsADirectory => Some("a folder, where a file is expected"),
        _ => None,
    }
}

/// Where the memory ends that may be locked, as the end of a sentence.
pub const LOCKING: &str = system::maps::LOCKING;

/// Whether the error is that whoever read what is written here has gone.
pub fn is_closed_pipe(error: &io::Error) -> bool {
    system::files::is_closed_pipe(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_a_folder_is_said_in_the_same_words_everywhere() {
        let folder = std::env::temp_dir();
        let absent = folder.join("qwen-edge").join("not").join("there");
        for error in [read(&absent).unwrap_err(), open(&absent).unwrap_err()] {
            assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::NotFound, "no such file or folder"));
        }
        for error in [read(&folder).unwrap_err(), open(&folder).unwrap_err()] {
            assert_eq!(error.to_string(), "a folder, where a file is expected");
        }
    }

    #[test]
    fn a_file_is_at_its_path_until_another_one_is() {
        let folder = std::env::temp_dir().join(format!("qwen-edge-files-{}", std::process::id()));
        create_private_folder(&folder).unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.join(name));
        fs::write(&a, vec![1; 10_000]).unwrap();
        fs::write(&b, "").unwrap();
        let file = open(&a).unwrap();
        assert!(is_at(&file, &a) && !is_at(&file, &b) && !is_at(&file, &folder.join("c")));
        assert!((10_000..1 << 20).contains(&bytes_on_disk(&a)), "{}", bytes_on_disk(&a));
        assert_eq!(bytes_on_disk(&folder.join("c")), 0);
        assert!(open_to_others(&fs::metadata(&folder).unwrap()).is_none());
        drop(file);
        fs::remove_dir_all(folder).unwrap();
    }
}
