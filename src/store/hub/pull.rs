//! Fetching a model: what of it is there already, what is missing, and where it is in the end.

use super::cache::{Folder, PART};
use super::choice::Choice;
use super::error::HubError;
use super::listing::{Listing, RemoteFile};
use super::lock::{self, Lock};
use crate::fetch::client::Client;
use crate::fetch::download::{self, Wanted};
use crate::fetch::error::FetchError;
use crate::fetch::part::Part;
use crate::hex::Hex;
use crate::platform::disk::free_space;
use crate::store::own;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where a model is put.
#[derive(Clone, Debug)]
pub enum Place {
    /// The hub's cache.
    Cache(Folder),
    /// The place of its repository in this program's own folder: the files by their paths, each with a note of its hash.
    Own(PathBuf),
    /// A folder that the user named: the files by their paths.
    Named(PathBuf),
}

/// What happens to a file.
#[derive(Debug)]
pub enum Event {
    /// It is there.
    Present,
    /// Another process fetches it, and is waited for.
    Locked,
    /// It is being fetched; so many bytes were there before.
    Begins(u64),
    /// See there.
    Download(download::Event),
    /// It is there now.
    Done,
}

/// A model to fetch.
#[derive(Clone, Debug)]
pub struct Pull<'p> {
    /// What is in the repository.
    pub listing: &'p Listing,
    /// Which of it is meant.
    pub choice: &'p Choice,
    /// Where it is put.
    pub place: &'p Place,
}

/// Whether a file of that many bytes is there, behind any links.
fn is_there(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// Whether the bytes of a file have a hash.
fn has_hash(path: &Path, sha256: &str) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(Hex(&hasher.finalize()).to_string() == sha256)
}

/// The sum of what there is to add; `None` where there is nothing.
fn sum(bytes: &[Option<u64>]) -> Option<u64> {
    bytes.iter().flatten().copied().reduce(u64::saturating_add)
}

/// The hash of a file, without which it is not fetched.
fn hash(file: &RemoteFile) -> Result<&str, HubError> {
    file.sha256.as_deref().ok_or_else(|| HubError::NoHash { file: file.path.clone() })
}

impl Pull<'_> {
    /// Where a file is in the end.
    pub fn path(&self, file: &RemoteFile) -> PathBuf {
        match self.place {
            Place::Cache(folder) => folder.file(&self.listing.commit, &file.path),
            Place::Own(folder) | Place::Named(folder) => folder.join(&file.path),
        }
    }

    /// Where its bytes are in the end.
    fn target(&self, file: &RemoteFile, hash: &str) -> PathBuf {
        match self.place {
            Place::Cache(folder) => folder.blob(hash),
            Place::Own(_) | Place::Named(_) => self.path(file),
        }
    }

    /// Where its bytes are until then.
    fn part(&self, file: &RemoteFile, hash: &str) -> PathBuf {
        match self.place {
            Place::Cache(folder) => folder.part(hash),
            Place::Own(folder) | Place::Named(folder) => folder.join(format!("{}{PART}", file.path)),
        }
    }

    /// Whether a file is there. In a named folder any file may have its name, so that its bytes are looked at.
    fn has(&self, file: &RemoteFile, hash: &str) -> bool {
        match self.place {
            Place::Cache(folder) => is_there(&folder.blob(hash), file.size) || is_there(&self.path(file), file.size),
            Place::Own(_) => {
                let path = self.path(file);
                is_there(&path, file.size) && own::is_marked(&path, Some(hash))
            }
            Place::Named(_) => {
                let path = self.path(file);
                is_there(&path, file.size) && has_hash(&path, hash).unwrap_or(false)
            }
        }
    }

    /// Bytes of a file that are to be fetched; blocks that are there are not.
    ///
    /// # Errors
    /// If the hub does not say its hash.
    fn missing_of(&self, file: &RemoteFile) -> Result<Option<u64>, HubError> {
        let hash = hash(file)?;
        let part = || Part::bytes_at(&self.part(file, hash), file.size);
        Ok((!self.has(file, hash)).then(|| file.size.saturating_sub(part())))
    }

    /// Bytes that are to be fetched; blocks that are there are not. `None` where all is there.
    ///
    /// # Errors
    /// If the hub does not say the hash of a file.
    pub fn missing(&self) -> Result<Option<u64>, HubError> {
        Ok(sum(&self.missing_of_each()?))
    }

    fn missing_of_each(&self) -> Result<Vec<Option<u64>>, HubError> {
        self.choice.files().map(|file| self.missing_of(file)).collect()
    }

    /// Fetches what is missing: the path of the model, of a split one its first part.
    ///
    /// # Errors
    /// If it cannot be had or written. Parts of files stay for the next time.
    pub fn fetch(&self, client: &Client, tell: &mut dyn FnMut(&RemoteFile, Event)) -> Result<PathBuf, HubError> {
        let folder = match self.place {
            Place::Cache(folder) => folder.path(),
            Place::Own(folder) | Place::Named(folder) => folder,
        };
        let missing = self.missing_of_each()?;
        let need = sum(&missing).unwrap_or(0);
        if let Some(free) = free_space(folder).filter(|free| *free < need) {
            let reason = FetchError::NoSpace { need, free, folder: folder.to_owned() };
            return Err(HubError::Fetch { what: self.listing.repo.to_string(), reason });
        }
        for (file, missing) in self.choice.files().zip(missing) {
            match missing {
                Some(_) => self.fetch_file(client, file, &mut |event| tell(file, event))?,
                None => tell(file, Event::Present),
            }
        }
        if let Place::Cache(folder) = self.place {
            // What was fetched before and is the same in this commit stays with it.
            for file in &self.listing.files {
                if let Some(hash) = file.sha256.as_ref().filter(|hash| is_there(&folder.blob(hash), file.size)) {
                    folder.link(&self.listing.commit, &file.path, hash)?;
                }
            }
            folder.set_main(&self.listing.commit)?;
        }
        Ok(self.path(&self.choice.model[0]))
    }

    fn fetch_file(&self, client: &Client, file: &RemoteFile, tell: &mut dyn FnMut(Event)) -> Result<(), HubError> {
        let hash = hash(file)?;
        let (target, part) = (self.target(file, hash), self.part(file, hash));
        let folder = target.parent().unwrap_or(Path::new("."));
        let failed = |path: &Path, reason| HubError::File { path: path.to_owned(), reason };
        fs::create_dir_all(folder).map_err(|reason| failed(folder, reason))?;
        let lock = match self.place {
            Place::Cache(folder) => folder.lock(hash),
            Place::Own(_) | Place::Named(_) => lock::beside(&part),
        };
        let held = Lock::take(&lock, || tell(Event::Locked)).map_err(|reason| failed(&lock, reason))?;
        let was_there = self.has(file, hash);
        let fetched = if was_there { Ok(()) } else { self.download(client, file, (&part, &target), tell) };
        if !matches!(self.place, Place::Cache(_)) {
            // The hub's client leaves its locks where they are; elsewhere they would be litter.
            let _ = fs::remove_file(&lock);
        }
        drop(held);
        fetched?;
        if was_there {
            tell(Event::Present);
            return Ok(());
        }
        match self.place {
            Place::Cache(folder) => folder.mark(hash)?,
            Place::Own(_) => own::mark(&target, hash).map_err(|reason| failed(&own::mark_of(&target), reason))?,
            Place::Named(_) => {}
        }
        tell(Event::Done);
        Ok(())
    }

    /// Fetches a file, whose lock is held.
    fn download(
        &self,
        client: &Client,
        file: &RemoteFile,
        (part, target): (&Path, &Path),
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), HubError> {
        let endpoint = &client.settings().endpoint;
        let url = self.listing.address(endpoint, file)?;
        let wanted = Wanted { url, size: file.size, sha256: hash(file)?.to_owned() };
        let fetched = Part::open(part, file.size).and_then(|part| {
            tell(Event::Begins(part.bytes()));
            download::fetch(client, &wanted, part, target, &mut |event| tell(Event::Download(event)))
        });
        fetched.map_err(|reason| HubError::of(&self.listing.repo, endpoint, &file.path, reason))
    }
}
