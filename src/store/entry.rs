//! A model that is on this machine.

use super::hub::cache::PART;
use super::name::{HubName, Repo};
use crate::platform::files::bytes_on_disk;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Whose store a model lies in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// This program's own folder.
    Own,
    /// The cache of the Hugging Face hub, which several programs share.
    HubCache,
    /// Ollama's store.
    Ollama,
    /// LM Studio's folder.
    LmStudio,
    /// llama.cpp's folder.
    LlamaCpp,
}

impl Source {
    /// Its name in lists.
    pub fn name(self) -> &'static str {
        match self {
            Source::Own => "qwen-edge",
            Source::HubCache => "huggingface",
            Source::Ollama => "ollama",
            Source::LmStudio => "lmstudio",
            Source::LlamaCpp => "llama.cpp",
        }
    }
}

/// A model, and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What `run` and the others take for it.
    pub name: String,
    /// The repository it came from, where that is known.
    pub repo: Option<Repo>,
    /// The model's file; of a split one the first part. Where it is not complete, what there is of it: also a file in the
    /// making, when nothing else is there yet.
    pub path: PathBuf,
    /// Bytes of all its parts, without the vision file.
    pub bytes: u64,
    /// Its quantisation, by its name.
    pub quant: Option<String>,
    /// Whose store it lies in.
    pub source: Source,
    /// The vision file that belongs to it.
    pub mmproj: Option<PathBuf>,
    /// Whether all of it is there.
    pub complete: bool,
    /// When its file was last read, as far as the system keeps that.
    pub last_used: Option<SystemTime>,
}

impl Entry {
    /// Whether it is what a name of the hub asks for.
    pub fn is(&self, name: &HubName) -> bool {
        let same = |repo: &Repo| repo.id().eq_ignore_ascii_case(name.repo.id());
        self.repo.as_ref().is_some_and(same) && name.quant.as_ref().is_none_or(|quant| self.is_quantised(quant))
    }

    /// A file in the making, which this program has begun to fetch; `None` where it is gone.
    pub(super) fn unfinished(repo: Repo, quant: Option<String>, path: PathBuf, source: Source) -> Option<Entry> {
        let (_, last_used) = facts(&path)?;
        let name = HubName { repo: repo.clone(), quant: quant.clone() }.to_string();
        let bytes = bytes_on_disk(&path);
        Some(Entry { name, repo: Some(repo), path, bytes, quant, source, mmproj: None, complete: false, last_used })
    }

    /// Its name and that of its file, of which one may say the size of the model.
    pub fn said_name(&self) -> String {
        format!("{}:{}", self.name, self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// Whether it is a file in the making.
    pub fn is_unfinished(&self) -> bool {
        self.path.to_str().is_some_and(|path| path.ends_with(PART))
    }

    /// Whether it is quantised so.
    fn is_quantised(&self, quant: &str) -> bool {
        let of_name = self.path.to_str().is_some_and(|path| super::quant::is_of(path, quant));
        of_name || self.quant.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(quant))
    }
}

/// Bytes of a file behind any links and when it was last read; `None` where there is no file.
pub(super) fn facts(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((meta.len(), meta.accessed().ok()))
}
