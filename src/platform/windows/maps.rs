//! Mapped files on Windows.

use memmap2::{Mmap, MmapMut};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_DELETE, FILE_SHARE_READ};
use windows_sys::Win32::System::Memory::{PrefetchVirtualMemory, VirtualLock, VirtualUnlock, WIN32_MEMORY_RANGE_ENTRY};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessWorkingSetSize, SetProcessWorkingSetSize};

/// Asked for at once.
const STEP: usize = 16 << 20;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Others may read a model that is open here, rename and remove it; nobody may write to what is mapped.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE).open(path)
}

/// Mapped files have pages of one size here.
pub(crate) fn prepare(_: &Mmap) {}

/// Large pages are a privilege that users do not have.
pub(crate) fn prepare_copy(_: &MmapMut) {}

pub(crate) fn will_need(map: &Mmap, _: &File, range: Range<usize>) {
    for start in range.clone().step_by(STEP) {
        prefetch(map, start..range.end.min(start + STEP));
    }
}

/// Has the system read a part of a mapping in large requests; whether it does.
fn prefetch(map: &Mmap, range: Range<usize>) -> bool {
    let bytes = &map[range];
    let entry =
        WIN32_MEMORY_RANGE_ENTRY { VirtualAddress: bytes.as_ptr().cast_mut().cast(), NumberOfBytes: bytes.len() };
    // SAFETY: the range is mapped, and read alone.
    unsafe { PrefetchVirtualMemory(GetCurrentProcess(), 1, &entry, 0) != 0 }
}

/// What was prefetched waits on the standby list: only what is touched belongs to the process.
pub(crate) fn load(map: &Mmap, _: &File, range: Range<usize>) -> bool {
    for start in range.clone().step_by(STEP) {
        let step = start..range.end.min(start + STEP);
        prefetch(map, step.clone());
        for page in map[step].chunks(PAGE) {
            std::hint::black_box(page[0]);
        }
    }
    true
}

pub(crate) fn small_pages(_: &Mmap, _: Range<usize>) {}

pub(crate) fn random(_: &Mmap, _: Range<usize>) {}

pub(crate) const LOCKING: &str = "Windows lets a process lock no more than is free: do without it";

/// A process may lock what its least working set has room for, so that is made larger first.
pub(crate) fn lock(map: &Mmap) -> io::Result<()> {
    /// What the rest of the program touches meanwhile.
    const BESIDE: usize = 64 << 20;
    let (mut least, mut most) = (0, 0);
    // SAFETY: both are numbers.
    let asked = unsafe { GetProcessWorkingSetSize(GetCurrentProcess(), &mut least, &mut most) };
    if asked == 0 {
        return Err(io::Error::last_os_error());
    }
    let room = map.len() + BESIDE;
    // SAFETY: numbers alone.
    if unsafe { SetProcessWorkingSetSize(GetCurrentProcess(), least + room, most.max(least) + 2 * room) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is mapped, and stays as it is.
    if unsafe { VirtualLock(map.as_ptr().cast(), map.len()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Pages that are unlocked without having been locked leave the working set; they stay on the standby list, which counts as
/// free. That is how the system does it, not what it promises.
pub(crate) fn evict(map: &Mmap, range: Range<usize>) {
    let bytes = &map[range];
    // SAFETY: the range is mapped; its pages are read again with the same contents.
    unsafe { VirtualUnlock(bytes.as_ptr().cast(), bytes.len()) };
}

pub(crate) fn uncache(_: &File, _: Range<usize>) {}

pub(crate) const DROPS_PAGES: bool = false;

pub(crate) fn open_direct(_: &File) -> Option<File> {
    None
}

pub(crate) fn reads_at_random(_: &File) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_is_prefetched_loaded_locked_and_dropped_and_keeps_its_bytes() {
        let path = std::env::temp_dir().join(format!("qwen-edge-windows-map-{}", std::process::id()));
        let content: Vec<u8> = (0..9_000_000u32).map(|i| (i % 239) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        {
            let file = open(&path).unwrap();
            // SAFETY: nobody else has the file.
            let map = unsafe { Mmap::map(&file).unwrap() };
            assert!(prefetch(&map, 4097..8_000_001), "{}", io::Error::last_os_error());
            assert!(load(&map, &file, 1..9_000_000) && map[..] == content[..]);
            will_need(&map, &file, 0..9_000_000);
            evict(&map, 5..8_999_999);
            assert!(map[..] == content[..]);
            lock(&map).unwrap();
            assert!(map[..] == content[..]);
            // Nobody writes to what is mapped here.
            assert!(File::options().write(true).open(&path).is_err());
            assert!(File::open(&path).is_ok());
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_working_set_grows_when_it_is_asked_to() {
        let (mut least, mut most) = (0, 0);
        // SAFETY: numbers alone.
        unsafe { assert_ne!(GetProcessWorkingSetSize(GetCurrentProcess(), &mut least, &mut most), 0) };
        assert!(most >= least);
    }
}
