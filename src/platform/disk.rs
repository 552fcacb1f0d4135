//! Disks: the room on them, and who may write.

use super::system;
use std::io;
use std::path::Path;

/// Bytes that this user can still write where `path` is or is to be; `None` where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    system::files::free_space(nearest(path)?)
}

/// Whether this user can make files in a folder, which is there or is to be; nothing is made.
///
/// # Errors
/// Why not.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    let Some(there) = nearest(folder) else { return Ok(()) };
    if there.is_dir() { system::files::check_writable(there) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// What there is of a path: what does not exist yet will be in there.
fn nearest(path: &Path) -> Option<&Path> {
    let there = path.ancestors().find(|path| path.as_os_str().is_empty() || path.exists())?;
    Some(if there.as_os_str().is_empty() { Path::new(".") } else { there })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_the_temporary_folder_has_room_and_may_be_written_to() {
        let folder = std::env::temp_dir();
        let free = free_space(&folder.join("not/there/yet")).unwrap();
        assert!((1..1 << 60).contains(&free), "{free}");
        check_writable(&folder).unwrap();
        let file = folder.join(format!("qwen-edge-disk-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        assert_eq!(check_writable(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        std::fs::remove_file(file).unwrap();
    }
}
