//! `serve`: programs speak to the model over HTTP.

use super::drafting::Drafting;
use super::fitting::{Fitting, Progress};
use super::kept::Kept;
use super::run::{Limit, Switch, Think, parse_limit, start_error};
use super::runtime::Runtime;
use super::sampling::Sampling;
use super::served_models::{Offered, Wanted};
use super::server_log::{Form, RequestLog};
use super::sight::Sight;
use super::tower_file::{self, NoTower};
use super::{advice, printable, signals};
use anyhow::{Context as _, bail, ensure};
use clap::Args as ClapArgs;
use qwen_edge::constrain::{Grammar, Vocabulary};
use qwen_edge::engine;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::expert_uses::ExpertUses;
use qwen_edge::engine::model_file::{ModelFile, StartError, StartOptions, Tower, vision_ids};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::prompt_cache::{CacheFolder, PromptCache};
use qwen_edge::engine::ready::Ready;
use qwen_edge::engine::scoring::ROWS_AT_ONCE;
use qwen_edge::platform::program::browser;
use qwen_edge::sampler::Settings;
use qwen_edge::serve::{Bounds, KeptInFolder, Key, ModelCard, News, NotLoaded, Server, ServerOptions, Serving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

/// Answers at a time where nobody says how many; fewer where memory is short.
const PARALLEL: [u16; 3] = [4, 2, 1];

/// States of conversations that are kept for the next turns where memory is not short: two for each answer at a time, and so
/// many at least.
const STATES: usize = 6;

/// How long nothing must have been answered before the folder of --cache is written.
const QUIET: Duration = Duration::from_secs(60);

/// Answer over HTTP: a page for people at http://127.0.0.1:8080, and for programs the APIs of OpenAI
/// (http://127.0.0.1:8080/v1), Anthropic, Ollama and llama.cpp.
///
/// Only programs on this machine can reach it unless --host says otherwise, and no page of a web site can use it. It
/// opens no file and fetches no address that a request names. Where it listens is said on standard error; /health says
/// 503 until the model is loaded. SIGTERM and Ctrl-C end it when answers in the making are complete or --grace is
/// over; a second one ends it at once.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Examples:\n  \
    qwen-edge serve model.gguf\n  \
    qwen-edge serve model.gguf --open\n  \
    qwen-edge serve --models ~/models --idle-unload 10 --mem 6G\n  \
    qwen-edge serve model.gguf --host 0.0.0.0 --api-key-file key.txt --parallel 8 --ctx 16k\n  \
    curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\\n    \
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}]}'\n\n\
    Every option can be given in the environment too: QWEN_EDGE_PORT=9000 is --port 9000.\n\n\
    Memory: --ctx is the length of one conversation, and there is room for --parallel of them.")]
pub struct Args {
    /// GGUF files, or names of models on this machine. Of several, a request says which one it means; the first is loaded
    /// at once, the others when they are asked for
    #[arg(value_name = "MODEL", env = "QWEN_EDGE_MODEL", hide_env = true, required_unless_present = "models")]
    model: Vec<PathBuf>,

    /// Serve all models of this folder
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,

    /// Minutes after which a model that nobody asks for leaves the memory; it is loaded again when it is asked for
    /// [default: it stays until the memory is needed for another one]
    #[arg(long, value_name = "MINUTES", value_parser = parse_minutes)]
    idle_unload: Option<Duration>,

    /// Address of this machine to listen at, such as 0.0.0.0 for all; others than 127.0.0.1, ::1 and localhost need a key, or
    /// --no-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,

    /// Port to listen at; 0 is any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,

    /// Open the page in the browser as soon as the server listens
    #[arg(long)]
    open: bool,

    /// Key that clients must have; others can see it in the list of processes
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// File whose first line is the key
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    api_key_file: Option<PathBuf>,

    /// Serve other machines without a key
    #[arg(long, conflicts_with_all = ["api_key", "api_key_file"])]
    no_key: bool,

    /// A further name under which the server is addressed, as in http://NAME:8080; may be given several times
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,

    /// Answers in the making at a time [default: 4, or 2 or 1 when memory is short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: Option<u16>,

    /// Vision file (mmproj GGUF) [default: the model's own file, when a vision tower lies in it, or the one beside it whose
    /// name begins with mmproj]
    #[arg(long, value_name = "FILE")]
    mmproj: Option<PathBuf>,

    /// Use no vision file, not even the one beside the model
    #[arg(long, conflicts_with = "mmproj")]
    no_mmproj: bool,

    /// Most tokens (of 1,024 pixels) for a picture [default: 2048]
    #[arg(long, value_name = "MAX", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    image_tokens: Option<u32>,

    /// Name of the model in the API [default: that of the file]
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,

    /// Whether the model thinks before it answers, where a request does not say; auto is what the chat template does
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Think::Auto)]
    think: Think,

    /// End the thinking after so many tokens, where a request does not say; -1 is no limit
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    think_budget: Option<Limit>,

    /// End thinking, and then an answer, that goes round in circles
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Switch::On)]
    loop_guard: Switch,

    /// Keep in this folder what is read of prompts, so that it is not read again when the server is started anew: written
    /// when nobody asks for anything, and at the end. `qwen-edge cache` shows and empties it
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    #[command(flatten)]
    kept: Kept,

    /// Largest body of a request, such as 32M
    #[arg(long, value_name = "SIZE", default_value = "32M")]
    max_body: ByteSize,

    /// Seconds that answers in the making have when the server is asked to end
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    grace: u32,

    /// Fail for requests of this user, to test what that does to others
    #[arg(long, value_name = "USER", hide = true)]
    fault: Option<String>,

    /// All limits of time that clients have, so many times shorter, to test them
    #[arg(long, value_name = "TIMES", hide = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    hurry: u32,

    /// How standard error tells of requests and of the server: line by line in words, or as JSON, an object a line:
    /// {"time", "id", "method", "path", "status", "ms", "prompt_tokens", "cached_tokens", "completion_tokens"} for a
    /// request, {"time", "message"} for the rest; never with what was asked or answered
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Form::Text)]
    log: Form,

    /// Say nothing on standard error but errors and where it listens
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    sampling: Sampling,

    #[command(flatten)]
    drafting: Drafting,

    #[command(flatten)]
    fitting: Fitting,

    #[command(flatten)]
    runtime: Runtime,
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded, or nothing be listened at.
pub fn run(args: Args) -> anyhow::Result<()> {
    let sight = args.sight();
    let (files, folder, alias) = (&args.model, args.models.as_deref(), args.alias.as_deref());
    let mut notes = Vec::new();
    let offered = Wanted { files, folder, alias, sight: &sight }.find(&mut notes)?;
    ensure!(
        offered.len() == 1 || (args.mmproj.is_none() && !args.drafting.has_file()),
        "--mmproj and --draft-model belong to one model, and there are {}",
        offered.len()
    );
    // What is wrong with an option is said before anything is listened at.
    if let Some(first) = &*offered[0].file.lock().unwrap_or_else(PoisonError::into_inner) {
        args.sampling_of(first)?;
    }
    let addresses = args.addresses()?;
    let key = args.key()?;
    if key.is_none() && !args.no_key && addresses.iter().any(|address| !address.ip().is_loopback()) {
        say!(
            "error: --host {} lets other machines use the model: give --api-key-file FILE, or --no-key if all may",
            args.host
        );
        std::process::exit(super::WRONG_USAGE);
    }
    let options = ServerOptions { key, allowed_hosts: args.allowed_host.clone(), bounds: args.bounds() };
    let log = if args.quiet { None } else { Some(RequestLog::begin(args.log)?) };
    let told = log.clone();
    let server = Server::bind(&addresses, options, move |line| told.iter().for_each(|log| log.tell(line)));
    let server = server.with_context(|| {
        format!("cannot listen at {} port {} (--port 0 finds one that is free)", args.host, args.port)
    })?;
    args.log.say(&format!("listening on http://{}", server.address()));
    if args.open {
        args.open_page(server.address());
    }
    let (shutdown, grace, form, quiet) = (server.shutdown(), args.grace, args.log, args.quiet);
    signals::serve(move || {
        shutdown.begin();
        if !quiet {
            form.say(&format!("ending: answers in the making have {grace} s, and a second signal ends them now"));
        }
    });

    notes.iter().for_each(|note| args.note(note));
    let cards: Vec<ModelCard> = offered.iter().map(|model| model.card.clone()).collect();
    if let [first, _, ..] = &cards[..] {
        args.note(&format!("{} models, {} first: see /v1/models", cards.len(), first.id));
    }
    let load = |i: usize, taken: u64| args.load(&offered[i], taken);
    let tell = |news: News<'_, anyhow::Error>| match news {
        News::Failed(_, error) => args.log.say(&format!("error: {}", advice::explain(error))),
        News::Left(i) => args.note(&format!("{}: left the memory", offered[i].card.id)),
    };
    server.run(cards, args.idle_unload, load, tell)?;
    log.iter().for_each(RequestLog::end);
    Ok(())
}

fn parse_minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse().ok().filter(|minutes: &f64| (0.0..=1e6).contains(minutes));
    minutes
        .map(|minutes| Duration::from_secs_f64(minutes * 60.0))
        .ok_or_else(|| "expected minutes, such as 5".to_owned())
}

impl Args {
    /// Says what is good to know of the arguments.
    pub fn note(&self, message: &str) {
        if !self.quiet {
            self.log.say(message);
        }
    }

    /// Opens the page in the browser, or says where it is.
    fn open_page(&self, listening: SocketAddr) {
        let address = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let page = format!("http://{}/", SocketAddr::new(address, listening.port()));
        if let Err(error) = browser::open(&page) {
            self.log.say(&format!("note: no browser could be opened ({error}): the page is at {page}"));
        }
    }

    fn bounds(&self) -> Bounds {
        let bounds = Bounds {
            body: usize::try_from(self.max_body.0).unwrap_or(usize::MAX),
            waiting: 4 * usize::from(self.parallel.unwrap_or(PARALLEL[0])) + 16,
            grace: Duration::from_secs(self.grace.into()),
            ..Bounds::default()
        };
        bounds.hurried(self.hurry)
    }

    /// Where to listen: the first of these that can be had. No name is looked up: a static program has no sure way to.
    fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) if host.eq_ignore_ascii_case("localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Err(_) => {
                bail!("--host {host}: expected an address of this machine, such as 127.0.0.1 or 0.0.0.0, or localhost")
            }
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect())
    }

    fn key(&self) -> anyhow::Result<Option<Key>> {
        let key = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            (None, None) => return Ok(None),
        };
        let key = key.trim();
        ensure!(!key.is_empty(), "the key is empty: give one of a character or more");
        Ok(Some(Key::new(key)))
    }

    fn sight(&self) -> Sight {
        Sight {
            mmproj: self.mmproj.clone(),
            no_mmproj: self.no_mmproj,
            image_tokens: self.image_tokens,
            ..Sight::default()
        }
    }

    /// How tokens are chosen without and with thinking, and what is to be said of that.
    fn sampling_of(&self, file: &ModelFile) -> anyhow::Result<([Settings; 2], Vec<String>)> {
        let sampling = |thinking| self.sampling.settings(file.gguf(), file.published_answers(thinking).sampling);
        let ((off, notes), (on, _)) = (sampling(false)?, sampling(true)?);
        Ok(([off, on], notes))
    }

    /// Loads a model, beside others that may take so many bytes.
    fn load(&self, model: &Offered, taken: u64) -> Result<(Ready, Serving), NotLoaded<anyhow::Error>> {
        let is_short =
            |error: &anyhow::Error| matches!(error.downcast_ref::<StartError>(), Some(StartError::NotEnoughMemory(_)));
        let loaded = self.try_load(model, taken);
        loaded.map_err(|error| NotLoaded { is_short: is_short(&error), error })
    }

    fn try_load(&self, model: &Offered, taken: u64) -> anyhow::Result<(Ready, Serving)> {
        let file = model.open()?;
        let (sampling, notes) = self.sampling_of(&file)?;
        let thinking = match self.think {
            Think::On => Some(true),
            Think::Off => Some(false),
            // A file without a template gets that of the larger sizes.
            Think::Auto => {
                let is_without = qwen_edge::chat::source_of(file.gguf()).ok().flatten().is_none();
                is_without.then(|| file.config().thinks_by_default())
            }
        };
        let form = self.log;
        let folder = self.cache.as_deref().map(CacheFolder::open).transpose()?;
        let name = printable::line(file.gguf().string("general.name").ok().flatten().unwrap_or("unnamed model"));
        let cache = folder.map(|folder| self.kept.cache(folder, file.fingerprint(), name.into_owned()));
        let quiet = QUIET / self.hurry;
        let folder = cache.map(|cache| KeptInFolder { cache, quiet, tell: Box::new(move |note| form.say(note)) });
        let ready = self.ready(model, file, taken)?;
        signals::loaded();
        self.note(&advice::plan_line(&ready.plan));
        ready.notes.iter().for_each(|text| self.note(&format!("note: {text}")));
        notes.iter().for_each(|text| self.note(text));
        let engine::runner::Settings { n_sequence, n_ctx, .. } = ready.plan.settings;
        self.note(&format!("{}: {n_sequence} answers at a time, {n_ctx} tokens each", model.card.id));
        let serving = Serving {
            sampling,
            thinking,
            think_budget: self.think_budget.and_then(Limit::tokens),
            loop_guard: self.loop_guard == Switch::On,
            fault: self.fault.clone(),
            folder,
        };
        Ok((ready, serving))
    }

    /// The vision tower for so many conversations, or why there is none.
    fn tower(&self, path: &Path, file: &ModelFile, n: usize) -> anyhow::Result<(Option<Tower>, Option<NoTower>)> {
        let sight = self.sight();
        let found = tower_file::find(&sight, path, (file.gguf(), file.config().n_embd), true)?;
        let places = vision_ids(file.tokenizer(), file.gguf(), &mut Vec::new());
        Ok(match (found, places) {
            (Ok(_), Err(error)) if !sight.is_wanted() => (None, Some(NoTower::Misfit(error.to_string()))),
            // For each conversation the rows of a picture, and as many to remember.
            (Ok(file), _) => (Some(Tower { n_input: 2 * n, ..sight.tower(file) }), None),
            (Err(why), _) => (None, Some(why)),
        })
    }

    /// Loads a model, with room for as many conversations as were asked for or else can be had; beside others, for as many
    /// as it would have alone.
    fn ready(&self, model: &Offered, file: ModelFile, taken: u64) -> anyhow::Result<Ready> {
        let mut file = Some(file);
        let counts = self.parallel.as_ref().map_or(&PARALLEL[..], std::slice::from_ref);
        let counts = if taken > 0 { &counts[..1] } else { counts };
        for (i, &n) in counts.iter().enumerate() {
            let opened = match file.take() {
                Some(file) => file,
                None => model.open()?,
            };
            let (tower, no_tower) = self.tower(&model.path, &opened, n.into())?;
            // The logits of a text whose probabilities are asked for.
            let scoring = (ROWS_AT_ONCE * opened.tokenizer().n_vocab()) as u64 * 4;
            let wish = self.fitting.wish(0);
            let n_ctx = wish.n_ctx.unwrap_or(opened.config().n_ctx_train);
            let recalling = self.cache.as_ref().map_or(0, |_| PromptCache::bytes_beside(opened.config(), n_ctx));
            let constraints = Vocabulary::bytes(opened.tokenizer().n_vocab()) + Grammar::BYTES * u64::from(n);
            let options = StartOptions {
                tower,
                wish: Wish {
                    n_sequence: Some(n.into()),
                    n_checkpoint: Some(STATES.div_ceil(n.into())),
                    beside: self.bounds().bytes() + scoring + recalling + constraints,
                    taken,
                    ..wish
                },
                residence: self.fitting.residence(),
                yarn: self.fitting.yarn,
                isa: self.runtime.isa,
                threads: Some(self.runtime.n_threads()),
                draft: self.drafting.draft,
                expert_uses: self
                    .cache
                    .as_deref()
                    .filter(|_| opened.config().experts.is_some())
                    .and_then(|path| CacheFolder::open(path).ok())
                    .and_then(|folder| ExpertUses::open(&folder, opened.fingerprint(), opened.config())),
                draft_file: self.drafting.file()?,
                ..StartOptions::default()
            };
            let mut progress = Progress::new();
            let ready = opened.make_ready(options, |done, total| progress.show(done, total));
            progress.end();
            match ready {
                Err(StartError::NotEnoughMemory(_)) if i + 1 < counts.len() => {}
                Err(error) => return Err(start_error(error, &model.path)),
                Ok(mut ready) => {
                    if self.fitting.touch {
                        ready.runner.commit_memory();
                    }
                    let no_tower = no_tower.or(ready.viewer.is_none().then_some(NoTower::NoMemory));
                    if let Some(why) = no_tower.filter(NoTower::is_news) {
                        self.note(&format!("note: {why}"));
                    }
                    return Ok(ready);
                }
            }
        }
        bail!("no number of conversations was tried")
    }
}
