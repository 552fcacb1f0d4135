//! Models among the files of a folder: the snapshot of a repository, or one that somebody filled by hand.

use super::entry::{Entry, Source, facts};
use super::name::Repo;
use super::quant::{self, Purpose};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep folders of a repository are looked into.
const DEPTH: usize = 4;

/// How many files are looked at: a folder with more is no folder of models.
const MOST_FILES: usize = 20_000;

/// How the name of a model's file ends.
const GGUF: &str = ".gguf";

/// The files below `folder` whose names end so, links among them, as paths with slashes relative to it; sorted.
pub(super) fn files(folder: &Path, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = MOST_FILES;
    walk(folder, "", end, DEPTH, &mut left, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, prefix: &str, end: &str, depth: usize, left: &mut usize, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        // What cannot be written as text cannot be in a name either.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && depth > 0 {
            walk(&entry.path(), &format!("{path}/"), end, depth - 1, left, found);
        } else if !is_folder && name.to_ascii_lowercase().ends_with(end) {
            found.push(path);
        }
    }
}

/// The models among `files` of `folder`, with the vision files that belong to them.
fn models(folder: &Path, files: &[String], repo: Option<&Repo>, source: Source) -> Vec<Entry> {
    let mut whole: BTreeMap<String, (Vec<&str>, u32)> = BTreeMap::new();
    for file in files.iter().filter(|file| quant::purpose(file) == Purpose::Model) {
        let (name, (_, count)) = quant::split(file).unwrap_or_else(|| (file.clone(), (1, 1)));
        whole.entry(name).or_insert((Vec::new(), count)).0.push(file);
    }
    let models = whole.into_iter().map(|(name, (parts, count))| {
        let there: Vec<_> = parts.iter().filter_map(|part| facts(&folder.join(part))).collect();
        let quant = quant::of_name(&name);
        let path = folder.join(parts[0]);
        let name = match (repo, &quant) {
            (Some(repo), Some(quant)) => format!("{repo}:{quant}"),
            (Some(repo), None) => repo.to_string(),
            // What has no name is given by its path.
            (None, _) => path.display().to_string(),
        };
        Entry {
            name,
            repo: repo.cloned(),
            bytes: there.iter().map(|(bytes, _)| bytes).sum(),
            quant,
            source,
            mmproj: vision_file(folder, files, parts[0]),
            complete: there.len() == count as usize,
            last_used: there.iter().filter_map(|(_, read)| *read).max(),
            path,
        }
    });
    models.collect()
}

/// The vision file for a model of the same repository, as a path relative to it: the one in its own folder or the nearest
/// above; in 16 bits if there is a choice, as such a tower is small and read fastest.
pub fn vision_of<'f>(files: impl IntoIterator<Item = &'f str>, model: &str) -> Option<&'f str> {
    let parent = |path: &str| path.rsplit_once('/').map_or(String::new(), |(parent, _)| format!("{parent}/"));
    let model = parent(model);
    let towers = files.into_iter().filter(|file| quant::purpose(file) == Purpose::Vision);
    let above = towers.filter(|file| model.starts_with(&parent(file)));
    above.min_by_key(|file| {
        let kind = ["F16", "BF16", "Q8_0", "F32"].iter().position(|kind| quant::is_of(file, kind));
        (usize::MAX - parent(file).len(), kind.unwrap_or(usize::MAX), file.to_string())
    })
}

fn vision_file(folder: &Path, files: &[String], model: &str) -> Option<PathBuf> {
    let there = files.iter().map(String::as_str).filter(|file| folder.join(file).is_file());
    vision_of(there, model).map(|file| folder.join(file))
}

/// The models of a folder that has the files of one repository.
pub fn of_repo(folder: &Path, repo: &Repo, source: Source) -> Vec<Entry> {
    models(folder, &files(folder, GGUF), Some(repo), source)
}

/// The repository of a file in a folder that is laid out as PUBLISHER/REPOSITORY/FILE, by its path there.
pub(super) fn repo_of(file: &str) -> Option<Repo> {
    let mut parts = file.splitn(3, '/');
    let (user, name, _) = (parts.next()?, parts.next()?, parts.next()?);
    Repo::new(&format!("{user}/{name}"))
}

/// The models of a folder that somebody filled by hand.
pub fn plain(root: &Path) -> Vec<Entry> {
    models(root, &files(root, GGUF), None, Source::Own)
}

/// The models of a folder that is laid out as PUBLISHER/REPOSITORY/FILE, as LM Studio's is.
pub fn by_publisher(root: &Path, source: Source) -> Vec<Entry> {
    let mut repos: BTreeMap<Option<Repo>, Vec<String>> = BTreeMap::new();
    for file in files(root, GGUF) {
        repos.entry(repo_of(&file)).or_default().push(file);
    }
    repos.iter().flat_map(|(repo, files)| models(root, files, repo.as_ref(), source)).collect()
}

/// The models of the flat folder of older llama.cpp: `USER_REPO_FILE.gguf`, with the address it came from in
/// `USER_REPO_FILE.gguf.json` or the repository in the name of `manifest=USER=REPO=TAG.json`.
pub fn of_llama_cpp(root: &Path) -> Vec<Entry> {
    let named = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let manifests = fs::read_dir(root).into_iter().flatten().flatten().filter_map(named).filter_map(|name| {
        let mut parts = name.strip_prefix("manifest=")?.split('=');
        Repo::new(&format!("{}/{}", parts.next()?, parts.next()?))
    });
    let manifests: Vec<Repo> = manifests.collect();
    let mut repos: BTreeMap<Option<Repo>, Vec<String>> = BTreeMap::new();
    for file in files(root, GGUF).into_iter().filter(|file| !file.contains('/')) {
        let noted = fs::read(root.join(format!("{file}.json"))).ok().filter(|bytes| bytes.len() < 1 << 16);
        let noted = noted.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let address = noted.as_ref().and_then(|note| note["url"].as_str());
        let of_address = address.and_then(|url| {
            let mut parts = url.split("://").nth(1)?.split('/').skip(1);
            Repo::new(&format!("{}/{}", parts.next()?, parts.next()?))
        });
        let of_manifest = || {
            let begins = |repo: &&Repo| file.starts_with(&format!("{}_", repo.id().replace('/', "_")));
            manifests.iter().find(begins).cloned()
        };
        repos.entry(of_address.or_else(of_manifest)).or_default().push(file);
    }
    repos.iter().flat_map(|(repo, files)| models(root, files, repo.as_ref(), Source::LlamaCpp)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_vision_file_in_sixteen_bits_belongs_to_a_model() {
        let files = ["mmproj-F32.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "a/mmproj-Q8_0.gguf", "b/m-Q4_0.gguf"];
        assert_eq!(vision_of(files, "m-Q4_0.gguf"), Some("mmproj-F16.gguf"));
        assert_eq!(vision_of(files, "a/m-Q4_0.gguf"), Some("a/mmproj-Q8_0.gguf"));
        assert_eq!(vision_of(files, "b/m-Q4_0.gguf"), Some("mmproj-F16.gguf"));
        assert_eq!(vision_of(["a/mmproj-F16.gguf"], "m.gguf"), None);
    }
}
