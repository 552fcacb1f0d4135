//! Standard input on Windows.

use std::io::{IsTerminal, stdin};
use std::os::windows::io::AsRawHandle;
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_DISK, FILE_TYPE_PIPE, GetFileType};

/// `NUL` is a device, as the console is.
pub(crate) fn is_meant() -> bool {
    let stdin = stdin();
    // SAFETY: a handle that is none is an error.
    let kind = unsafe { GetFileType(stdin.as_raw_handle()) };
    !stdin.is_terminal() && [FILE_TYPE_DISK, FILE_TYPE_PIPE].contains(&kind)
}

pub(crate) fn ticks_of_writers() -> Option<u64> {
    Some(0)
}
