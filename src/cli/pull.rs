//! `qwen-edge pull`: fetch a model by its name.

use super::named;
use super::printable;
use super::progress::FetchProgress;
use anyhow::{Context as _, bail};
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::fetch::client::Client;
use qwen_edge::fetch::error::FetchError;
use qwen_edge::fetch::tls;
use qwen_edge::store::fit::Room;
use qwen_edge::store::hub::cache::Folder;
use qwen_edge::store::hub::choice::{self, Choice};
use qwen_edge::store::hub::error::HubError;
use qwen_edge::store::hub::listing::{self, Listing, RemoteFile};
use qwen_edge::store::hub::pull::{Place, Pull};
use qwen_edge::store::hub::settings::Settings;
use qwen_edge::store::name::{HubName, Name, is_path};
use qwen_edge::store::places::Places;
use qwen_edge::store::table::Table;
use qwen_edge::store::{own, quant};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Fetch a model by its name, or look whether there is a newer one
///
/// It goes to the cache of the Hugging Face hub, which other programs share: what is there already is not fetched again. Where
/// that cannot be written to it goes to this program's own folder. Its vision file, its block for drafting and all parts of a
/// split file come along. What was interrupted is taken up where it was. Without a quantisation it is the largest file of at
/// most 8 bits a weight that fits this machine's free memory beside 8,192 tokens of context.
///
/// The last line on standard output is the path of the model.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qwen-edge pull qwen3.5:0.8b
  qwen-edge pull unsloth/Qwen3.5-4B-GGUF:Q4_K_M
  qwen-edge pull --dir . user/repo:Q8_0
  qwen-edge pull --print qwen3.5:2b                addresses and hashes, for another program

Environment: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT, SSL_CERT_FILE;
QWEN_EDGE_HOME (else $XDG_DATA_HOME/qwen-edge) holds this program's own folder, models;
QWEN_EDGE_MODELS_TABLE names a file of lines NAME USER/REPO[:QUANT]; QWEN_EDGE_TLS=curl leaves TLS to curl.")]
pub struct Args {
    /// What to fetch: qwen3.5:0.8b, user/repo or user/repo:QUANT
    name: String,

    /// Fetch it without a question, even if it does not fit this machine's memory
    #[arg(long, short)]
    yes: bool,

    /// Put the files here rather than into the hub's cache
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Fetch nothing, and print for each file its address, its SHA-256 and its bytes
    #[arg(long)]
    print: bool,
}

/// Runs the command.
///
/// # Errors
/// If there is no such model, or it cannot be had.
pub fn run(args: Args) -> anyhow::Result<()> {
    let name = hub_name(&args.name)?;
    let settings = Settings::of_environment()?;
    if settings.offline {
        let Ok(path) = named::here(&name)? else { bail!("{name} is not on this machine, and HF_HUB_OFFLINE is set") };
        say!("{name} is here; HF_HUB_OFFLINE is set, so that nobody is asked for a newer one");
        return print_path(&path);
    }
    let found = Found::look(&name, settings)?;
    if args.print {
        return found.print();
    }
    if let Some(note) = found.misfit() {
        say!("note: {note}");
        if !args.yes && named::can_ask() && !named::ask("fetch it?")? {
            bail!("nothing was fetched");
        }
    }
    print_path(&found.fetch(args.dir.as_deref())?)
}

fn print_path(path: &Path) -> anyhow::Result<()> {
    let path = printable::output(&path.to_string_lossy()).into_owned();
    writeln!(std::io::stdout().lock(), "{path}").context("cannot write to standard output")
}

/// The name of something that can be fetched.
fn hub_name(text: &str) -> anyhow::Result<Name> {
    if is_path(Path::new(text)) {
        bail!("{text} is the name of a file: what can be fetched is qwen3.5:0.8b, user/repo or user/repo:QUANT");
    }
    match Name::parse(text)? {
        Name::Ollama { model, tag } => {
            bail!("what is in Ollama's store is fetched by Ollama: ollama pull {model}:{tag}")
        }
        name => Ok(name),
    }
}

/// A model at the hub.
pub(super) struct Found {
    client: Client,
    name: HubName,
    listing: Listing,
    choice: Choice,
    /// The memory it has to fit.
    room: Room,
}

impl Found {
    /// Asks the hub.
    ///
    /// # Errors
    /// If it knows none of that name.
    pub fn look(name: &Name, settings: Settings) -> anyhow::Result<Found> {
        let mut names = match name {
            Name::Hub(name) => vec![name.clone()],
            name => Table::of_environment()?.models(name),
        }
        .into_iter();
        let Some(mut hub_name) = names.next() else {
            bail!("{name} is not in the table of models; a repository of the hub is given as user/repo");
        };
        if let Some(why) = tls::why_curl(&settings.endpoint.origin) {
            say!("note: the system's curl is asked for TLS: {why}");
        }
        let client = Client::new(settings.of_client());
        let listing = loop {
            let mut tell = |error: &FetchError, wait: Duration| {
                if wait >= Duration::from_secs(1) {
                    say!("{error}; trying again in {} s", wait.as_secs());
                }
            };
            match (listing::list(&mut client.session(), &settings.endpoint, &hub_name.repo, &mut tell), names.next()) {
                (Err(error @ HubError::NoRepo { .. }), Some(next)) => {
                    say!("note: {error}; trying {next}");
                    hub_name = next;
                }
                (listing, _) => break listing?,
            }
        };
        let room = Room::of_machine();
        let most = |file: &str| room.for_weights(&format!("{}:{file}", hub_name.repo));
        let choice = choice::choose(&listing, hub_name.quant.as_deref(), most)?;
        Ok(Found { client, name: hub_name, listing, choice, room })
    }

    /// What it is, in a line.
    pub fn describe(&self) -> String {
        let files: Vec<&RemoteFile> = self.choice.files().collect();
        let more = if files.len() > 1 { format!(" in {} files", files.len()) } else { String::new() };
        format!("{}: {}{more}", self.full_name(), ByteSize(self.choice.bytes()))
    }

    /// Repository and quantisation.
    fn full_name(&self) -> String {
        match self.choice.quant() {
            Some(quant) => format!("{}:{quant}", self.name.repo),
            None => self.name.repo.to_string(),
        }
    }

    /// What is to be said where it does not fit this machine.
    fn misfit(&self) -> Option<String> {
        let (name, bytes) = (self.said_name(), self.choice.model_bytes());
        let is_too_large = bytes > self.room.for_weights(&name);
        is_too_large.then(|| format!("{} does not fit: {}", self.full_name(), named::needs(&self.room, &name, bytes)))
    }

    /// Repository and file, which may say the size of the model both.
    fn said_name(&self) -> String {
        format!("{}:{}", self.listing.repo, self.choice.model[0].path)
    }

    /// Where it is put: the hub's cache; where that cannot be written to, this program's own folder.
    fn place(&self, dir: Option<&Path>) -> anyhow::Result<Place> {
        if let Some(dir) = dir {
            return Ok(Place::Named(dir.to_owned()));
        }
        let places = Places::of_environment();
        let repo = &self.listing.repo;
        let own = || places.own.as_ref().map(|root| Place::Own(own::folder(root, repo)));
        let Some(root) = &places.hub else {
            return own().context("neither HOME nor HF_HOME nor QWEN_EDGE_HOME says where models are kept");
        };
        let cache = Folder::of(root, repo);
        let place = Place::Cache(cache.clone());
        let missing = Pull { listing: &self.listing, choice: &self.choice, place: &place }.missing()?;
        let refused = missing.and_then(|_| cache.check_writable().err());
        let Some((reason, own)) = refused.and_then(|reason| Some((reason, own()?))) else { return Ok(place) };
        say!(
            "note: the hub's cache cannot be written to ({}: {reason}): this program's own folder is taken",
            root.display()
        );
        Ok(own)
    }

    /// Fetches what is missing: the path of the model.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn fetch(&self, dir: Option<&Path>) -> anyhow::Result<PathBuf> {
        let place = self.place(dir)?;
        if let Some(now) = &self.listing.renamed {
            say!("note: {} is called {now} now", self.listing.repo);
        }
        if self.name.quant.is_none() && self.choice.among > 1 {
            let (name, bytes) = (self.said_name(), self.choice.model_bytes());
            let why = named::why(&self.room, &name, bytes);
            say!("note: of {} files, {} is taken: {why}", self.choice.among, self.full_name());
        }
        let pull = Pull { listing: &self.listing, choice: &self.choice, place: &place };
        match pull.missing()? {
            None => say!("{}; up to date", self.describe()),
            Some(missing) => say!("{}, {} to fetch", self.describe(), ByteSize(missing)),
        }
        let mut progress = FetchProgress::new();
        let fetched = pull.fetch(&self.client, &mut |file, event| progress.tell(file, event));
        progress.end();
        let path = fetched?;
        if let Some(block) = &self.choice.mtp {
            say!("its block for drafting is used with --draft-model {}", pull.path(block).display());
        }
        Ok(path)
    }

    /// Prints what another program needs to fetch it.
    fn print(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for file in self.choice.files() {
            let url = self.listing.address(&self.client.settings().endpoint, file)?;
            let (hash, name) = (file.sha256.as_deref().unwrap_or("-"), quant::file_name(&file.path));
            writeln!(out, "{url} {hash} {}", file.size).context("cannot write to standard output")?;
            say!("curl -C - -L -o '{name}' '{url}' && echo '{hash}  {name}' | sha256sum -c");
        }
        Ok(())
    }
}
