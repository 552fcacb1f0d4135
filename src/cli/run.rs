//! `run`: answer a prompt, or chat.

use super::chat;
use super::fitting::{self, Fitting};
use super::runtime::Runtime;
use super::screen::Screen;
use super::sight::{self, Eyes, Sight};
use super::signals;
use crate::chat::{Request, Template};
use crate::context::Context;
use crate::generate::{self, Outcome, Stop, generate};
use crate::gguf::Gguf;
use crate::memory::{Bytes, Plan};
use crate::model::stream::Stream;
use crate::model::{self, Config, FileKind, Model};
use crate::sampler::{self, Sampler};
use crate::tokenizer::{Special, Tokenizer};
use crate::vision::eyes::Seen;
use crate::vision::positions::{VisionIds, Walk};
use crate::vision::prompt::{self, Prompt};
use anyhow::{Context as _, bail, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Value, json};
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Instant;

/// Answer a prompt, or chat.
///
/// With -p (or a prompt on standard input) one answer is written to standard output; everything else goes to standard
/// error. On a terminal without -p it is a chat: Ctrl-C stops an answer, Ctrl-D leaves.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Examples:\n  \
    qwen-edge run model.gguf -p 'Why is the sky blue?'\n  \
    qwen-edge run model.gguf                                  a chat\n  \
    git diff | qwen-edge run model.gguf --system 'Review this change.'\n  \
    qwen-edge run base.gguf --raw -p 'Once upon a time' -n 100 --greedy\n  \
    qwen-edge run model.gguf -p 'Hi' --json | jq -r .text\n  \
    qwen-edge run model.gguf --image sign.jpg -p 'What does the sign say?'\n  \
    qwen-edge run model.gguf --image a.png --image b.png -p 'What changed from <image> to <image>?'\n  \
    qwen-edge run model.gguf --video clip.mp4 -p 'What happens here?'")]
pub struct Args {
    /// GGUF file
    pub model: PathBuf,

    /// The prompt; "-" reads it from standard input
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: Option<String>,

    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,

    /// System message
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,

    /// Whether the model thinks before it answers; auto is the published default of the model's size
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Think::Auto)]
    pub think: Think,

    /// Continue the prompt as it is, without a chat template: for base models
    #[arg(long)]
    pub raw: bool,

    /// Longest answer, in tokens [default: until the model ends or the context is full]
    #[arg(short = 'n', long = "tokens", value_name = "N")]
    pub n: Option<u32>,

    /// Print one JSON object instead of the answer's text
    #[arg(long)]
    pub json: bool,

    /// Say nothing on standard error but errors
    #[arg(short, long)]
    pub quiet: bool,

    /// What to look at.
    #[command(flatten)]
    pub sight: Sight,

    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: Sampling,

    /// How much memory to take.
    #[command(flatten)]
    pub fitting: Fitting,

    /// How to compute.
    #[command(flatten)]
    pub runtime: Runtime,
}

/// Whether the model thinks before it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Think {
    /// Always.
    On,
    /// Never.
    Off,
    /// As published for the model's size.
    Auto,
}

/// How the next token is chosen; what is not given is as the file recommends, else as published for its size and mode.
#[derive(ClapArgs, Debug, Clone)]
#[command(next_help_heading = "Sampling (defaults: those in the file, else those published for the size and mode)")]
pub struct Sampling {
    /// Always take the likeliest token
    #[arg(long, conflicts_with = "temperature")]
    pub greedy: bool,

    /// Seed: the same one gives the same answer [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Temperature; 0 is greedy
    #[arg(long, visible_alias = "temp", value_name = "T")]
    pub temperature: Option<f32>,

    /// Choose among the K likeliest; 0 is all
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// Choose among the likeliest that together have probability P
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,

    /// Drop tokens less likely than P times the likeliest
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,

    /// Subtracted once from the logit of every token written before
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,

    /// Subtracted from the logit of a token for every time it was written before
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,

    /// Divides the logit of every token written before; 1 is none
    #[arg(long, visible_alias = "repeat-penalty", value_name = "X")]
    pub repetition_penalty: Option<f32>,
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded, the prompt not be read or does not fit.
pub fn run(args: Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let interactive = args.prompt.is_none() && args.file.is_none() && std::io::stdin().is_terminal();
    let prompt = if interactive { None } else { Some(read_prompt(&args)?) };
    ensure!(!(interactive && args.raw), "--raw needs a prompt: give -p TEXT, -f FILE, or pipe it in");
    ensure!(!args.raw || args.sight.is_empty(), "--raw takes no pictures: their places are part of the chat template");
    ensure!(
        !args.sight.image.iter().any(|spec| spec == "-")
            || args.prompt.as_ref().is_some_and(|p| p != "-")
            || args.file.is_some(),
        "standard input cannot be both the picture and the prompt: give -p TEXT"
    );
    ensure!(!(interactive && args.json), "--json needs a prompt: give -p TEXT, -f FILE, or pipe it in");

    let path = || args.model.display().to_string();
    let mut gguf = Gguf::open(&args.model)?;
    // A file of another kind is told so before anything that only a model has is missed.
    let config = Config::from_gguf(&gguf).map_err(|error| match error {
        model::Error::NotAModel(FileKind::VisionTower) => {
            anyhow::anyhow!("{}: {error}: qwen-edge run MODEL --mmproj {0}", path())
        }
        error => anyhow::Error::new(error).context(path()),
    })?;
    let mut notes = config.notes;
    // Before the plan, which then counts what they take, and drops the file's pages they were read from.
    let tokenizer = Tokenizer::from_gguf(&gguf).with_context(path)?;
    let template = Template::from_gguf(&gguf).with_context(path)?;
    notes.extend_from_slice(tokenizer.notes());
    let mut notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    let mut eyes_file =
        if interactive || !args.sight.is_empty() { args.sight.open(&args.model, &gguf, &mut notes)? } else { None };
    let eyes = eyes_file.as_mut().map(|file| (&args.sight, file));
    let plan = args.fitting.fit(&mut gguf, eyes, args.runtime.n_threads(), 0).with_context(path)?;
    let blind = eyes_file.take_if(|_| plan.vision.total() == 0).is_some();
    let mut model = Model::bind(&gguf).with_context(path)?;
    model.stream = Stream::new(&gguf, model.config.n_layer(), &plan.streaming);
    args.fitting.adjust(&mut model.config);
    ensure!(tokenizer.n_vocab() <= model.n_vocab, "{}: more tokens than rows of token_embd.weight", path());

    let kernels = args.runtime.kernels()?;
    let team = args.runtime.team();
    let thinking = match args.think {
        Think::On => true,
        Think::Off => false,
        Think::Auto => model.config.thinks_by_default(),
    };
    let sampling = args.sampling.settings(&gguf, &model, thinking)?;
    let seed = args.sampling.seed.unwrap_or_else(random_seed);
    let mut sampler = Sampler::new(sampling, seed);
    sampler.ban(tokenizer.padding());
    // Rows that the vocabulary has no token for.
    sampler.ban(tokenizer.n_vocab() as u32..model.n_vocab as u32);

    let name = gguf.string("general.name").ok().flatten().unwrap_or("unnamed model").to_owned();
    let screen = Screen::new(args.quiet, args.json);
    screen.note(&format!(
        "{name}: {} on {} thread{}; loaded in {:.0} ms",
        kernels.isa(),
        team.threads(),
        if team.threads() == 1 { "" } else { "s" },
        start.elapsed().as_secs_f64() * 1e3,
    ));

    screen.note(&format!("memory: {plan}"));
    notes.iter().for_each(|note| screen.note(&format!("note: {note}")));
    if blind {
        screen.note("note: no pictures: there is no memory for the vision file beside the model");
    }
    if !plan.weights_fit {
        let weights = Bytes(plan.weights);
        screen.note(&format!(
            "note: the weights ({weights}) are more than the memory that is free: every token will read from the disk"
        ));
    }
    if plan.settings.n_ctx > plan.longest {
        screen.note(&format!("note: the model was trained on {} positions; see --yarn", plan.longest));
    }

    let mut context = Context::new(&model, kernels, team, plan.settings);
    if args.fitting.touch {
        context.touch();
    }
    let eyes = match &eyes_file {
        Some(file) => {
            let hands = (kernels, args.runtime.team());
            let room = (plan.vision.image_tokens, plan.room_to_look());
            let eyes = Eyes::new(file.gguf(&gguf), model.config.n_embd, &args.sight, hands, room, args.quiet);
            let mut notes = Vec::new();
            let ids = sight::vision_ids(&tokenizer, &gguf, &mut notes)?;
            notes.iter().for_each(|note| screen.note(&format!("note: {note}")));
            Some((eyes?, ids))
        }
        None => None,
    };
    let mut session = Session {
        eyes,
        images: Vec::new(),
        clips: Vec::new(),
        bytes_per_token: model.bytes_per_token(),
        plan,
        context,
        tokenizer,
        template,
        sampler,
        thinking,
        n_max: args.n.map_or(usize::MAX, |n| n as usize),
        screen,
    };
    for spec in &args.sight.image {
        session.look(spec, Kind::Image)?;
    }
    for spec in &args.sight.video {
        session.look(spec, Kind::Video)?;
    }
    let done = match prompt {
        None => chat::chat(&mut session, args.system.as_deref()),
        Some(prompt) => session.answer(&args, &prompt, seed),
    };
    done.map_err(|error| match error.downcast_ref() {
        Some(generate::Error::NotFinite { found }) => {
            let tensor = found.and_then(|found| found.tensor(&gguf, &model));
            let named = tensor.map(|(name, row)| format!(": tensor {name} holds such values, first in row {row}"));
            let advice = "the file is damaged or was badly converted; get or make it again";
            anyhow::anyhow!("{}: {error:#}{}; {advice}", path(), named.unwrap_or_default())
        }
        _ => error,
    })
}

/// The prompt from where the arguments say it is.
fn read_prompt(args: &Args) -> anyhow::Result<String> {
    let (bytes, source) = match (&args.prompt, &args.file) {
        (Some(text), _) if text != "-" => (text.clone().into_bytes(), "--prompt".to_owned()),
        (_, Some(file)) => {
            (std::fs::read(file).with_context(|| file.display().to_string())?, file.display().to_string())
        }
        _ => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            (bytes, "standard input".to_owned())
        }
    };
    let text = String::from_utf8(bytes)
        .map_err(|e| anyhow::anyhow!("{source}: not UTF-8 at byte {}", e.utf8_error().valid_up_to()))?;
    ensure!(!text.trim().is_empty(), "{source}: the prompt is empty");
    Ok(text)
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Kept short enough to be typed again.
    RandomState::new().hash_one(std::process::id()) >> 32
}

/// The settings a file recommends for itself, if it names a temperature. The published files do not.
fn recommended(gguf: &Gguf) -> anyhow::Result<Option<sampler::Settings>> {
    let float = |key: &str| gguf.float(&format!("general.sampling.{key}"));
    let Some(temperature) = float("temp")? else { return Ok(None) };
    Ok(Some(sampler::Settings {
        temperature: temperature as f32,
        top_k: gguf.uint("general.sampling.top_k")?.unwrap_or(0) as usize,
        top_p: float("top_p")?.unwrap_or(1.0) as f32,
        min_p: float("min_p")?.unwrap_or(0.0) as f32,
        repetition_penalty: float("penalty_repeat")?.unwrap_or(1.0) as f32,
        ..sampler::Settings::greedy()
    }))
}

impl Sampling {
    /// The published settings of the model's size and mode, with what the user gave.
    fn settings(&self, gguf: &Gguf, model: &Model<'_>, thinking: bool) -> anyhow::Result<sampler::Settings> {
        let mut s = match recommended(gguf)? {
            _ if self.greedy => sampler::Settings::greedy(),
            Some(settings) => settings,
            None => sampler::Settings::published(model.config.n_embd, thinking, false),
        };
        s.temperature = self.temperature.unwrap_or(s.temperature);
        s.top_k = self.top_k.unwrap_or(s.top_k);
        s.top_p = self.top_p.unwrap_or(s.top_p);
        s.min_p = self.min_p.unwrap_or(s.min_p);
        s.presence_penalty = self.presence_penalty.unwrap_or(s.presence_penalty);
        s.frequency_penalty = self.frequency_penalty.unwrap_or(s.frequency_penalty);
        s.repetition_penalty = self.repetition_penalty.unwrap_or(s.repetition_penalty);
        if let Err(problem) = s.check() {
            bail!("{problem}");
        }
        Ok(s)
    }
}

/// Everything an answer takes, loaded.
pub(super) struct Session<'m, 'g> {
    pub context: Context<'m, 'g>,
    pub tokenizer: Tokenizer,
    pub template: Template,
    pub sampler: Sampler,
    pub thinking: bool,
    pub n_max: usize,
    pub screen: Screen,
    plan: Plan,
    /// The vision tower, and the tokens its rows stand for.
    pub eyes: Option<(Eyes<'m>, VisionIds)>,
    /// Pictures of the conversation, in order.
    pub images: Vec<Seen>,
    /// Clips of the conversation, in order.
    pub clips: Vec<Seen>,
    bytes_per_token: usize,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Video,
}

impl Session<'_, '_> {
    /// Answers one prompt and prints the result.
    fn answer(&mut self, args: &Args, prompt: &str, seed: u64) -> anyhow::Result<()> {
        let prompt = if args.raw {
            Prompt { ids: self.tokenizer.encode(prompt, Special::None), seen: Vec::new() }
        } else {
            let mut messages = Vec::new();
            if let Some(system) = &args.system {
                messages.push(json!({"role": "system", "content": system}));
            }
            let content = sight::content(prompt, self.images.len(), self.clips.len())?;
            messages.push(json!({"role": "user", "content": content}));
            self.prompt(messages)?
        };
        ensure!(!prompt.ids.is_empty(), "the prompt has no tokens");
        let outcome = self.write_answer(&prompt, 0, !args.raw && self.thinking)?;
        if args.json {
            let result = self.json(&outcome, seed);
            writeln!(std::io::stdout(), "{result}").context("cannot write to standard output")?;
        }
        if outcome.stop == Stop::Interrupted && signals::interrupted() {
            // As a shell reports a program that SIGINT ended.
            std::process::exit(130);
        }
        Ok(())
    }

    /// Looks at a picture or clip, which joins the conversation.
    pub fn look(&mut self, spec: &str, kind: Kind) -> anyhow::Result<()> {
        let Some((eyes, _)) = &mut self.eyes else {
            bail!(
                "no vision file: start with --mmproj FILE, or put one whose name begins with mmproj beside the model"
            );
        };
        match kind {
            Kind::Image => self.images.push(eyes.image(spec)?),
            Kind::Video => self.clips.push(eyes.video(spec)?),
        }
        Ok(())
    }

    /// A conversation and the start of the next answer.
    pub fn prompt(&self, messages: Vec<Value>) -> anyhow::Result<Prompt> {
        self.encode(&Request::new(messages, self.thinking))
    }

    /// The ids of a conversation, with the pictures in their places.
    fn encode(&self, request: &Request) -> anyhow::Result<Prompt> {
        let ids = self.tokenizer.encode_prompt(&self.template.prompt(request, &self.tokenizer)?);
        match &self.eyes {
            Some((_, vision_ids)) if !(self.images.is_empty() && self.clips.is_empty()) => {
                let text = |stamp: &str| self.tokenizer.encode(stamp, Special::None);
                Ok(prompt::arrange(&ids, *vision_ids, &self.images, &self.clips, text)?)
            }
            _ => Ok(Prompt { ids, seen: Vec::new() }),
        }
    }

    /// How many ids of `prompt`, that of a conversation, will begin its next prompt too. What the template puts behind
    /// the last message depends on the mode and is dropped from history.
    pub fn stable_prefix(&self, messages: Vec<Value>, prompt: &Prompt) -> anyhow::Result<usize> {
        let mut request = Request::new(messages, self.thinking);
        request.add_generation_prompt = false;
        let history = self.encode(&request)?;
        Ok(history.ids.iter().zip(&prompt.ids).take_while(|(a, b)| a == b).count())
    }

    /// Reads `prompt`, writes the answer to the screen and says how it went.
    pub fn write_answer(&mut self, prompt: &Prompt, stable: usize, thinking: bool) -> anyhow::Result<Outcome> {
        let n_ctx = self.context.settings().n_ctx;
        let ids = &prompt.ids;
        ensure!(
            ids.len() < n_ctx,
            "the prompt has {} tokens and the context holds {n_ctx}: give --ctx {} or more, or a shorter prompt",
            ids.len(),
            (ids.len() + 512).next_multiple_of(1024),
        );
        let slots = match &self.eyes {
            Some((_, vision_ids)) if !prompt.seen.is_empty() => {
                prompt.slots(*vision_ids, self.context.model().config.n_embd, &mut Walk::default())?
            }
            _ => crate::context::text_slots(ids, 0),
        };
        self.sampler.forget();
        self.screen.begin(thinking, self.tokenizer.added_token("</think>"));
        let (context, tokenizer, sampler) = (&mut self.context, &self.tokenizer, &mut self.sampler);
        let outcome = generate(context, tokenizer, sampler, &slots, stable, self.n_max, &mut self.screen);
        self.screen.end();
        let outcome = outcome?;
        self.screen.written().context("cannot write to standard output")?;
        self.screen.summary(&outcome, self.bytes_per_token);
        Ok(outcome)
    }

    fn json(&self, outcome: &Outcome, seed: u64) -> Value {
        let reports = self.eyes.as_ref().map(|(eyes, _)| eyes.reports());
        json!({
            "text": self.screen.answer(),
            "reasoning": self.screen.reasoning(),
            "stop": outcome.stop.name(),
            "prompt_tokens": outcome.n_prompt,
            "tokens": outcome.ids.len(),
            "ids": outcome.ids,
            "seed": seed,
            "prefill_seconds": outcome.prefill.as_secs_f64(),
            "prefill_tok_s": outcome.prefill_tok_s(),
            "decode_tok_s": outcome.decode_tok_s(),
            "memory": fitting::report(&self.plan),
            "vision": reports,
            "decode_gb_s": outcome.decode_tok_s() * self.bytes_per_token as f64 / 1e9,
        })
    }
}
