//! `qwen-edge list`: the models on this machine, whichever program has brought them.

use super::printable;
use anyhow::Context as _;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::store::entry::Entry;
use qwen_edge::store::found;
use qwen_edge::store::places::Places;
use serde_json::{Value, json};
use std::io::Write;
use std::time::UNIX_EPOCH;

/// List the models on this machine, by the names that run takes
///
/// Looked for are GGUF files in the caches of the Hugging Face hub, Ollama, LM Studio and llama.cpp, and in this program's own
/// folder, $QWEN_EDGE_HOME/models, else $XDG_DATA_HOME/qwen-edge/models. They are used where they lie.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qwen-edge list
  qwen-edge run unsloth/Qwen3.5-4B-GGUF:Q4_K_M
  qwen-edge run ollama:qwen3.5:4b")]
pub struct Args {
    /// Print JSON: [{name, path, bytes, quant, source, mmproj, complete, last_used}]
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If standard output takes no more.
pub fn run(args: Args) -> anyhow::Result<()> {
    let models = found::models(&Places::of_environment());
    let mut out = std::io::stdout().lock();
    let written = if args.json {
        let models: Vec<Value> = models.iter().map(entry_json).collect();
        writeln!(out, "{}", printable::json(&Value::from(models).to_string()))
    } else if models.is_empty() {
        writeln!(out, "no models found; a GGUF file anywhere can be given by its path")
    } else {
        let width = models.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
        models.iter().try_for_each(|entry| {
            let (name, size) = (printable::line(&entry.name), ByteSize(entry.bytes).to_string());
            let more = match (entry.complete, &entry.mmproj) {
                (false, _) => ", not complete",
                (true, Some(_)) => ", with a vision file",
                (true, None) => "",
            };
            writeln!(out, "{name:width$}  {size:>9}  {}{more}", entry.source.name())
        })
    };
    written.context("cannot write to standard output")
}

fn entry_json(entry: &Entry) -> Value {
    let seconds = entry.last_used.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|time| time.as_secs());
    json!({
        "name": entry.name,
        "path": entry.path.to_string_lossy(),
        "bytes": entry.bytes,
        "quant": entry.quant,
        "source": entry.source.name(),
        "mmproj": entry.mmproj.as_ref().map(|path| path.to_string_lossy()),
        "complete": entry.complete,
        "last_used": seconds,
    })
}
