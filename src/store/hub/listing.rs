//! What is in a repository of the hub: the files of the commit that its main branch is at, with their sizes and hashes.
//!
//! ```text
//! GET /api/models/USER/REPO/refs                          {"branches": [{"name": "main", "targetCommit": "40 hex"}]}
//! GET /api/models/USER/REPO/tree/COMMIT?recursive=true    [{"type": "file", "path", "size", "lfs": {"oid": "64 hex", "size"}}]
//! ```

use super::error::HubError;
use crate::fetch::client::Session;
use crate::fetch::error::FetchError;
use crate::fetch::url::{Url, escape};
use crate::store::name::Repo;
use serde::Deserialize;
use std::time::Duration;

/// The branch that is meant.
pub const BRANCH: &str = "main";

/// Bytes of one answer at most.
const LARGEST: usize = 16 << 20;

/// Pages of a listing at most.
const MOST_PAGES: usize = 32;

/// A repository at one commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// The name that was asked for.
    pub repo: Repo,
    /// The name it goes by now, where that is another one.
    pub renamed: Option<Repo>,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// Its GGUF files, by path.
    pub files: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteFile {
    /// Its path in the repository, with slashes.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Its hash, 64 hexadecimal digits in small letters, where the hub says it.
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
struct Refs {
    branches: Vec<Branch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Branch {
    name: String,
    target_commit: String,
}

#[derive(Deserialize)]
struct Entry {
    r#type: String,
    path: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// Whether a text is so many hexadecimal digits.
pub fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path stays in its place: relative, without ways up, and of parts that every system can write.
fn is_sound(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 255
            && part != "."
            && part != ".."
            && !part.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    path.len() <= 1024 && path.split('/').count() <= 16 && path.split('/').all(part)
}

/// Asks what is in a repository.
///
/// # Errors
/// If the hub cannot be asked, or what it says makes no sense.
pub fn list(
    session: &mut Session<'_>,
    endpoint: &Url,
    repo: &Repo,
    tell: &mut dyn FnMut(&FetchError, Duration),
) -> Result<Listing, HubError> {
    let host = &endpoint.origin.host;
    let wrong = |what: String| HubError::Listing { host: host.clone(), repo: repo.clone(), what };
    let failed = |reason| HubError::of(repo, endpoint, repo.id(), reason);
    let models = endpoint.below("api/models")?;
    let (bytes, _, place) =
        session.get_whole(&models.below(&format!("{repo}/refs"))?, LARGEST, tell).map_err(failed)?;
    let refs: Refs = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let main = refs.branches.into_iter().find(|branch| branch.name == BRANCH);
    let commit = main.ok_or_else(|| wrong(format!("it has no branch {BRANCH}")))?.target_commit.to_ascii_lowercase();
    if !is_hex(&commit, 40) {
        return Err(wrong("a commit that is none".into()));
    }
    let now = place.target.strip_suffix("/refs").and_then(|path| path.rsplit_once("/models/"));
    let renamed = now.and_then(|(_, id)| Repo::new(id)).filter(|now| !now.id().eq_ignore_ascii_case(repo.id()));
    let first = models.below(&format!("{}/tree/{commit}?recursive=true", renamed.as_ref().unwrap_or(repo)))?;
    let mut files = Vec::new();
    let mut page = Some(first.clone());
    for _ in 0..MOST_PAGES {
        let Some(url) = page else { break };
        let (bytes, head, _) = session.get_whole(&url, LARGEST, tell).map_err(failed)?;
        let entries: Vec<Entry> = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        for entry in entries.into_iter().filter(|entry| entry.path.to_ascii_lowercase().ends_with(".gguf")) {
            if !is_sound(&entry.path) {
                return Err(wrong(format!("a file is called {:?}", entry.path)));
            }
            // Neither folders nor links.
            if entry.r#type == "file" {
                files.push(file(entry).ok_or_else(|| wrong("a hash that is none".into()))?);
            }
        }
        page = head.get("link").and_then(|link| next(link, &first));
    }
    if page.is_some() {
        return Err(wrong("it has no end".into()));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(Listing { repo: repo.clone(), renamed, commit, files })
}

fn file(entry: Entry) -> Option<RemoteFile> {
    let Some(lfs) = entry.lfs else { return Some(RemoteFile { path: entry.path, size: entry.size, sha256: None }) };
    let oid = lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid).to_ascii_lowercase();
    is_hex(&oid, 64).then_some(RemoteFile { path: entry.path, size: lfs.size, sha256: Some(oid) })
}

/// The page behind this one: what its link asks, of the server that was asked before, whomever the link names.
fn next(link: &str, first: &Url) -> Option<Url> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    let (_, query) = address.split_once('?')?;
    first.join(&format!("?{query}")).ok()
}

impl Listing {
    /// Where one of its files is asked for.
    ///
    /// # Errors
    /// If its path is too long.
    pub fn address(&self, endpoint: &Url, file: &RemoteFile) -> Result<Url, HubError> {
        let repo = self.renamed.as_ref().unwrap_or(&self.repo);
        Ok(endpoint.below(&format!("{repo}/resolve/{}/{}", self.commit, escape(&file.path)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_its_place() {
        for path in ["a.gguf", "BF16/a-00001-of-00002.gguf", "a b/ü.gguf", "..a/b..gguf"] {
            assert!(is_sound(path), "{path}");
        }
        for path in
            ["", "/a.gguf", "../a.gguf", "a/../b.gguf", "a//b.gguf", "./a", "C:\\a", "C:a", "a\0b", "a\nb", "a/"]
        {
            assert!(!is_sound(path), "{path}");
        }
    }

    #[test]
    fn the_next_page_is_at_the_server_that_was_asked() {
        let first = Url::parse("http://mirror/api/models/a/b/tree/c?recursive=true").unwrap();
        let link = "<https://other.example/api/models/a/b/tree/c?recursive=true&cursor=x>; rel=\"next\"";
        assert_eq!(
            next(link, &first).unwrap().to_string(),
            "http://mirror/api/models/a/b/tree/c?recursive=true&cursor=x"
        );
        assert_eq!(next("<http://mirror/?a>; rel=\"prev\"", &first), None);
    }
}
