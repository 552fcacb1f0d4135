//! `run`: answer a prompt, or chat.

use super::drafting::{self, Drafting};
use super::fitting::{self, Fitting, Progress};
use super::kept::{self, Kept};
use super::marks::Typed;
use super::prompt::{PromptArgs, Question};
use super::runtime::Runtime;
use super::sampling::{Sampling, at_most};
use super::schema::SchemaFile;
use super::screen::Screen;
use super::session_file::SessionFile;
use super::sight::{self, Sight};
use super::tower_file::{self, NoTower};
use super::{advice, bake, calls, chat, marks, named, pasted, printable, schema, signals, text, tools_file};
use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use qwen_edge::chat::effort;
use qwen_edge::constrain::{Grammar, SharedVocabulary, Vocabulary};
use qwen_edge::engine::baked::Baked;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::expert_uses::ExpertUses;
use qwen_edge::engine::generate::{self, Outcome, Stop};
use qwen_edge::engine::message::{Message, Part};
use qwen_edge::engine::model_file::{ModelFile, OpenError, StartError, StartOptions, vision_ids};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::prompt_cache::{CacheFolder, PromptCache, WORTH};
use qwen_edge::engine::session::{AnswerOptions, Session, SessionError};
use qwen_edge::gguf::Gguf;
use qwen_edge::model;
use qwen_edge::sampler::Settings;
use qwen_edge::vision::eyes::Seen;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Answer a prompt, or chat.
///
/// With a prompt one answer is written to standard output; everything else goes to standard error. On a terminal
/// without a prompt it is a chat: Ctrl-C stops an answer, Ctrl-D leaves.
///
/// What a pipe or a file brings on standard input is the prompt, or goes behind the prompt that is given. Beside a
/// prompt, a pipe on which nothing comes for some seconds is not waited for; -f - waits, and < /dev/null keeps it out.
#[derive(ClapArgs, Debug)]
#[command(override_usage = "qwen-edge run [OPTIONS] <MODEL> [TEXT]...\n       \
    qwen-edge run [OPTIONS] --model <FILE> [TEXT]...")]
#[command(after_help = "Examples:\n  \
    qwen-edge run model.gguf 'Why is the sky blue?'\n  \
    qwen-edge run model.gguf                                  a chat\n  \
    git diff | qwen-edge run model.gguf -p 'Review this change.'\n  \
    qwen-edge run model.gguf -p 'Summarise this.' -f report.txt\n  \
    qwen-edge run base.gguf --raw -p 'Once upon a time' -n 100 --greedy\n  \
    qwen-edge run model.gguf -p 'Hi' --json | jq -r .text\n  \
    qwen-edge run model.gguf --tools tools.json -p 'Is it raining in Oslo?'\n  \
    qwen-edge run model.gguf --image sign.jpg -p 'What does the sign say?'\n  \
    qwen-edge run model.gguf --image a.png --image b.png -p 'What changed from <image> to <image>?'\n  \
    qwen-edge run model.gguf --video clip.mp4 -p 'What happens here?'")]
pub struct Args {
    /// What to run, and what to ask it.
    #[command(flatten)]
    pub input: PromptArgs,

    /// System message
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "raw")]
    pub system: Option<String>,

    /// Offer the functions in this JSON file, a list as OpenAI's API takes it. A call is a line of JSON behind the text, and with
    /// --json in "tool_calls"
    #[arg(long, value_name = "FILE", conflicts_with_all = ["raw", "baked"])]
    pub tools: Option<PathBuf>,

    /// Whether the model thinks before it answers; auto is the published default of the model's size
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Think::Auto)]
    pub think: Think,

    /// End the thinking after so many tokens, and have the answer; 0 is no thinking, -1 no limit
    #[arg(long, value_name = "N", value_parser = parse_limit, conflicts_with = "raw")]
    pub think_budget: Option<Limit>,

    /// How hard the model thinks, where its template has levels for that, as from Qwen3.8 on (low, medium, xhigh); another word
    /// is the next higher level
    #[arg(long, value_name = "LEVEL", value_parser = effort::WORDS, conflicts_with = "raw")]
    pub effort: Option<String>,

    /// Continue the prompt as it is, without a chat template: for base models
    #[arg(long)]
    pub raw: bool,

    /// Longest answer, in tokens, thinking included; -1 is no limit [default: until the model ends or the context is
    /// full]
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = parse_limit)]
    pub n: Option<Limit>,

    /// End thinking, and then an answer, that goes round in circles; not with --raw
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Switch::On)]
    pub loop_guard: Switch,

    /// Print one JSON object instead of the answer's text
    #[arg(long)]
    pub json: bool,

    /// Have answers keep to the JSON schema in this file, behind their thinking. A schema that cannot be held in full is
    /// refused
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,

    /// Say nothing on standard error but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// Fetch a model that is given by name and is not on this machine, without a question
    #[arg(long)]
    pub yes: bool,

    /// What to look at.
    #[command(flatten)]
    pub sight: Sight,

    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: Sampling,

    /// How tokens are drafted.
    #[command(flatten)]
    pub drafting: Drafting,

    /// How much memory to take.
    #[command(flatten)]
    pub fitting: Fitting,

    /// Go on with the conversation in this file, and keep it there; a new file begins one. What the model remembers of it
    /// lies beside it in FILE.state, so that nothing is read again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["raw", "image", "video"])]
    pub session: Option<PathBuf>,

    /// Read the history as the next prompt will have it while you read the answer: what the template leaves out of it, such as
    /// thinking, makes it another one. off saves power, and the next answer begins later
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Heal::On)]
    pub heal: Heal,

    /// Begin with what bake has read: the system message and tools of this file, which are read again where it was baked for
    /// another model, level or storage of keys and values
    #[arg(long, value_name = "STATE", conflicts_with_all = ["raw", "system", "session"])]
    pub baked: Option<PathBuf>,

    /// How much to keep of prompts.
    #[command(flatten)]
    pub kept: Kept,

    /// How to compute.
    #[command(flatten)]
    pub runtime: Runtime,
}

/// Whether the model thinks before it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Think {
    /// Always.
    #[value(alias = "true")]
    On,
    /// Never.
    #[value(alias = "false")]
    Off,
    /// As published for the model's size.
    Auto,
}

/// Whether histories are read before they are needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Heal {
    /// In a chat until a key is pressed, with --session when the answer is complete.
    On,
    /// Never.
    Off,
}

/// Whether something is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Switch {
    /// It is.
    #[value(alias = "true")]
    On,
    /// It is not.
    #[value(alias = "false")]
    Off,
}

/// A number of tokens at most, or no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit(Option<u64>);

pub(super) fn parse_limit(text: &str) -> Result<Limit, String> {
    at_most(text).map(Limit).ok_or_else(|| "expected a whole number of tokens, or -1 for no limit".to_owned())
}

impl Limit {
    pub fn tokens(self) -> Option<usize> {
        self.0.map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded, the prompt not be read or does not fit.
pub fn run(args: Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let interactive = args.input.is_chat();
    let screen = Screen::new(args.quiet, args.json);
    let picture = args.sight.image.iter().any(|spec| spec == "-").then_some("the picture");
    let asked = if interactive { None } else { Some(args.input.read(picture, &screen)?) };
    ensure!(!(interactive && args.raw), "--raw needs a prompt: give -p TEXT, -f FILE, or pipe it in");
    ensure!(!args.raw || args.sight.is_empty(), "--raw takes no pictures: their places are part of the chat template");
    ensure!(!(interactive && args.json), "--json needs a prompt: give -p TEXT, -f FILE, or pipe it in");

    let schema = args.schema.as_deref().map(SchemaFile::open).transpose()?;
    let path = &named::file_or_fetched(args.input.model(), args.yes)?;
    let baked = args.baked.as_deref().map(bake::open).transpose()?;
    let folder = args.sight.cache.as_deref().map(CacheFolder::open).transpose()?;
    let mut file = open_model(path)?;
    let looks = interactive || !args.sight.is_empty();
    let found = tower_file::find(&args.sight, path, (file.gguf(), file.config().n_embd), looks)?;
    let places = vision_ids(file.tokenizer(), file.gguf(), &mut Vec::new());
    let (tower, mut no_tower) = match (found, places) {
        (Ok(_), Err(error)) if !args.sight.is_wanted() => (None, NoTower::Misfit(error.to_string())),
        (Ok(file), _) => (Some(args.sight.tower(file)), NoTower::Absent),
        (Err(why), _) => (None, why),
    };
    let has_tower = tower.is_some();
    let (thinking, budget) = args.thinking(file.config().thinks_by_default());
    if let Some(word) = &args.effort {
        ensure!(thinking, "--effort says how hard the model thinks, and thinking is off: take one of the two");
        match file.set_effort(word) {
            Some(level) if level != word => {
                screen.note(&format!("note: --effort {word}: the template calls it {level}"))
            }
            Some(_) => {}
            None => bail!(
                "--effort: the chat template of {} has no levels; --think on and off, and --think-budget N, are what it \
                 goes with",
                path.display()
            ),
        }
    }
    let fingerprint = args.session.is_some().then(|| file.fingerprint());
    let kept = args.session.as_deref().zip(fingerprint);
    let kept = kept.map(|(path, fingerprint)| SessionFile::open(path, fingerprint)).transpose()?;
    let (session_file, mut messages) = kept.map_or_else(Default::default, |(file, messages)| (Some(file), messages));
    // The prompt is known before the plan, which makes room for it.
    let beginning = baked.as_ref().map(|baked| baked.beginning().clone()).unwrap_or_default();
    let system = args.system.as_deref().map(text::without_mark).or(beginning.system.as_deref());
    let tools = args.tools.as_deref().map(tools_file::open).transpose()?.or_else(|| beginning.tools.clone());
    let tools = tools.map(Arc::new);
    ensure!(system.is_none() || messages.is_empty(), "--system begins a conversation, and that of --session has begun");
    if session_file.is_some() && messages.is_empty() {
        messages.extend(system.map(Message::system));
    }
    let question = asked.map(|asked| asked.finish(&screen)).transpose()?;
    if let (Some(_), Some(question)) = (&session_file, &question) {
        messages.push(Message::user(question.whole()));
    }
    let ids = question.as_ref().map(|question| match args.raw {
        _ if session_file.is_some() => {
            let messages: Vec<Value> = messages.iter().map(Message::to_json).collect();
            Ok(file.prompt_ids(&messages, tools.as_deref(), thinking)?)
        }
        true => Ok(file.tokenizer().encode(&question.whole(), qwen_edge::tokenizer::Special::None)),
        false => {
            args.first_turn(question, system).and_then(|turn| Ok(file.prompt_ids(&turn, tools.as_deref(), thinking)?))
        }
    });
    let ids = ids.transpose()?;
    let n_prompt = ids.as_ref().map_or(0, |ids| ids.len() + args.sight.most_tokens());
    // A prompt that is not looked up costs no look at the model.
    let looks_up = folder.is_some() && (ids.is_none() || args.session.is_some() || n_prompt >= WORTH);
    let fingerprint = fingerprint.or_else(|| looks_up.then(|| file.fingerprint()));

    let sampling = |thinking| args.sampling.settings(file.gguf(), file.published_answers(thinking).sampling);
    let (settings_off, _) = sampling(false)?;
    let (settings_on, sampling_notes) = sampling(true)?;
    let sampling = [settings_off, settings_on];
    let n_max = args.n.and_then(Limit::tokens).unwrap_or(usize::MAX);
    let answers = AnswerOptions {
        thinking,
        think_budget: budget,
        max_tokens: n_max,
        loop_guard: args.loop_guard == Switch::On,
        sampling: sampling[usize::from(thinking)],
    };
    let name =
        printable::line(file.gguf().string("general.name").ok().flatten().unwrap_or("unnamed model")).into_owned();
    let seed = args.sampling.seed();
    // What is taken up is in memory twice for a moment.
    let wish = args.fitting.wish(n_prompt);
    let keeps = schema.is_some() || tools.is_some();
    let beside = [
        baked.as_ref().map(Baked::bytes),
        session_file.as_ref().map(SessionFile::bytes),
        looks_up.then(|| PromptCache::bytes_beside(file.config(), wish.n_ctx.unwrap_or(n_prompt))),
        keeps.then(|| Vocabulary::bytes(file.tokenizer().n_vocab()) + Grammar::BYTES),
    ];
    // It is made while the weights come.
    let vocabulary = SharedVocabulary::new(Arc::clone(file.tokenizer()));
    if keeps {
        vocabulary.make_ahead();
    }
    let options = StartOptions {
        wish: Wish { beside: beside.into_iter().flatten().fold(0, u64::saturating_add), ..wish },
        residence: args.fitting.residence(),
        yarn: args.fitting.yarn,
        isa: args.runtime.isa,
        threads: Some(args.runtime.n_threads()),
        commit_memory: args.fitting.touch,
        draft: args.drafting.draft,
        expert_uses: folder
            .as_ref()
            .filter(|_| file.config().experts.is_some())
            .and_then(|folder| ExpertUses::open(folder, file.fingerprint(), file.config())),
        draft_file: args.drafting.file()?,
        tower,
        answers: Some(answers),
        seed,
    };
    let content = baked.as_ref().map(|_| file.content_fingerprint());
    let cache = folder.map(|folder| match fingerprint {
        Some(model) => args.kept.cache(folder, model, name.clone()),
        None => PromptCache::for_short_prompts(folder),
    });
    let mut progress = Progress::new();
    let session = file.start(options, &mut |done, total| progress.show(done, total));
    progress.end();
    let mut session = session.map_err(|error| start_error(error, path))?;
    session.cancel_by(signals::canceller());
    session.grammar = schema.map(|schema| schema.grammar(&vocabulary)).transpose()?;
    session.call_grammar = tools.as_deref().map(|tools| calls::grammar(tools, &vocabulary)).transpose()?.flatten();
    session.offer = tools;
    if let Some(cache) = cache {
        session.keep_prompts(cache);
    }
    if let Some(file) = session_file.as_ref().filter(|_| messages.len() > 1) {
        file.restore(&mut session).iter().for_each(|note| screen.note(&format!("note: {note}")));
    }
    if let Some((baked, content)) = baked.zip(content)
        && let Err(error) = baked.restore(&mut session, &content)
    {
        screen.note(&format!("note: the baked prompt does not fit, and is read: {error}"));
    }
    if has_tower && session.viewer().is_none() {
        no_tower = NoTower::NoMemory;
    }

    let context = session.context();
    screen.note(&format!(
        "{name}: {} on {} thread{}; loaded in {:.0} ms",
        context.runner().kernels().isa(),
        context.runner().threads(),
        if context.runner().threads() == 1 { "" } else { "s" },
        start.elapsed().as_secs_f64() * 1e3,
    ));
    let plan = session.plan();
    screen.note(&advice::plan_line(plan));
    session.notes().iter().for_each(|note| screen.note(&format!("note: {note}")));
    sampling_notes.iter().for_each(|note| screen.note(note));
    if !thinking && budget.is_some_and(|budget| budget > 0) {
        screen.note("note: thinking is off, unless --think on switches it on: --think-budget has nothing to end");
    }
    if no_tower.is_news() {
        screen.note(&format!("note: {no_tower}"));
    }
    if !plan.weights_fit {
        let weights = ByteSize(plan.weights);
        screen.note(&format!(
            "note: the weights ({weights}) are more than the memory that is free: every token will read from the disk"
        ));
    }
    if plan.settings.n_ctx > plan.longest {
        screen.note(&format!("note: the model was trained on {} positions; see --yarn", plan.longest));
    }
    if let (Some(seconds), Some(viewer)) = (args.sight.image_time, session.viewer()) {
        screen
            .note(&format!("{seconds} s of the vision tower are about {} tokens on this machine", viewer.max_tokens()));
    }

    let mut talk = Talk {
        session,
        screen,
        sampling,
        seed,
        seed_given: args.sampling.gives_seed(),
        no_tower,
        quiet: args.quiet,
        reports: Vec::new(),
        file: session_file,
        heal: args.heal,
    };
    let looked = |talk: &mut Talk, specs: &[String], kind| -> anyhow::Result<Vec<Seen>> {
        let parts = specs.iter().map(|spec| talk.look(spec, kind));
        let seen = |part| match part {
            Part::Image(seen) | Part::Clip(seen) => Some(seen),
            Part::Text(_) => None,
        };
        parts.filter_map(|part| part.map(seen).transpose()).collect()
    };
    let images = looked(&mut talk, &args.sight.image, Kind::Image)?;
    let clips = looked(&mut talk, &args.sight.video, Kind::Video)?;
    let done = match (ids, question) {
        (Some(_), Some(question)) if args.raw => {
            let whole = question.whole();
            talk.finish(|session, on_event| session.continue_text(&whole, on_event), args.json)
        }
        (Some(_), _) if talk.file.is_some() => talk.go_on(messages, args.json),
        (Some(ids), _) => {
            talk.finish(|session, on_event| session.answer_ids(ids, &images, &clips, on_event), args.json)
        }
        (None, _) => {
            let shown = images.into_iter().map(Part::Image).chain(clips.into_iter().map(Part::Clip)).collect();
            let fresh = system.map(Message::system).into_iter().collect();
            let messages = if talk.file.is_some() { messages } else { Vec::new() };
            chat::chat(&mut talk, fresh, messages, shown)
        }
    };
    done.map_err(|error| match not_finite(&error) {
        Some(found) => {
            // The file is opened once more: nothing that answers well needs it.
            let gguf = Gguf::open(path).ok();
            let tensor = found.zip(gguf.as_ref());
            let tensor = tensor.and_then(|(found, gguf)| found.tensor(gguf, talk.session.context().model()));
            let named = tensor.map(|(name, row)| format!(": tensor {name} holds such values, first in row {row}"));
            let advice = "the file is damaged or was badly converted; get or make it again";
            anyhow!("{}: {}{}; {advice}", path.display(), advice::explain(&error), named.unwrap_or_default())
        }
        None => error,
    })
}

/// Whether an answer ended because what the weights give are no numbers, and where that was found.
pub(super) fn not_finite(error: &anyhow::Error) -> Option<Option<model::finite::NotFinite>> {
    match error.downcast_ref() {
        Some(SessionError::Generate(generate::Error::NotFinite { found })) => Some(*found),
        _ => None,
    }
}

/// Why a file cannot be opened, with its name.
pub(super) fn open_error(error: OpenError, path: &Path) -> anyhow::Error {
    match error {
        // It names its file itself.
        OpenError::Gguf(error) => error.into(),
        error => anyhow::Error::new(error).context(path.display().to_string()),
    }
}

/// Opens a model's file.
pub(super) fn open_model(path: &Path) -> anyhow::Result<ModelFile> {
    ModelFile::open(path).map_err(|error| open_error(error, path))
}

/// Why a session cannot start, with the name of the file where it is about that.
pub(super) fn start_error(error: StartError, path: &Path) -> anyhow::Error {
    match error {
        StartError::Isa(_) | StartError::Lock(_) => error.into(),
        error => anyhow::Error::new(error).context(path.display().to_string()),
    }
}

impl Args {
    /// Whether the model thinks, and for how many tokens at most: none also where the template opens the thinking though
    /// it is asked for none.
    fn thinking(&self, by_default: bool) -> (bool, Option<usize>) {
        let budget = self.think_budget.and_then(Limit::tokens);
        match (self.think, budget) {
            (_, Some(0)) | (Think::Off, _) => (false, Some(0)),
            (Think::On, _) => (true, budget),
            (Think::Auto, _) => (by_default || self.effort.is_some(), budget),
        }
    }

    /// The messages of a prompt that is answered once.
    fn first_turn(&self, question: &Question, system: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let typed = Typed { text: &question.text, attached: &question.attached };
        let content = marks::content(&typed, self.sight.image.len(), self.sight.video.len())?;
        let system = system.map(|system| json!({"role": "system", "content": system}));
        Ok(system.into_iter().chain([json!({"role": "user", "content": content})]).collect())
    }
}

/// A session, and where its answers appear.
pub(super) struct Talk {
    pub session: Session,
    pub screen: Screen,
    /// Without and with thinking.
    sampling: [Settings; 2],
    seed: u64,
    /// Whether the user chose the seed.
    seed_given: bool,
    /// Why there is no vision tower, if so.
    no_tower: NoTower,
    quiet: bool,
    /// What was looked at so far.
    reports: Vec<Value>,
    /// Where the conversation is kept.
    file: Option<SessionFile>,
    heal: Heal,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Image,
    Video,
}

impl Talk {
    /// Whether the model thinks, in a sentence.
    pub fn thinking_state(&self) -> String {
        let options = &self.session.options;
        match (options.thinking, options.think_budget) {
            (true, Some(budget)) => format!("thinking is on, for {budget} tokens at most"),
            (true, None) => "thinking is on".to_owned(),
            (false, _) => "thinking is off".to_owned(),
        }
    }

    /// Switches the thinking, and the sampling with it, where that is as published for it.
    pub fn think(&mut self, on: bool) {
        let options = &mut self.session.options;
        options.thinking = on;
        options.think_budget = if on { options.think_budget.filter(|&budget| budget > 0) } else { Some(0) };
        options.sampling = self.sampling[usize::from(on)];
    }

    /// Looks at a picture or clip, which can then be a part of a message.
    pub fn look(&mut self, spec: &str, kind: Kind) -> anyhow::Result<Part> {
        if self.session.viewer().is_none() {
            bail!("{}", self.no_tower);
        }
        let source = pasted::source(spec)?;
        let label = source.label();
        let progress = sight::progress(&label, self.quiet);
        let look = match kind {
            Kind::Image => self.session.look_at_image(&source, progress),
            Kind::Video => self.session.look_at_clip(&source, progress),
        };
        let look = look.with_context(|| label.clone())?;
        self.reports.push(sight::tell(&label, &look, self.quiet));
        Ok(match kind {
            Kind::Image => Part::Image(look.seen),
            Kind::Video => Part::Clip(look.seen),
        })
    }

    /// Answers a conversation on the screen, and says how it went.
    pub fn answer(&mut self, messages: &[Message]) -> anyhow::Result<Outcome> {
        self.follow(|session, on_event| session.answer(messages, on_event))
    }

    /// Follows the making of an answer on the screen, and says how it went.
    fn follow(&mut self, make: impl FnOnce(&mut Session, OnEvent<'_>) -> Made) -> anyhow::Result<Outcome> {
        self.screen.begin();
        let (screen, canceller) = (&mut self.screen, signals::canceller());
        let made = make(&mut self.session, &mut |event| {
            if !screen.show(event) {
                // Nobody would see the rest.
                canceller.cancel();
            }
        });
        self.screen.end();
        let outcome = made?;
        self.screen.written().context("cannot write to standard output")?;
        let options = &self.session.options;
        let seed = (self.seed_given || options.sampling.is_random()).then_some(self.seed);
        let bytes_per_token = self.session.context().model().bytes_per_token();
        self.screen.summary(&outcome, bytes_per_token, seed, options.max_tokens);
        kept::tell(&mut self.session, &outcome, &self.screen);
        Ok(outcome)
    }

    /// Makes the one answer of a run, and prints the result.
    fn finish(&mut self, make: impl FnOnce(&mut Session, OnEvent<'_>) -> Made, as_json: bool) -> anyhow::Result<()> {
        let outcome = self.follow(make)?;
        self.report(&outcome, as_json)
    }

    /// Answers the last of the messages, and keeps them with the answer.
    fn go_on(&mut self, mut messages: Vec<Message>, as_json: bool) -> anyhow::Result<()> {
        let outcome = self.answer(&messages)?;
        if !outcome.is_stopped_before_answer() {
            messages.push(outcome.clone().into());
            self.keep(&messages)?;
        }
        if signals::interrupted() {
            self.keep_state()?;
            return self.report(&outcome, as_json);
        }
        // Whoever waits for the answer has it; the next one will be faster.
        self.report(&outcome, as_json)?;
        if self.heals(&messages) {
            self.session.read_history(&messages, || true)?;
        }
        self.keep_state()
    }

    /// Whether a history is to be read before it is needed.
    pub fn heals(&self, messages: &[Message]) -> bool {
        self.heal == Heal::On && !messages.is_empty()
    }

    /// Writes the messages into the file of the conversation, if there is one.
    pub fn keep(&self, messages: &[Message]) -> anyhow::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.keep(messages))
    }

    /// Writes what the model remembers beside that file.
    pub fn keep_state(&self) -> anyhow::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.keep_state(&self.session))
    }

    /// Whether the conversation is kept in a file.
    pub fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Prints the result of a run.
    fn report(&self, outcome: &Outcome, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            let result = printable::json(&self.json(outcome).to_string());
            writeln!(std::io::stdout(), "{result}").context("cannot write to standard output")?;
        }
        if outcome.stop == Stop::Interrupted && signals::interrupted() {
            // As a shell reports a program that SIGINT ended.
            std::process::exit(130);
        }
        Ok(())
    }

    fn json(&self, outcome: &Outcome) -> Value {
        let bytes_per_token = self.session.context().model().bytes_per_token();
        json!({
            "text": self.screen.answer(),
            "reasoning": self.screen.reasoning(),
            "tool_calls": calls::report(&outcome.calls),
            "stop": outcome.stop.name(),
            "thinking": outcome.thought.name(),
            "thinking_tokens": outcome.n_thinking,
            "prompt_tokens": outcome.n_prompt,
            "prompt_tokens_read": outcome.n_read,
            "reused_tokens": outcome.n_reused,
            "reused_written_tokens": self.session.n_reused_written(),
            "reuse": self.session.reuse().to_string(),
            "tokens": outcome.ids.len(),
            "ids": outcome.ids,
            "seed": self.seed,
            "prefill_seconds": outcome.prefill.as_secs_f64(),
            "prefill_tok_s": outcome.prefill_tok_s(),
            "decode_tok_s": outcome.decode_tok_s(),
            "drafts": drafting::report(&outcome.drafts),
            "schema": self.session.grammar.as_ref().map(|_| schema::report(&outcome.keeping)),
            "memory": fitting::report(self.session.plan(), self.session.context().model()),
            "vision": self.session.viewer().map(|_| &self.reports),
            "decode_gb_s": outcome.decode_tok_s() * bytes_per_token as f64 / 1e9,
        })
    }
}

type OnEvent<'a> = &'a mut dyn FnMut(qwen_edge::engine::session::Event<'_>);
type Made = Result<Outcome, SessionError>;
