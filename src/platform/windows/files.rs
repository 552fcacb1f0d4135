//! Files and folders of Windows.
//!
//! Paths longer than 260 characters need nothing here: the standard library passes them on in the form that has no limit.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::mem::zeroed;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::{ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED, GetLastError, NO_ERROR, SetLastError};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ADD_FILE, FILE_FLAG_BACKUP_SEMANTICS, GetCompressedFileSizeW, GetDiskFreeSpaceExW,
    GetFileInformationByHandle, INVALID_FILE_SIZE,
};

/// Reads some bytes from `at` on.
pub(crate) fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    file.seek_read(out, at)
}

pub(crate) fn path_of_url(path: Vec<u8>) -> PathBuf {
    let text = String::from_utf8_lossy(&path).into_owned();
    match text.as_bytes() {
        [b'/', letter, b':', ..] if letter.is_ascii_alphabetic() => text[1..].into(),
        _ => text.into(),
    }
}

/// What is in a user's own folder is for that user by the rights of the folder.
pub(crate) fn make_private(_: &mut OpenOptions) {}

pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

pub(crate) fn open_to_others(_: &Metadata) -> Option<&'static str> {
    None
}

/// The path as the functions of Windows take it: absolute, in the form without a limit on its length, with a zero behind it.
fn wide(path: &Path) -> Option<Vec<u16>> {
    let absolute = std::fs::canonicalize(path).ok()?;
    Some(absolute.as_os_str().encode_wide().chain([0]).collect())
}

pub(crate) fn bytes_on_disk(path: &Path, metadata: &Metadata) -> u64 {
    let Some(path) = wide(path) else { return metadata.len() };
    let mut high = 0;
    // SAFETY: the path ends with a zero.
    let (low, error) = unsafe {
        SetLastError(NO_ERROR);
        (GetCompressedFileSizeW(path.as_ptr(), &mut high), GetLastError())
    };
    if low == INVALID_FILE_SIZE && error != NO_ERROR { metadata.len() } else { u64::from(high) << 32 | u64::from(low) }
}

/// What tells files apart: their volume, and their number on it.
fn id(file: &File) -> Option<(u32, u32, u32)> {
    // SAFETY: all fields are numbers.
    let mut facts: BY_HANDLE_FILE_INFORMATION = unsafe { zeroed() };
    // SAFETY: the handle is that of an open file.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut facts) } == 0 {
        return None;
    }
    Some((facts.dwVolumeSerialNumber, facts.nFileIndexHigh, facts.nFileIndexLow))
}

/// A device has a name that is one in every folder, or no place among the files.
pub(crate) fn is_device(path: &Path) -> bool {
    let named = |device: &str| path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(device));
    ["nul", "con"].into_iter().any(named) || path.as_os_str().to_string_lossy().starts_with(r"\\.\")
}

pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let there = File::open(path).ok();
    matches!((id(file), there.as_ref().and_then(id)), (Some(a), Some(b)) if a == b)
}

/// A link is followed in the system's own words alone: with a slash in it, it leads nowhere.
pub(crate) fn link(target: &Path, place: &Path) -> io::Result<()> {
    let target: PathBuf = target.components().collect();
    std::os::windows::fs::symlink_file(target, place)?;
    // An emulator may say that it made one.
    std::fs::metadata(place).map(drop).inspect_err(|_| _ = std::fs::remove_file(place))
}

/// A folder can be opened for having files added to it by those who may add some.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    File::options().access_mode(FILE_ADD_FILE).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(folder).map(drop)
}

/// A deep folder may be refused; those that it is in are on the same disk, but for a folder that is a disk itself.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    let whole = std::fs::canonicalize(path);
    whole.as_deref().unwrap_or(path).ancestors().filter(|folder| folder.is_dir()).find_map(free_at)
}

fn free_at(folder: &Path) -> Option<u64> {
    let (folder, mut free) = (wide(folder)?, 0);
    // SAFETY: the path ends with a zero; what is not wanted is null.
    (unsafe { GetDiskFreeSpaceExW(folder.as_ptr(), &mut free, null_mut(), null_mut()) } != 0).then_some(free)
}

/// Windows has several words for a pipe whose reader has gone, of which the standard library knows two.
pub(crate) fn is_closed_pipe(error: &io::Error) -> bool {
    let gone = [ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED].map(|code| code as i32);
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error().is_some_and(|code| gone.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_longer_than_260_characters_is_a_path() {
        let folder = std::env::temp_dir().join(format!("qwen-edge-long-{}", std::process::id()));
        let deep = (0..8).fold(folder.clone(), |path, n| path.join(format!("{n}{}", "x".repeat(60))));
        assert!(deep.as_os_str().len() > 500);
        create_private_folder(&deep).unwrap();
        let path = deep.join("model.gguf");
        std::fs::write(&path, "GGUF").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"GGUF");
        assert!(bytes_on_disk(&path, &std::fs::metadata(&path).unwrap()) >= 4);
        assert!(free_space(&deep).unwrap() > 0 && check_writable(&deep).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Few users may make links; one that is made leads to the file.
    #[test]
    fn a_link_leads_to_its_file_or_is_refused() {
        let folder = std::env::temp_dir().join(format!("qwen-edge-links-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::write(folder.join("file"), "x").unwrap();
        let place = folder.join("a").join("b").join("link");
        let made = link(Path::new("../../file"), &place);
        assert_eq!(made.is_ok(), std::fs::read(&place).is_ok_and(|bytes| bytes == b"x"));
        assert_eq!(made.is_ok(), std::fs::symlink_metadata(&place).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_written_to_a_device_is_accepted_and_no_file_takes_its_place() {
        use crate::platform::atomic_file::AtomicFile;
        for path in ["NUL", r"\\.\NUL"].map(Path::new) {
            let mut file = AtomicFile::create(path).unwrap();
            std::io::Write::write_all(&mut file, b"gone").unwrap();
            file.commit().unwrap();
            assert!(is_device(path));
        }
        assert!(!is_device(Path::new("nul.gguf")) && !is_device(Path::new(r"C:\models\annul")));
    }

    #[test]
    fn a_url_names_a_drive_or_a_path() {
        for (url, path) in [("/C:/a b.png", "C:/a b.png"), ("/a.png", "/a.png"), ("/c", "/c"), ("", "")] {
            assert_eq!(path_of_url(url.as_bytes().to_vec()), PathBuf::from(path));
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_known_by_every_word_for_it() {
        for code in [109, 232, 233] {
            assert!(is_closed_pipe(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(!is_closed_pipe(&io::Error::from_raw_os_error(5)));
    }
}
