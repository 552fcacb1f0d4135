//! The cache that the hub's own client keeps, written as that writes it.
//!
//! ```text
//! models--USER--REPO/blobs/HASH                 the bytes of a file, by its SHA-256
//! models--USER--REPO/snapshots/COMMIT/PATH      a relative link to its blob
//! models--USER--REPO/refs/main                  the commit
//! .locks/models--USER--REPO/HASH.lock           whoever fetches a file has this locked
//! ```
//!
//! This program's own are `blobs/HASH.qwen-edge-part`, a file in the making, and `blobs/HASH.qwen-edge`, an empty file that
//! says who fetched it. What the client calls `HASH.*.incomplete` is its own and left alone.

use super::error::HubError;
use super::listing::{BRANCH, is_hex};
use crate::platform::atomic_file::AtomicFile;
use crate::platform::disk;
use crate::platform::files::link;
use crate::store::name::Repo;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Ends the name of a file in the making.
pub const PART: &str = ".qwen-edge-part";

/// Ends the name of the mark of a file that this program fetched.
pub const MARK: &str = ".qwen-edge";

/// One repository's place in the cache.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    locks: PathBuf,
}

impl Folder {
    /// The place of a repository in the cache at `root`.
    pub fn of(root: &Path, repo: &Repo) -> Folder {
        let name = format!("models--{}", repo.id().replace('/', "--"));
        Folder { path: root.join(&name), locks: root.join(".locks").join(name) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the bytes of a file are.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.path.join("blobs").join(hash)
    }

    /// A file in the making.
    pub fn part(&self, hash: &str) -> PathBuf {
        self.path.join("blobs").join(format!("{hash}{PART}"))
    }

    /// All files in the making.
    pub fn parts(&self) -> Vec<PathBuf> {
        let blobs = fs::read_dir(self.path.join("blobs")).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut parts: Vec<PathBuf> = blobs.filter(|path| hash_of_part(path).is_some()).collect();
        parts.sort();
        parts
    }

    /// Looks whether files can be put there. Nothing is made.
    ///
    /// # Errors
    /// If they cannot.
    pub fn check_writable(&self) -> io::Result<()> {
        disk::check_writable(&self.path.join("blobs"))
    }

    /// The lock of a file.
    pub fn lock(&self, hash: &str) -> PathBuf {
        self.locks.join(format!("{hash}.lock"))
    }

    /// The mark of a file that this program fetched.
    pub fn mark_of(&self, hash: &str) -> PathBuf {
        self.blob(&format!("{hash}{MARK}"))
    }

    /// Notes that this program fetched a file.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn mark(&self, hash: &str) -> Result<(), HubError> {
        let path = self.mark_of(hash);
        File::create(&path).map(|_| ()).map_err(|reason| HubError::File { path, reason })
    }

    /// Whether this program fetched a file.
    pub fn is_marked(&self, hash: &str) -> bool {
        self.mark_of(hash).is_file()
    }

    /// The links in all snapshots.
    pub fn links(&self) -> Vec<PathBuf> {
        let mut links = Vec::new();
        let mut folders = vec![self.path.join("snapshots")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_symlink() => links.push(entry.path()),
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    _ => {}
                }
            }
        }
        links
    }

    /// Removes folders that are empty, and where no snapshot is left the names of branches.
    pub fn tidy(&self) {
        for name in ["snapshots", "blobs"] {
            remove_empty(&self.path.join(name));
        }
        if !self.path.join("snapshots").exists() {
            let _ = fs::remove_file(self.path.join("refs").join(BRANCH));
            remove_empty(&self.path);
        }
    }

    /// Where a file of a commit is.
    pub fn file(&self, commit: &str, path: &str) -> PathBuf {
        self.path.join("snapshots").join(commit).join(path)
    }

    /// Makes a file of a commit the one of that hash.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn link(&self, commit: &str, path: &str, hash: &str) -> Result<(), HubError> {
        let place = self.file(commit, path);
        let ups = "../".repeat(path.matches('/').count() + 2);
        let target = PathBuf::from(format!("{ups}blobs/{hash}"));
        if fs::read_link(&place).is_ok_and(|there| there == target) {
            return Ok(());
        }
        let folder = place.parent().unwrap_or(&self.path);
        let made = fs::create_dir_all(folder).and_then(|()| self.put(&target, &place, hash));
        made.map_err(|reason| HubError::File { path: place, reason })
    }

    /// A link in the place of whatever is there; where there are no links, the file itself.
    fn put(&self, target: &Path, place: &Path, hash: &str) -> io::Result<()> {
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}{PART}", std::process::id()));
        let temporary = place.with_file_name(name);
        let _ = fs::remove_file(&temporary);
        match link(target, &temporary) {
            Ok(()) => fs::rename(&temporary, place),
            Err(_) => fs::rename(self.blob(hash), place).or_else(|error| {
                // Another process that waited for the same file has moved it just now.
                if error.kind() == io::ErrorKind::NotFound && place.is_file() { Ok(()) } else { Err(error) }
            }),
        }
    }

    /// Says that the main branch is at a commit.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn set_main(&self, commit: &str) -> Result<(), HubError> {
        let path = self.path.join("refs").join(BRANCH);
        if fs::read_to_string(&path).is_ok_and(|there| there == commit) {
            return Ok(());
        }
        let write = || {
            fs::create_dir_all(self.path.join("refs"))?;
            let mut file = AtomicFile::create(&path)?;
            file.write_all(commit.as_bytes())?;
            file.commit()
        };
        write().map_err(|reason| HubError::File { path: path.clone(), reason })
    }
}

/// The hash that a file in the making will have.
pub fn hash_of_part(part: &Path) -> Option<&str> {
    part.file_name()?.to_str()?.strip_suffix(PART).filter(|hash| is_hex(hash, 64))
}

/// Removes the folders in a folder that are empty, and itself if nothing is left.
pub fn remove_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // One that is not empty stays.
    let _ = fs::remove_dir(folder);
}
