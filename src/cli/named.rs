//! From what the user calls a model to its file.

use super::pull::Found;
use anyhow::{Context as _, anyhow, bail};
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::store::entry::Entry;
use qwen_edge::store::fit::Room;
use qwen_edge::store::found;
use qwen_edge::store::hub::settings::Settings;
use qwen_edge::store::name::{Name, is_path};
use qwen_edge::store::places::Places;
use qwen_edge::store::table::Table;
use std::fmt;
use std::io::{BufRead, IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};

/// What a model of that name needs of the memory that is free.
pub(super) fn needs(room: &Room, name: &str, weights: u64) -> String {
    let free = room.free.map_or("an unknown amount".to_owned(), |free| ByteSize(free).to_string());
    let beside = ByteSize(room.beside(name));
    format!("{} of weights and {beside} for 8,192 tokens of context, of {free} of free memory", ByteSize(weights))
}

/// Why a model of that name, whose weights take so many bytes, is the one of several that is taken.
pub(super) fn why(room: &Room, name: &str, weights: u64) -> String {
    let is = if weights <= room.for_weights(name) { "the best that fits" } else { "the smallest, as none fits" };
    format!("{is} ({})", needs(room, name, weights))
}

/// The file that `model` means. What is there under that path, or can only be a path, is one.
///
/// # Errors
/// If it is the name of no model on this machine.
pub(super) fn file(model: &Path) -> anyhow::Result<PathBuf> {
    look(model)?.map_err(|missing| anyhow!(missing.to_string()))
}

/// A model that is not on this machine, or not all of it.
struct Missing {
    name: Name,
    /// What there is of it.
    part: Option<PathBuf>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Missing { name, part } = self;
        match part {
            Some(part) => write!(f, "{name} is not complete ({} is a part of it): ", part.display())?,
            None => write!(f, "{name} is not on this machine: ")?,
        }
        match name {
            Name::Ollama { model, tag } => write!(f, "ollama pull {model}:{tag} fetches it"),
            _ => write!(f, "qwen-edge pull {name} fetches it, and qwen-edge list shows what is"),
        }
    }
}

/// The same, or what is missing.
fn look(model: &Path) -> anyhow::Result<Result<PathBuf, Missing>> {
    if is_path(model) || model.exists() {
        return Ok(Ok(model.to_owned()));
    }
    let name = Name::parse(&model.to_string_lossy())?;
    Ok(here(&name)?.map_err(|part| Missing { name, part }))
}

/// The same; a model that is not on this machine is fetched, if the user says so or said so with `yes`.
///
/// # Errors
/// As [`file`], and if it cannot be fetched.
pub(super) fn file_or_fetched(model: &Path, yes: bool) -> anyhow::Result<PathBuf> {
    let missing = match look(model)? {
        Ok(path) => return Ok(path),
        Err(missing) => missing,
    };
    let settings = Settings::of_environment()?;
    let name = &missing.name;
    if matches!(name, Name::Ollama { .. }) || settings.offline || !(yes || can_ask()) {
        bail!(missing.to_string());
    }
    let found = Found::look(name, settings)?;
    let lacks = if missing.part.is_some() { "is not complete" } else { "is not on this machine" };
    if !yes && !ask(&format!("{name} {lacks}. Fetch {}?", found.describe()))? {
        bail!(missing.to_string());
    }
    found.fetch(None)
}

/// The file of a model on this machine; of one that is not complete what there is of it, if anything.
///
/// # Errors
/// If the table of names cannot be read.
pub(super) fn here(name: &Name) -> anyhow::Result<Result<PathBuf, Option<PathBuf>>> {
    let models = found::models(&Places::of_environment());
    let named = found::named(&models, name, &Table::of_environment()?);
    let whole: Vec<&Entry> = named.iter().copied().filter(|entry| entry.complete).collect();
    let room = Room::of_machine();
    let Some(entry) = found::best(&whole, |name| room.for_weights(name)) else {
        return Ok(Err(named.first().map(|entry| entry.path.clone())));
    };
    if whole.len() > 1 {
        let why = why(&room, &entry.said_name(), entry.bytes);
        say!("note: of {} files for {name}, {} is taken: {why}", whole.len(), entry.name);
    }
    Ok(Ok(entry.path.clone()))
}

/// Whether there is somebody to ask.
pub(super) fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks something that yes or no answers; no where nothing is said.
///
/// # Errors
/// If standard input cannot be read.
pub(super) fn ask(question: &str) -> anyhow::Result<bool> {
    show!("{question} [y/N] ");
    let mut line = String::new();
    stdin().lock().read_line(&mut line).context("cannot read standard input")?;
    Ok(["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
}
