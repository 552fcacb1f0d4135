//! The models of the cache that the Hugging Face hub's own client keeps, and programs that share it.
//!
//! ```text
//! models--USER--REPO/refs/main                  the commit that the branch was at, 40 hexadecimal digits
//! models--USER--REPO/snapshots/COMMIT/PATH      the files of that commit, mostly links to blobs
//! models--USER--REPO/blobs/HASH.qwen-edge-part  a file that this program has begun to fetch
//! ```

use super::entry::{Entry, Source};
use super::folder;
use super::hub::cache::Folder;
use super::name::Repo;
use std::fs;
use std::path::{Path, PathBuf};

/// The models in the cache at `root`: of each repository those of the commit that its main branch was at, or of the latest one
/// that is there, and what this program has begun to fetch.
pub fn models(root: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(repo) = name.strip_prefix("models--").and_then(|id| Repo::new(&id.replacen("--", "/", 1))) else {
            continue;
        };
        if let Some(snapshot) = snapshot(&entry.path()) {
            found.extend(folder::of_repo(&snapshot, &repo, Source::HubCache));
        }
        // Which of the repository's files it will be, only the hub knows.
        let begun = Folder::of(root, &repo).parts().into_iter();
        found.extend(begun.filter_map(|part| Entry::unfinished(repo.clone(), None, part, Source::HubCache)));
    }
    found
}

/// The folder of the snapshot to take.
fn snapshot(repo: &Path) -> Option<PathBuf> {
    let snapshots = repo.join("snapshots");
    // A reference is the name of a folder and no way out of it.
    let main = fs::read_to_string(repo.join("refs/main")).ok().map(|commit| commit.trim().to_owned());
    let main = main.filter(|commit| commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let main = main.map(|commit| snapshots.join(commit)).filter(|folder| folder.is_dir());
    main.or_else(|| {
        let others = fs::read_dir(&snapshots).ok()?.flatten().filter(|entry| entry.path().is_dir());
        let latest = others.max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
        latest.map(|entry| entry.path())
    })
}
