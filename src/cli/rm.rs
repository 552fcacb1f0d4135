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
/// What other programs have fetched stays. The hub's cache may be in use by them, so that it asks first. What was interrupted goes
/// with the last model of its repository, or by the name of that.
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
    let named = found::named(&models, &name, &Table::of_environment()?);
    let (begun, there): (Vec<&Entry>, Vec<&Entry>) = named.into_iter().partition(|entry| entry.is_unfinished());
    let entry = match (&there[..], &begun[..]) {
        ([], []) => bail!("{name} is not on this machine; qwen-edge list shows what is"),
        // What goes with a file in the making is all of its repository that is.
        ([entry], _) | ([], [entry, ..]) => entry,
        // The same in several places: this program's own goes first.
        ([entry, others @ ..], _) if others.iter().all(|other| other.name == entry.name) => entry,
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|entry| entry.name.as_str()).collect();
            bail!("{name} may be {}: say which", names.join(" or "))
        }
    };
    let removal = removal(entry, &models, &places)?;
    let (name, bytes) = (&entry.name, ByteSize(removal.bytes));
    ensure!(!removal.is_empty(), "another process is fetching {name}");
    if !args.yes && entry.source != Source::Own {
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
    let is_other = |other: &&Entry| other.repo == entry.repo && other.source == entry.source && *other != entry;
    let others_stay = models.iter().filter(is_other).any(|other| !other.is_unfinished());
    let removal = match (&entry.repo, entry.source, &places.hub, &places.own) {
        (Some(repo), Source::HubCache, Some(root), _) => Removal::of_cache(Folder::of(root, repo), entry, others_stay),
        (_, Source::Own, _, Some(root)) => Removal::of_own(root, entry, others_stay),
        _ => bail!("{name} is in the store of {}, which alone removes it: {path}", entry.source.name()),
    };
    removal.with_context(|| format!("{name} was not fetched by this program and stays: {path}"))
}
