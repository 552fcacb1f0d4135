//! From what the user calls a model to its file.

use anyhow::bail;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::platform::machine::Machine;
use qwen_edge::store::found;
use qwen_edge::store::name::{Name, is_path};
use qwen_edge::store::places::Places;
use std::path::{Path, PathBuf};

/// Of the memory that is free, the part that weights may take when a quantisation is chosen; the rest is for the context.
const FOR_WEIGHTS: f64 = 0.8;

/// The file that `model` means. What is there under that path, or can only be a path, is one.
///
/// # Errors
/// If it is the name of no model on this machine.
pub(super) fn file(model: &Path) -> anyhow::Result<PathBuf> {
    if is_path(model) || model.exists() {
        return Ok(model.to_owned());
    }
    let name = Name::parse(&model.to_string_lossy())?;
    let models = found::models(&Places::of_environment());
    let named = found::named(&models, &name);
    let free = Machine::default().free_memory().map_or(u64::MAX, |(free, _)| free);
    let Some(entry) = found::best(&named, (free as f64 * FOR_WEIGHTS) as u64) else {
        match named.first() {
            Some(entry) => bail!("{name} is not complete: {} is a part of it", entry.path.display()),
            None => bail!("{name} is not on this machine; `qwen-edge list` shows what is"),
        }
    };
    if named.len() > 1 {
        let size = ByteSize(entry.bytes);
        say!("note: of {} files for {name}, {} is taken: {size}, the largest that fits", named.len(), entry.name);
    }
    Ok(entry.path.clone())
}
