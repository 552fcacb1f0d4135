//! Removing a model from the hub's cache: what this program fetched of it, and nothing else.

use super::cache::Folder;
use super::error::HubError;
use super::listing::is_hex;
use crate::store::entry::Entry;
use crate::store::quant::{self, Purpose};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What is to be removed.
#[derive(Debug)]
pub struct Removal {
    folder: Folder,
    /// Links in snapshots.
    links: Vec<PathBuf>,
    /// The blobs that they lead to, by their hashes.
    hashes: BTreeSet<String>,
    /// Bytes of these.
    pub bytes: u64,
}

/// The hash of the blob that a link leads to, and the bytes of it, if this program fetched that.
fn fetched(folder: &Folder, link: &Path) -> Option<(String, u64)> {
    let target = fs::read_link(link).ok()?;
    let hash = target.file_name()?.to_str().filter(|name| is_hex(name, 64))?;
    let bytes = fs::metadata(folder.blob(hash)).ok()?.len();
    folder.is_marked(hash).then(|| (hash.to_owned(), bytes))
}

impl Removal {
    /// What is to be removed for a model in the cache, all parts of it; with the last model of a repository what came along
    /// goes too. `None` where it was not this program that fetched it.
    pub fn of(folder: Folder, model: &Entry, others_stay: bool) -> Option<Removal> {
        let parent = model.path.parent()?;
        let name = model.path.file_name()?.to_str()?;
        let parts: Vec<PathBuf> = quant::siblings(name).into_iter().map(|name| parent.join(name)).collect();
        let parts = parts.iter().filter(|part| part.exists());
        let mut found: BTreeMap<String, u64> = parts.map(|part| fetched(&folder, part)).collect::<Option<_>>()?;
        let links = folder.links();
        if !others_stay {
            let beside = |link: &&PathBuf| {
                let purpose = link.to_str().map_or(Purpose::Other, quant::purpose);
                matches!(purpose, Purpose::Vision | Purpose::Drafting)
            };
            found.extend(links.iter().filter(beside).filter_map(|link| fetched(&folder, link)));
        }
        let bytes = found.values().sum();
        let hashes: BTreeSet<String> = found.into_keys().collect();
        let leads = |link: &PathBuf| fetched(&folder, link).is_some_and(|(hash, _)| hashes.contains(&hash));
        let links = links.into_iter().filter(leads).collect();
        Some(Removal { folder, links, hashes, bytes })
    }

    /// Removes it, and folders that are empty then.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn run(self) -> Result<(), HubError> {
        let remove =
            |path: &Path| fs::remove_file(path).map_err(|reason| HubError::File { path: path.to_owned(), reason });
        for link in &self.links {
            remove(link)?;
        }
        for hash in &self.hashes {
            remove(&self.folder.blob(hash))?;
            self.folder.unmark(hash)?;
        }
        self.folder.tidy();
        Ok(())
    }
}
