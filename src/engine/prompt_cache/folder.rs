//! The folder of a cache: files that appear whole, are read back only if every byte is as it was written, and are given up
//! when there are too many of them.
//!
//! ```text
//! page-KEY            keys and values of 64 rows, the last of those that KEY stands for: the rows, and how each was computed
//! state-ROWS-KEY      what is remembered behind ROWS rows and a few more beside whole pages; here KEY stands for the ROWS rows
//!                     alone, so that it is found by a prompt
//! ```
//!
//! What pictures look like may lie beside them, and is given up as states are; and `levels` ([`super::room`]), and how often the
//! experts of a model were used ([`crate::engine::expert_uses`]).
//!
//! A file is a line that says what it is, the 32 bytes of its key, its content, and the SHA-256 hash of all that.

use super::key::Key;
use super::room::{Contents, Levels, Owner, Saves, StateRows};
use super::state::StateHead;
use crate::engine::byte_size::ByteSize;
use crate::engine::greedy_dual::Level;
use crate::platform::atomic_file::AtomicFile;
use crate::platform::files::{create_private_folder, open_to_others};
use crate::platform::told_writer::ToldWriter;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What every file begins with.
const MAGIC: &[u8] = b"qwen-edge kept prompt 3\n";

const HASH: usize = 32;

/// The name of the file of levels, and bytes of it that are read at most.
const LEVELS: &str = "levels";
const MOST_LEVELS: u64 = 1 << 20;

/// Pages that no state refers to are given up after this time: another program may be about to write the state.
const ORPHANED: Duration = Duration::from_secs(600);

/// Unfinished files are given up after this time: whoever writes one needs seconds.
const ABANDONED: Duration = Duration::from_secs(600);

/// What writes the content of a file, the same every time.
pub(super) type Writes<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'a;

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

/// A folder in which prompts are kept, of whatever model; it belongs to this user alone.
pub struct CacheFolder {
    path: PathBuf,
}

/// Something that is kept, for a list.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Tokens that it saves the reading of.
    pub n_token: usize,
    /// The model's name.
    pub model: String,
    /// Bytes of its own, without the pages it shares.
    pub bytes: u64,
    /// When it was last of use.
    pub used: SystemTime,
}

/// A state that is there.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    /// Rows in it.
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

impl CacheFolder {
    /// The folder at `path`, which is made where there is none.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<CacheFolder, FolderError> {
        let io = |error| FolderError::Io { path: path.to_owned(), error };
        create_private_folder(path).map_err(io)?;
        let metadata = fs::metadata(path).map_err(io)?;
        if !metadata.is_dir() {
            return Err(FolderError::NoFolder { path: path.to_owned() });
        }
        if let Some(why) = open_to_others(&metadata) {
            return Err(FolderError::NotPrivate { path: path.to_owned(), why });
        }
        Ok(CacheFolder { path: path.to_owned() })
    }

    /// The path of a file of the folder that is no part of a prompt.
    pub(in crate::engine) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Keeps other programs from writing as long as the file that it returns is there: together they would have more than each
    /// may. None where folders cannot be locked, as on some file systems of networks.
    pub(super) fn lock(&self) -> Option<File> {
        let folder = File::open(&self.path).ok()?;
        folder.lock().ok()?;
        Some(folder)
    }

    /// What is kept, the latest used first, and the bytes of it all.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> io::Result<(Vec<Kept>, ByteSize)> {
        let mut states = self.states()?;
        states.sort_by_key(|state| Reverse(state.used));
        let kept = states.iter().map(|state| Kept {
            n_token: state.n,
            model: self.head(state).map_or_else(|| "damaged, or of another version".to_owned(), |head| head.model),
            bytes: state.bytes,
            used: state.used,
        });
        let bytes = self.files()?.iter().filter(|file| file.kind() != Kind::Other).map(|file| file.bytes).sum();
        Ok((kept.collect(), ByteSize(bytes)))
    }

    /// Removes all that is kept, and returns how many bytes that were. What else lies there stays.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn clear(&self) -> io::Result<ByteSize> {
        let mut freed = 0;
        for file in self.files()?.iter().filter(|file| file.kind() != Kind::Other) {
            match fs::remove_file(self.path.join(&file.name)) {
                // Another program was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map(|()| freed += file.bytes)?,
            }
        }
        Ok(ByteSize(freed))
    }

    /// The states that are there.
    pub(super) fn states(&self) -> io::Result<Vec<StateFile>> {
        let files = self.files()?;
        Ok(files.into_iter().filter_map(|file| file.state()).collect())
    }

    /// What a state says of itself, unchecked: for a list, and for the pages it refers to. `None` if it is of another version.
    pub(super) fn head(&self, state: &StateFile) -> Option<StateHead> {
        let file = File::open(self.path.join(state.name())).ok()?;
        let most = StateHead::most_bytes(state.n).saturating_add(MAGIC.len() + HASH);
        let mut bytes = Vec::new();
        file.take(most as u64).read_to_end(&mut bytes).ok()?;
        StateHead::take(&mut bytes.strip_prefix(MAGIC)?.get(HASH..)?, state.n)
    }

    /// The content of a page of so many bytes.
    pub(super) fn read_page(&self, key: &Key, bytes: usize) -> Result<Content, FileError> {
        self.read(&page_name(&key.to_string()), key, bytes)
    }

    /// The content of a state, which has no more than `most` bytes.
    pub(super) fn read_state(&self, n: usize, key: &Key, most: usize) -> Result<Content, FileError> {
        self.read(&state_name(n, &key.to_string()), key, most)
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
    pub(super) fn has_page(&self, key: &Key) -> bool {
        self.touch(&page_name(&key.to_string()))
    }

    /// Whether the state is there, and notes that it is of use.
    pub(super) fn has_state(&self, n: usize, key: &Key) -> bool {
        self.touch(&state_name(n, &key.to_string()))
    }

    fn touch(&self, name: &str) -> bool {
        let path = self.path.join(name);
        // On a file system that cannot be written it is still there.
        let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        path.is_file()
    }

    /// Writes a page; returns the bytes of the file.
    pub(super) fn write_page(&self, key: &Key, content: &Writes<'_>) -> io::Result<u64> {
        self.write(&page_name(&key.to_string()), key, content)
    }

    /// Writes a state; returns the bytes of the file.
    pub(super) fn write_state(&self, n: usize, key: &Key, content: &Writes<'_>) -> io::Result<u64> {
        self.write(&state_name(n, &key.to_string()), key, content)
    }

    fn write(&self, name: &str, key: &Key, content: &Writes<'_>) -> io::Result<u64> {
        let (mut hash, mut n) = (Sha256::new(), 0);
        let file = AtomicFile::create_private(&self.path.join(name))?;
        let told = |bytes: &[u8]| {
            hash.update(bytes);
            n += bytes.len();
        };
        let mut out = ToldWriter { out: file, told };
        [MAGIC, &key.0].into_iter().try_for_each(|bytes| out.write_all(bytes))?;
        content(&mut out)?;
        let ToldWriter { out: mut file, .. } = out;
        file.write_all(&hash.finalize())?;
        // Not synced: what a power cut leaves of it is found out when it is read.
        file.commit_unsynced()?;
        Ok((n + HASH) as u64)
    }

    /// Removes a state.
    pub(super) fn remove_state(&self, n: usize, key: &str) {
        let _ = fs::remove_file(self.path.join(state_name(n, key)));
    }

    /// Gives up what is worth least until a state of `new` bytes for `rows` and those of its `pages` that are missing, of
    /// `page_bytes` each, can be written and no more than `most` bytes are there; and what is of no use.
    pub(super) fn make_room(
        &self,
        most: u64,
        new: u64,
        rows: &StateRows,
        pages: &[Key],
        page_bytes: u64,
    ) -> io::Result<()> {
        let now = SystemTime::now();
        let older = |file: &Entry, than: Duration| now.duration_since(file.used).is_ok_and(|age| age > than);
        let wanted: HashSet<String> = pages.iter().map(|key| page_name(&key.to_string())).collect();
        let mut total = new.saturating_add(page_bytes.saturating_mul(pages.len() as u64));
        let (mut owners, mut there) = (Vec::new(), Vec::new());
        for file in self.files()? {
            match file.kind() {
                Kind::State | Kind::Picture => owners.push(self.owner(file)),
                Kind::Page => there.push(file),
                Kind::Unfinished if older(&file, ABANDONED) => self.remove(&file.name),
                Kind::Unfinished => total += file.bytes,
                Kind::Levels | Kind::Experts | Kind::Other => {}
            }
        }
        // Levels are written beside the old ones.
        let most = most.saturating_sub(2 * Levels::most_bytes(owners.len()));
        total += owners.iter().map(|owner| owner.bytes).sum::<u64>();
        total += there.iter().filter(|page| !wanted.contains(&page.name)).map(|page| page.bytes).sum::<u64>();
        let used: HashSet<&String> = owners.iter().flat_map(|owner| &owner.pages).chain(&wanted).collect();
        there.retain(|page| {
            let goes = !used.contains(&page.name) && (older(page, ORPHANED) || total > most);
            if goes {
                self.remove(&page.name);
                total -= page.bytes;
            }
            !goes
        });
        if total <= most {
            return Ok(());
        }
        let path = self.path.join(LEVELS);
        let mut text = String::new();
        let _ = File::open(&path).and_then(|file| file.take(MOST_LEVELS).read_to_string(&mut text));
        let mut levels = Levels::parse(&text);
        let pages = there.into_iter().map(|page| (page.name, page.bytes)).collect();
        let mut contents = Contents { owners: &mut owners, pages: &pages, wanted: &wanted, new: rows, total };
        contents.give_up(most, &mut levels).iter().for_each(|name| self.remove(name));
        // Without them all goes on.
        if let Some(text) = levels.to_text(&owners) {
            let _ = AtomicFile::create_private(&path).and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.commit_unsynced()
            });
        }
        Ok(())
    }

    /// What a state or a picture saves, and what it needs.
    fn owner(&self, file: Entry) -> Owner {
        let state = file.state();
        let head = state.as_ref().and_then(|state| self.head(state));
        let pages = head.iter().flat_map(|head| &head.pages).map(|&key| page_name(&Key(key).to_string())).collect();
        let saves = match (state, head) {
            (None, _) => Saves::Picture,
            (Some(_), None) => Saves::Nothing,
            (Some(state), Some(head)) => {
                Saves::Rows(StateRows { base: head.base, keys: head.row_keys, n_base: state.n })
            }
        };
        Owner { name: file.name, bytes: file.bytes, used: file.used, level: Level::default(), pages, saves }
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
    Levels,
    Experts,
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
        } else if name == LEVELS {
            Kind::Levels
        } else if name.strip_prefix("experts-").is_some_and(Key::is_name) {
            Kind::Experts
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

/// Bytes of a file with so many bytes of content.
pub(super) fn file_bytes(content: usize) -> u64 {
    (MAGIC.len() + 2 * HASH).saturating_add(content) as u64
}

/// Rows and key of the name of a state.
fn parse_state(name: &str) -> Option<(usize, &str)> {
    let (n, key) = name.strip_prefix("state-")?.split_once('-')?;
    Some((n.parse().ok()?, key)).filter(|(_, key)| Key::is_name(key))
}
