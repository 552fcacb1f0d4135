//! `qwen-edge rm`: remove a model that this program fetched.

use super::named;
use anyhow::{Context as _, bail, ensure};
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::store::entry::{Entry, Source};
use qwen_edge::store::found;
use qwen_edge::store::hub::cache::Folder;
use qwen_edge::store::hub::removal::Removal;
use qwen_edge::store::name::{Name, is_path};
use qwen_edge::store::places::Places;
use qwen_edge::store::table::Table;
use std::path::Path;

/// Remove a model that qwen-edge pull fetched
///
/// What other programs have fetched stays. The hub's cache may be in use by them, so that it asks first.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qwen-edge rm unsloth/Qwen3.5-4B-GGUF:Q4_K_M")]
pub struct Args {
    /// Its name, as qwen-edge list shows it
    name: String,

    /// Remove it without a question
    #[arg(long, short)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// If there is no such model, or it is another program's, or nobody says yes.
pub fn run(args: Args) -> anyhow::Result<()> {
    let text = &args.name;
    ensure!(!is_path(Path::new(text)), "{text} is the name of a file: what was fetched is removed by the name it has");
    let name = Name::parse(text)?;
    let places = Places::of_environment();
    let models = found::models(&places);
    let entry = match found::named(&models, &name, &Table::of_environment()?)[..] {
        [] => bail!("{name} is not on this machine; qwen-edge list shows what is"),
        [entry] => entry,
        ref several => {
            let names: Vec<&str> = several.iter().map(|entry| entry.name.as_str()).collect();
            bail!("{name} may be {}: say which", names.join(" or "))
        }
    };
    let removal = removal(entry, &models, &places)?;
    let (name, bytes) = (&entry.name, ByteSize(removal.bytes));
    if !args.yes {
        ensure!(
            named::can_ask(),
            "{name} is in the hub's cache, which other programs use too: --yes removes it, {bytes}"
        );
        let question = format!("{name} is in the hub's cache, which other programs use too. Remove {bytes}?");
        ensure!(named::ask(&question)?, "nothing was removed");
    }
    removal.run()?;
    say!("{name}: removed, {bytes}");
    Ok(())
}

fn removal(entry: &Entry, models: &[Entry], places: &Places) -> anyhow::Result<Removal> {
    let (name, path) = (&entry.name, entry.path.display());
    let Some((repo, root)) = entry.repo.as_ref().zip(places.hub.as_ref()).filter(|_| entry.source == Source::HubCache)
    else {
        bail!("{name} is in the store of {}, which alone removes it: {path}", entry.source.name());
    };
    let others_stay =
        models.iter().any(|other| other != entry && other.repo == entry.repo && other.source == entry.source);
    Removal::of(Folder::of(root, repo), entry, others_stay)
        .with_context(|| format!("{name} was not fetched by this program and stays: {path}"))
}
