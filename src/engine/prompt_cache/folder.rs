//! The folder of a cache: files that appear whole, are read back only if every byte is as it was written, and are given up
//! when there are too many of them.
//!
//! ```text
//! page-KEY            keys and values of 64 rows, the last of those that KEY stands for
//! state-ROWS-KEY      what is remembered behind ROWS rows beside whole pages
//! ```
//!
//! What pictures look like may lie beside them, and counts for nothing but a list of what there is.
//!
//! A file is a line that says what it is, the 32 bytes of its key, its content, and the SHA-256 hash of all that.

use super::key::Key;
use crate::platform::atomic_file::AtomicFile;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What every file begins with.
const MAGIC: &[u8] = b"qwen-edge kept prompt 1\n";

const HASH: usize = 32;

/// Pages that no state refers to are given up after this time: another program may be about to write the state.
const ORPHANED: Duration = Duration::from_secs(600);

/// Unfinished files are given up after this time.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It cannot be made, or read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is no folder.
    #[error("{} is no folder", path.display())]
    NoFolder {
        /// What it is instead.
        path: PathBuf,
    },
    /// Others could have put something in.
    #[error("{} {why}: what lies there would be taken for what this user's models have read; take another folder, or make it private (chmod 700)", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// Whose it is, or who may write into it.
        why: &'static str,
    },
}

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("damaged or cut off")]
    Damaged,
}

/// A folder that belongs to this user alone.
pub(super) struct Folder {
    path: PathBuf,
}

/// A state that is there.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    /// Rows before it.
    pub n: usize,
    /// The name of its key.
    pub key: String,
    pub bytes: u64,
    pub used: SystemTime,
}

impl StateFile {
    fn name(&self) -> String {
        state_name(self.n, &self.key)
    }
}

fn state_name(n: usize, key: &str) -> String {
    format!("state-{n}-{key}")
}

fn page_name(key: &str) -> String {
    format!("page-{key}")
}

impl Folder {
    /// The folder at `path`, which is made where there is none.
    pub fn open(path: &Path) -> Result<Folder, FolderError> {
        let io = |error| FolderError::Io { path: path.to_owned(), error };
        make_private(path).map_err(io)?;
        let metadata = fs::metadata(path).map_err(io)?;
        if !metadata.is_dir() {
            return Err(FolderError::NoFolder { path: path.to_owned() });
        }
        if let Some(why) = open_to_others(&metadata) {
            return Err(FolderError::NotPrivate { path: path.to_owned(), why });
        }
        Ok(Folder { path: path.to_owned() })
    }

    /// The states that are there.
    pub fn states(&self) -> io::Result<Vec<StateFile>> {
        let files = self.files()?;
        Ok(files.into_iter().filter_map(|file| file.state()).collect())
    }

    /// The content of a page, which is to have so many bytes.
    pub fn read_page(&self, key: &Key, bytes: usize) -> Result<Content, FileError> {
        self.read(&page_name(&key.to_string()), key, bytes)
    }

    /// The content of a state, of `most` bytes at most.
    pub fn read_state(&self, n: usize, key: &Key, most: usize) -> Result<Content, FileError> {
        self.read(&state_name(n, &key.to_string()), key, most)
    }

    /// The beginning of a state's content, unchecked: for what is shown of it, and for what it refers to.
    pub fn peek(&self, state: &StateFile, most: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path.join(state.name()))?;
        io::copy(&mut (&mut file).take((MAGIC.len() + HASH) as u64), &mut io::sink())?;
        let mut bytes = Vec::new();
        file.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The content of a file, which is removed if it is damaged: it is then written again.
    fn read(&self, name: &str, key: &Key, most: usize) -> Result<Content, FileError> {
        let frame = MAGIC.len() + 2 * HASH;
        let mut bytes = Vec::new();
        // A file that has grown is not followed to its end.
        File::open(self.path.join(name))?.take((most + frame + 1) as u64).read_to_end(&mut bytes)?;
        if content(&bytes, key).is_none_or(|content| content.len() > most) {
            self.remove(name);
            return Err(FileError::Damaged);
        }
        Ok(Content(bytes))
    }

    /// Whether the page is there, and notes that it is of use.
    pub fn has_page(&self, key: &Key) -> bool {
        self.touch(&page_name(&key.to_string()))
    }

    /// Whether the state is there, and notes that it is of use.
    pub fn has_state(&self, n: usize, key: &Key) -> bool {
        self.touch(&state_name(n, &key.to_string()))
    }

    fn touch(&self, name: &str) -> bool {
        let path = self.path.join(name);
        // On a file system that cannot be written it is still there.
        let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        path.is_file()
    }

    /// Writes a page; returns the bytes of the file.
    pub fn write_page(&self, key: &Key, content: &[u8]) -> io::Result<u64> {
        self.write(&page_name(&key.to_string()), key, content)
    }

    /// Writes a state; returns the bytes of the file.
    pub fn write_state(&self, n: usize, key: &Key, content: &[u8]) -> io::Result<u64> {
        self.write(&state_name(n, &key.to_string()), key, content)
    }

    fn write(&self, name: &str, key: &Key, content: &[u8]) -> io::Result<u64> {
        let mut file = AtomicFile::create_private(&self.path.join(name))?;
        let mut hash = Sha256::new();
        let mut n = HASH;
        for bytes in [MAGIC, &key.0, content] {
            file.write_all(bytes)?;
            hash.update(bytes);
            n += bytes.len();
        }
        file.write_all(&hash.finalize())?;
        // Not synced: what a power cut leaves of it is found out when it is read.
        file.commit_unsynced()?;
        Ok(n as u64)
    }

    /// Removes a state.
    pub fn remove_state(&self, n: usize, key: &str) {
        let _ = fs::remove_file(self.path.join(state_name(n, key)));
    }

    /// Gives up what was not used for longest until no more than `most` bytes are left, and what is of no use. `pages_of` names
    /// the pages that a state refers to.
    pub fn sweep(&self, most: u64, pages_of: impl Fn(&StateFile) -> Option<Vec<String>>) -> io::Result<()> {
        let files = self.files()?;
        let now = SystemTime::now();
        let older = |file: &Entry, than: Duration| now.duration_since(file.used).is_ok_and(|age| age > than);
        let mut total = 0;
        let (mut states, mut pages) = (Vec::new(), Vec::new());
        for file in files {
            match file.kind() {
                Kind::State => states.extend(file.state()),
                Kind::Page => pages.push(file),
                Kind::Unfinished if older(&file, ABANDONED) => self.remove(&file.name),
                Kind::Unfinished | Kind::Picture | Kind::Other => continue,
            }
        }
        // The latest first: a page is kept for the latest state that refers to it.
        states.sort_by_key(|state| Reverse(state.used));
        let page_bytes: HashMap<&str, u64> = pages.iter().map(|page| (&page.name[..], page.bytes)).collect();
        let page_bytes = |name: &String| page_bytes.get(&name[..]).copied().unwrap_or(0);
        let mut wanted: HashSet<String> = HashSet::new();
        for (i, state) in states.iter().enumerate() {
            let its: Vec<String> = pages_of(state).unwrap_or_default().iter().map(|key| page_name(key)).collect();
            let more = state.bytes + its.iter().filter(|name| !wanted.contains(*name)).map(page_bytes).sum::<u64>();
            // The newest stays whatever it takes: it has just been checked against the limit.
            if total + more > most && i > 0 {
                self.remove(&state.name());
                continue;
            }
            total += more;
            wanted.extend(its);
        }
        for page in pages.iter().filter(|page| !wanted.contains(&page.name)) {
            if older(page, ORPHANED) || total + page.bytes > most {
                self.remove(&page.name);
            } else {
                total += page.bytes;
            }
        }
        Ok(())
    }

    /// Removes all files of a cache and returns how many bytes they had; what else lies there stays.
    pub fn clear(&self) -> io::Result<u64> {
        let mut freed = 0;
        for file in self.files()? {
            if file.kind() != Kind::Other {
                fs::remove_file(self.path.join(&file.name))?;
                freed += file.bytes;
            }
        }
        Ok(freed)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.files()?.iter().filter(|file| file.kind() != Kind::Other).map(|file| file.bytes).sum())
    }

    fn remove(&self, name: &str) {
        // Another program may have been faster.
        let _ = fs::remove_file(self.path.join(name));
    }

    fn files(&self) -> io::Result<Vec<Entry>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // One that has just gone, or has a name that is none of ours.
            let (Ok(metadata), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else { continue };
            if metadata.is_file() {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push(Entry { name, bytes: metadata.len(), used });
            }
        }
        Ok(files)
    }
}

/// A file of the folder.
struct Entry {
    name: String,
    bytes: u64,
    used: SystemTime,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Page,
    State,
    Unfinished,
    /// What a picture looks like: [`crate::vision`] keeps it.
    Picture,
    Other,
}

impl Entry {
    fn kind(&self) -> Kind {
        let (name, unfinished) = match self.name.split_once('.') {
            Some((name, rest)) if rest.ends_with(".part") => (name, true),
            Some((name, "safetensors")) if Key::is_name(name) => return Kind::Picture,
            Some(_) => return Kind::Other,
            None => (&self.name[..], false),
        };
        let kind = if name.strip_prefix("page-").is_some_and(Key::is_name) {
            Kind::Page
        } else if parse_state(name).is_some() {
            Kind::State
        } else {
            return Kind::Other;
        };
        if unfinished { Kind::Unfinished } else { kind }
    }

    fn state(&self) -> Option<StateFile> {
        let (n, key) = parse_state(&self.name)?;
        Some(StateFile { n, key: key.to_owned(), bytes: self.bytes, used: self.used })
    }
}

/// A file that is as it was written.
pub(super) struct Content(Vec<u8>);

impl Deref for Content {
    type Target = [u8];

    /// What it holds.
    fn deref(&self) -> &[u8] {
        &self.0[MAGIC.len() + HASH..self.0.len() - HASH]
    }
}

/// The content of a file of this key, if all of it is as it was written.
fn content<'a>(file: &'a [u8], key: &Key) -> Option<&'a [u8]> {
    let (written, hash) = file.split_last_chunk::<HASH>()?;
    let (its_key, content) = written.strip_prefix(MAGIC)?.split_first_chunk::<HASH>()?;
    (*its_key == key.0 && Sha256::digest(written)[..] == *hash).then_some(content)
}

/// Rows and key of the name of a state.
fn parse_state(name: &str) -> Option<(usize, &str)> {
    let (n, key) = name.strip_prefix("state-")?.split_once('-')?;
    Some((n.parse().ok()?, key)).filter(|(_, key)| Key::is_name(key))
}

/// Makes a folder for this user alone, and the folders above it, unless it is there.
#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.exists() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Why others than this user may have put something into the folder, if they may.
#[cfg(unix)]
fn open_to_others(metadata: &fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Some("belongs to another user");
    }
    (metadata.mode() & 0o022 != 0).then_some("can be written by other users")
}

#[cfg(not(unix))]
fn open_to_others(_: &fs::Metadata) -> Option<&'static str> {
    None
}
