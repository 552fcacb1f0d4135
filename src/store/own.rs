//! This program's own folder: models that could not be put where the hub's client keeps them, and whatever its user puts there.
//!
//! ```text
//! USER/REPO/PATH                     a file of a repository
//! USER/REPO/PATH.qwen-edge           its SHA-256, of a file that this program fetched
//! USER/REPO/PATH.qwen-edge-part      a file in the making
//! PATH                               anything else; it has no name but its path
//! ```

use super::entry::{Entry, Source};
use super::folder;
use super::hub::cache::{MARK, PART};
use super::name::Repo;
use super::quant::{self, Purpose};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The place of a repository.
pub fn folder(root: &Path, repo: &Repo) -> PathBuf {
    let (user, name) = repo.parts();
    root.join(user).join(name)
}

/// The models in the folder, and what this program has begun to fetch.
pub fn models(root: &Path) -> Vec<Entry> {
    let mut found = folder::by_publisher(root, Source::Own);
    found.extend(folder::files(root, PART).iter().filter_map(|part| unfinished(root, part)));
    found
}

fn unfinished(root: &Path, part: &str) -> Option<Entry> {
    let file = part.strip_suffix(PART).filter(|file| quant::purpose(file) == Purpose::Model)?;
    Entry::unfinished(folder::repo_of(part)?, quant::of_name(file), root.join(part), Source::Own)
}

/// The note of who fetched a file.
pub fn mark_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(MARK);
    name.into()
}

/// Notes that this program fetched a file of that hash.
///
/// # Errors
/// If that cannot be written.
pub fn mark(file: &Path, sha256: &str) -> io::Result<()> {
    fs::write(mark_of(file), sha256)
}

/// Whether this program fetched a file, of that hash if one is given.
pub fn is_marked(file: &Path, sha256: Option<&str>) -> bool {
    let noted = fs::read(mark_of(file));
    noted.is_ok_and(|noted| sha256.is_none_or(|sha256| noted == sha256.as_bytes()))
}
