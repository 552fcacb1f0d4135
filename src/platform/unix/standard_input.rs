//! Standard input on a Unix system.

use rustix::fs::{FileType, fstat};
use std::io::{IsTerminal, stdin};

pub(crate) fn is_meant() -> bool {
    let stdin = stdin();
    !stdin.is_terminal()
        && fstat(&stdin).is_ok_and(|stat| {
            matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Fifo | FileType::Socket)
        })
}

/// Few systems tell.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn ticks_of_writers() -> Option<u64> {
    Some(0)
}
