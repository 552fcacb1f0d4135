//! Removing a model from the hub's cache or from this program's own folder: what this program fetched of it, and nothing else.

use super::cache::{self, Folder, PART};
use super::error::HubError;
use super::listing::is_hex;
use super::lock;
use crate::platform::files::bytes_on_disk;
use crate::store::entry::Entry;
use crate::store::folder;
use crate::store::own;
use crate::store::quant::{self, Purpose};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is to be removed.
#[derive(Debug)]
pub struct Removal {
    place: Place,
    /// Files and links, in this order.
    paths: Vec<PathBuf>,
    /// Bytes that will be free.
    pub bytes: u64,
}

/// Where it is removed from.
#[derive(Debug)]
enum Place {
    /// The cache.
    Cache(Folder),
    /// The folder of a user or an organisation in this program's own.
    Own(PathBuf),
}

/// The hash of the blob that a link leads to, and the bytes of it, if this program fetched that.
fn fetched(folder: &Folder, link: &Path) -> Option<(String, u64)> {
    let target = fs::read_link(link).ok()?;
    let hash = target.file_name()?.to_str().filter(|name| is_hex(name, 64))?;
    let bytes = fs::metadata(folder.blob(hash)).ok()?.len();
    folder.is_marked(hash).then(|| (hash.to_owned(), bytes))
}

/// Whether a file comes along with models, and goes with the last of them.
fn is_companion(file: &Path) -> bool {
    matches!(file.to_str().map_or(Purpose::Other, quant::purpose), Purpose::Vision | Purpose::Drafting)
}

/// The parts of a model that are there.
fn parts_of(model: &Entry) -> Option<Vec<PathBuf>> {
    let (parent, name) = (model.path.parent()?, model.path.file_name()?.to_str()?);
    Some(quant::siblings(name).into_iter().map(|name| parent.join(name)).filter(|part| part.exists()).collect())
}

impl Removal {
    /// What is to be removed for a model in the cache, all parts of it; with the last model of a repository what came along
    /// goes too, and what nobody goes on fetching. `None` where it was not this program that fetched it.
    pub fn of_cache(folder: Folder, model: &Entry, others_stay: bool) -> Option<Removal> {
        let links = folder.links();
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        if !model.is_unfinished() {
            found.extend(parts_of(model)?.iter().map(|part| fetched(&folder, part)).collect::<Option<Vec<_>>>()?);
            if !others_stay {
                found.extend(links.iter().filter(|link| is_companion(link)).filter_map(|link| fetched(&folder, link)));
            }
        }
        let mut bytes: u64 = found.values().sum();
        let leads = |link: &PathBuf| fetched(&folder, link).is_some_and(|(hash, _)| found.contains_key(&hash));
        let mut paths: Vec<PathBuf> = links.into_iter().filter(leads).collect();
        paths.extend(found.keys().flat_map(|hash| [folder.blob(hash), folder.mark_of(hash)]));
        if model.is_unfinished() || !others_stay {
            let is_left =
                |part: &PathBuf| cache::hash_of_part(part).is_some_and(|hash| lock::is_free(&folder.lock(hash)));
            let left: Vec<PathBuf> = folder.parts().into_iter().filter(is_left).collect();
            bytes += left.iter().map(|part| bytes_on_disk(part)).sum::<u64>();
            paths.extend(left);
        }
        Some(Removal { place: Place::Cache(folder), paths, bytes })
    }

    /// The same of a model in this program's own folder at `root`.
    pub fn of_own(root: &Path, model: &Entry, others_stay: bool) -> Option<Removal> {
        let repo = model.repo.as_ref()?;
        let folder = own::folder(root, repo);
        let below = |end| folder::files(&folder, end).into_iter().map(|file| folder.join(file));
        let mut files = if model.is_unfinished() { Vec::new() } else { parts_of(model)? };
        if !files.iter().all(|file| own::is_marked(file, None)) {
            return None;
        }
        if !others_stay {
            files.extend(below(".gguf").filter(|file| is_companion(file) && own::is_marked(file, None)));
        }
        let mut paths: Vec<PathBuf> = files.iter().flat_map(|file| [file.clone(), own::mark_of(file)]).collect();
        let is_left = |part: &PathBuf| lock::is_free(&lock::beside(part));
        let is_meant = |part: &PathBuf| *part == model.path || !others_stay;
        let left: Vec<PathBuf> = below(PART).filter(|part| is_meant(part) && is_left(part)).collect();
        let bytes = files.iter().chain(&left).map(|file| bytes_on_disk(file)).sum();
        paths.extend(left);
        Some(Removal { place: Place::Own(root.join(repo.parts().0)), paths, bytes })
    }

    /// Whether there is nothing to remove, as another process goes on fetching it.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Removes it, and folders that are empty then.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn run(self) -> Result<(), HubError> {
        for path in &self.paths {
            fs::remove_file(path).map_err(|reason| HubError::File { path: path.clone(), reason })?;
        }
        match &self.place {
            Place::Cache(folder) => folder.tidy(),
            Place::Own(user) => cache::remove_empty(user),
        }
        Ok(())
    }
}
