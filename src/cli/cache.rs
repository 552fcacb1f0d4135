//! `qwen-edge cache`: what `run --cache` keeps in a folder, and its removal.

use super::printable;
use anyhow::Context as _;
use clap::Subcommand;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::prompt_cache::CacheFolder;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Show or empty a folder of kept prompts
///
/// What run --cache DIR has read of prompts is kept in DIR, so that it is not read again; and what pictures look like.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qwen-edge cache list ~/.cache/qwen-edge
  qwen-edge cache clear ~/.cache/qwen-edge")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List what is kept, the latest used first
    List {
        /// The folder
        dir: PathBuf,
    },
    /// Remove all that is kept, pictures included; other files in the folder stay
    Clear {
        /// The folder
        dir: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// If there is no such folder, it belongs to others, or cannot be read or emptied.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match args.what {
        What::List { dir } => {
            let (kept, bytes) = open(&dir)?.list().with_context(|| dir.display().to_string())?;
            if !kept.is_empty() {
                writeln!(out, "{:>8}  {:>10}  {:>10}  model", "tokens", "state", "last used")?;
            }
            for entry in &kept {
                let (state, model) = (ByteSize(entry.bytes).to_string(), printable::line(&entry.model));
                writeln!(out, "{:>8}  {state:>10}  {:>10}  {model}", entry.n_token, ago(entry.used))?;
            }
            writeln!(out, "{} kept; {bytes} in all, with keys and values, and pictures", kept.len())?;
        }
        What::Clear { dir } => {
            let freed = open(&dir)?.clear().with_context(|| dir.display().to_string())?;
            writeln!(out, "{freed} freed")?;
        }
    }
    Ok(())
}

/// The folder, which is not made if there is none.
fn open(dir: &Path) -> anyhow::Result<CacheFolder> {
    dir.metadata().with_context(|| dir.display().to_string())?;
    Ok(CacheFolder::open(dir)?)
}

/// How long ago, in the largest unit that fits.
fn ago(time: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(time).map_or(0, |age| age.as_secs());
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
