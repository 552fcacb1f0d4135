//! From what the user calls a model to its file.

use super::pull::Found;
use anyhow::{Context as _, anyhow, bail};
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::platform::machine::Machine;
use qwen_edge::store::hub::settings::Settings;
use qwen_edge::store::name::{Name, is_path};
use qwen_edge::store::places::Places;
use qwen_edge::store::table::Table;
use qwen_edge::store::{fit, found};
use std::io::{BufRead, IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};

/// Memory that is free, in bytes, where the system says that.
pub(super) fn free_memory() -> Option<u64> {
    Machine::default().free_memory().map(|(free, _)| free)
}

/// Bytes that the weights of a model of that name may take of the free memory.
pub(super) fn weights_within(free: Option<u64>, name: &str) -> u64 {
    free.map_or(u64::MAX, |free| fit::weights_within(free, name))
}

/// The file that `model` means. What is there under that path, or can only be a path, is one.
///
/// # Errors
/// If it is the name of no model on this machine.
pub(super) fn file(model: &Path) -> anyhow::Result<PathBuf> {
    look(model)?.map_err(|name| anyhow!(absent(&name)))
}

/// The same, or the name of a model that is not on this machine.
fn look(model: &Path) -> anyhow::Result<Result<PathBuf, Name>> {
    if is_path(model) || model.exists() {
        return Ok(Ok(model.to_owned()));
    }
    let name = Name::parse(&model.to_string_lossy())?;
    Ok(here(&name)?.ok_or(name))
}

/// The same; a model that is not on this machine is fetched, if the user says so or said so with `yes`.
///
/// # Errors
/// As [`file`], and if it cannot be fetched.
pub(super) fn file_or_fetched(model: &Path, yes: bool) -> anyhow::Result<PathBuf> {
    let name = match look(model)? {
        Ok(path) => return Ok(path),
        Err(name) => name,
    };
    let settings = Settings::of_environment()?;
    if matches!(name, Name::Ollama { .. }) || settings.offline || !(yes || can_ask()) {
        bail!(absent(&name));
    }
    let found = Found::look(&name, settings)?;
    if !yes && !ask(&format!("{name} is not on this machine. Fetch {}?", found.describe()))? {
        bail!(absent(&name));
    }
    found.fetch(None)
}

/// What is said of a model that is not here.
fn absent(name: &Name) -> String {
    match name {
        Name::Ollama { model, tag } => format!("{name} is not on this machine: ollama pull {model}:{tag} fetches it"),
        _ => {
            format!("{name} is not on this machine: qwen-edge pull {name} fetches it, and qwen-edge list shows what is")
        }
    }
}

/// The file of a model on this machine.
///
/// # Errors
/// If it is not complete.
pub(super) fn here(name: &Name) -> anyhow::Result<Option<PathBuf>> {
    let models = found::models(&Places::of_environment());
    let named = found::named(&models, name, &Table::of_environment()?);
    let free = free_memory();
    let Some(entry) = found::best(&named, |name| weights_within(free, name)) else {
        return match named.first() {
            Some(entry) => bail!("{name} is not complete: {} is a part of it", entry.path.display()),
            None => Ok(None),
        };
    };
    if named.len() > 1 {
        let size = ByteSize(entry.bytes);
        let why = if entry.bytes <= weights_within(free, &entry.name) { "the best that fits" } else { "none fits" };
        say!("note: of {} files for {name}, {} is taken: {size}, {why}", named.len(), entry.name);
    }
    Ok(Some(entry.path.clone()))
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
