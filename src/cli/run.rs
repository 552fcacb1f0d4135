//! `run`: answer a prompt, or chat.

use super::fitting::{self, Fitting};
use super::marks::Typed;
use super::prompt::{PromptArgs, Question};
use super::runtime::Runtime;
use super::sampling::{Sampling, at_most};
use super::screen::Screen;
use super::sight::{self, Eyes, Sight};
use super::tower_file::{self, NoTower};
use super::{chat, marks, printable, signals, text};
use anyhow::{Context as _, bail, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use qwen_edge::chat::thinking::Thinking;
use qwen_edge::chat::{Request, Template};
use qwen_edge::engine::context::Context;
use qwen_edge::engine::generate::{self, Outcome, Stop, Task, generate};
use qwen_edge::engine::plan::{Bytes, Plan};
use qwen_edge::gguf::Gguf;
use qwen_edge::model::stream::Stream;
use qwen_edge::model::{self, Config, FileKind, Model};
use qwen_edge::sampler::{Sampler, Settings};
use qwen_edge::tokenizer::{Special, Tokenizer};
use qwen_edge::vision::eyes::Seen;
use qwen_edge::vision::positions::{VisionIds, Walk};
use qwen_edge::vision::prompt::{self, Prompt};
use serde_json::{Value, json};
use std::io::Write;
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

    /// Whether the model thinks before it answers; auto is the published default of the model's size
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Think::Auto)]
    pub think: Think,

    /// End the thinking after so many tokens, and have the answer; 0 is no thinking, -1 no limit
    #[arg(long, value_name = "N", value_parser = parse_limit, conflicts_with = "raw")]
    pub think_budget: Option<Limit>,

    /// Continue the prompt as it is, without a chat template: for base models
    #[arg(long)]
    pub raw: bool,

    /// Longest answer, in tokens, thinking included; -1 is no limit [default: until the model ends or the context is
    /// full]
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = parse_limit)]
    pub n: Option<Limit>,

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
    #[value(alias = "true")]
    On,
    /// Never.
    #[value(alias = "false")]
    Off,
    /// As published for the model's size.
    Auto,
}

/// A number of tokens at most, or no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit(Option<u64>);

fn parse_limit(text: &str) -> Result<Limit, String> {
    at_most(text).map(Limit).ok_or_else(|| "expected a whole number of tokens, or -1 for no limit".to_owned())
}

impl Limit {
    fn tokens(self) -> Option<usize> {
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

    let path = || args.input.model().display().to_string();
    let mut gguf = Gguf::open(args.input.model())?;
    // A file of another kind is told so before anything that only a model has is missed.
    let config = Config::from_gguf(&gguf).map_err(|error| match error {
        model::Error::NotAModel(FileKind::VisionTower) => {
            anyhow::anyhow!("{}: {error}: qwen-edge run MODEL --mmproj {0}", path())
        }
        error => anyhow::Error::new(error).context(path()),
    })?;
    let budget = args.think_budget.and_then(Limit::tokens);
    let think = if budget == Some(0) { Think::Off } else { args.think };
    let thinking = match think {
        Think::On => true,
        Think::Off => false,
        Think::Auto => config.thinks_by_default(),
    };
    let mut notes = config.notes;
    // Before the plan, which then counts what they take, and drops the file's pages they were read from.
    let tokenizer = Tokenizer::from_gguf(&gguf).with_context(path)?;
    let template = Template::from_gguf(&gguf).with_context(path)?;
    notes.extend_from_slice(tokenizer.notes());
    let looks = interactive || !args.sight.is_empty();
    let (mut eyes_file, mut no_tower) = match tower_file::find(&args.sight, args.input.model(), &gguf, looks)? {
        Ok(file) => (Some(file), NoTower::Absent),
        Err(why) => (None, why),
    };
    // The prompt is known before the plan, which makes room for it.
    let system = args.system.as_deref().map(text::without_mark);
    let question = asked.map(|asked| asked.finish(&screen)).transpose()?;
    let ids = question.map(|question| match args.raw {
        true => Ok(tokenizer.encode(&question.whole(), Special::None)),
        false => conversation_ids(&tokenizer, &template, &args.first_turn(&question, system)?, thinking),
    });
    let ids = ids.transpose()?;
    let n_prompt = ids.as_ref().map_or(0, |ids| ids.len() + args.sight.most_tokens());
    let eyes = eyes_file.as_mut().map(|file| (&args.sight, file));
    let plan = args.fitting.fit(&mut gguf, eyes, args.runtime.n_threads(), n_prompt).with_context(path)?;
    if eyes_file.take_if(|_| plan.vision.total() == 0).is_some() {
        no_tower = NoTower::NoMemory;
    }
    let mut model = Model::bind(&gguf).with_context(path)?;
    model.stream = Stream::new(&model.layers, &plan.streaming);
    args.fitting.adjust(&mut model.config);
    let model = Arc::new(model);
    ensure!(tokenizer.n_vocab() <= model.n_vocab, "{}: more tokens than rows of token_embd.weight", path());

    let kernels = args.runtime.kernels()?;
    let team = args.runtime.team();
    let published = |thinking| Settings::published(model.config.n_embd, thinking, false);
    let (settings_off, _) = args.sampling.settings(&gguf, published(false))?;
    let (settings_on, sampling_notes) = args.sampling.settings(&gguf, published(true))?;
    let sampling = [settings_off, settings_on];
    let seed = args.sampling.seed();
    let mut sampler = Sampler::new(sampling[usize::from(thinking)], seed);
    sampler.ban(tokenizer.padding());
    // Rows that the vocabulary has no token for.
    sampler.ban(tokenizer.n_vocab() as u32..model.n_vocab as u32);

    let name = printable::line(gguf.string("general.name").ok().flatten().unwrap_or("unnamed model"));
    screen.note(&format!(
        "{name}: {} on {} thread{}; loaded in {:.0} ms",
        kernels.isa(),
        team.threads(),
        if team.threads() == 1 { "" } else { "s" },
        start.elapsed().as_secs_f64() * 1e3,
    ));

    screen.note(&format!("memory: {plan}"));
    notes.iter().for_each(|note| screen.note(&format!("note: {note}")));
    sampling_notes.iter().for_each(|note| screen.note(note));
    if !thinking && budget.is_some_and(|budget| budget > 0) {
        screen.note("note: thinking is off, unless --think on switches it on: --think-budget has nothing to end");
    }
    if no_tower.is_news() {
        screen.note(&format!("note: {no_tower}"));
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

    let mut context = Context::new(model.clone(), kernels, team, plan.settings);
    if args.fitting.touch {
        context.touch();
    }
    let eyes = match &eyes_file {
        Some(file) => {
            let hands = (kernels, context.team());
            let room = (plan.vision.image_tokens, plan.room_to_look());
            let eyes = Eyes::new(file.gguf(&gguf), &args.sight, hands, room, args.quiet);
            let mut notes = Vec::new();
            let ids = sight::vision_ids(&tokenizer, &gguf, &mut notes)?;
            notes.iter().for_each(|note| screen.note(&format!("note: {note}")));
            Some((eyes?, ids))
        }
        None => None,
    };
    let mut session = Session {
        eyes,
        no_tower,
        images: Vec::new(),
        clips: Vec::new(),
        bytes_per_token: model.bytes_per_token(),
        plan,
        context,
        tokenizer,
        template,
        sampler,
        sampling,
        seed,
        seed_given: args.sampling.gives_seed(),
        thinking,
        budget: if think == Think::Off { Some(0) } else { budget },
        raw: args.raw,
        n_max: args.n.and_then(Limit::tokens).unwrap_or(usize::MAX),
        screen,
    };
    for spec in &args.sight.image {
        session.look(spec, Kind::Image)?;
    }
    for spec in &args.sight.video {
        session.look(spec, Kind::Video)?;
    }
    let done = match ids {
        None => chat::chat(&mut session, system),
        Some(ids) => session.answer(ids, args.json),
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

impl Args {
    /// The messages of a prompt that is answered once.
    fn first_turn(&self, question: &Question, system: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let typed = Typed { text: &question.text, attached: &question.attached };
        let content = marks::content(&typed, self.sight.image.len(), self.sight.video.len())?;
        let system = system.map(|system| json!({"role": "system", "content": system}));
        Ok(system.into_iter().chain([json!({"role": "user", "content": content})]).collect())
    }
}

/// The ids of a conversation and the start of the next answer; of each picture and clip there is one placeholder.
fn conversation_ids(
    tokenizer: &Tokenizer,
    template: &Template,
    messages: &[Value],
    thinking: bool,
) -> anyhow::Result<Vec<u32>> {
    let prompt = template.prompt(&Request::new(messages.to_vec(), thinking), tokenizer)?;
    Ok(tokenizer.encode_prompt(&prompt))
}

/// Everything an answer takes, loaded.
pub(super) struct Session {
    pub context: Context,
    pub tokenizer: Tokenizer,
    pub template: Template,
    pub sampler: Sampler,
    /// Without and with thinking.
    sampling: [Settings; 2],
    seed: u64,
    /// Whether the user chose the seed.
    seed_given: bool,
    /// Whether the template is asked for thinking.
    thinking: bool,
    /// Thinking tokens at most; 0 also where the template opens the thinking though it is asked for none.
    budget: Option<usize>,
    /// Whether prompts are continued as they are.
    raw: bool,
    pub n_max: usize,
    pub screen: Screen,
    plan: Plan,
    /// The vision tower, and the tokens its rows stand for.
    pub eyes: Option<(Eyes, VisionIds)>,
    /// Why there is none, if so.
    no_tower: NoTower,
    /// Pictures of the conversation, in order.
    pub images: Vec<Seen>,
    /// Clips of the conversation, in order.
    pub clips: Vec<Seen>,
    bytes_per_token: usize,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Image,
    Video,
}

impl Session {
    /// Answers one prompt and prints the result.
    fn answer(&mut self, ids: Vec<u32>, as_json: bool) -> anyhow::Result<()> {
        let prompt = self.arrange(ids)?;
        ensure!(!prompt.ids.is_empty(), "the prompt has no tokens");
        let outcome = self.write_answer(&prompt, 0)?;
        if as_json {
            let result = printable::json(&self.json(&outcome).to_string());
            writeln!(std::io::stdout(), "{result}").context("cannot write to standard output")?;
        }
        if outcome.stop == Stop::Interrupted && signals::interrupted() {
            // As a shell reports a program that SIGINT ended.
            std::process::exit(130);
        }
        Ok(())
    }

    /// Whether the model thinks, in a sentence.
    pub fn thinking_state(&self) -> String {
        match (self.thinking, self.budget) {
            (true, Some(budget)) => format!("thinking is on, for {budget} tokens at most"),
            (true, None) => "thinking is on".to_owned(),
            (false, _) => "thinking is off".to_owned(),
        }
    }

    /// Switches the thinking, and the sampling with it, where that is as published for it.
    pub fn think(&mut self, on: bool) {
        self.thinking = on;
        self.budget = if on { self.budget.filter(|&budget| budget > 0) } else { Some(0) };
        self.sampler.set(self.sampling[usize::from(on)]);
    }

    /// Looks at a picture or clip, which joins the conversation.
    pub fn look(&mut self, spec: &str, kind: Kind) -> anyhow::Result<()> {
        let Some((eyes, _)) = &mut self.eyes else { bail!("{}", self.no_tower) };
        let team = self.context.team();
        match kind {
            Kind::Image => self.images.push(eyes.image(spec, team)?),
            Kind::Video => self.clips.push(eyes.video(spec, team)?),
        }
        Ok(())
    }

    /// A conversation and the start of the next answer, and how many of its ids will begin the next prompt too: what the
    /// template puts behind the last message depends on the mode and is dropped from history.
    pub fn prompt(&self, messages: &[Value]) -> anyhow::Result<(Prompt, usize)> {
        let ids = conversation_ids(&self.tokenizer, &self.template, messages, self.thinking)?;
        let prompt = self.arrange(ids)?;
        // The answer begins a turn of its own.
        let turn = self.tokenizer.added_token("<|im_start|>");
        let stable = prompt.ids.iter().rposition(|&id| Some(id) == turn).unwrap_or(0);
        Ok((prompt, stable))
    }

    /// Puts the pictures of the conversation in their places.
    fn arrange(&self, ids: Vec<u32>) -> anyhow::Result<Prompt> {
        match &self.eyes {
            Some((_, vision_ids)) if !(self.images.is_empty() && self.clips.is_empty()) => {
                let text = |stamp: &str| self.tokenizer.encode(stamp, Special::None);
                Ok(prompt::arrange(&ids, *vision_ids, &self.images, &self.clips, text)?)
            }
            _ => Ok(Prompt { ids, seen: Vec::new() }),
        }
    }

    /// Reads `prompt`, writes the answer to the screen and says how it went.
    pub fn write_answer(&mut self, prompt: &Prompt, stable: usize) -> anyhow::Result<Outcome> {
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
            _ => qwen_edge::engine::context::text_slots(ids, 0),
        };
        let thinking = match self.raw {
            true => Thinking::ignored(),
            false => Thinking::after(ids, &self.tokenizer, self.budget),
        };
        self.screen.begin();
        let (context, tokenizer, sampler) = (&mut self.context, &self.tokenizer, &mut self.sampler);
        let task = Task { prompt: &slots, stable, n_max: self.n_max, thinking };
        let outcome = generate(context, tokenizer, sampler, task, &mut self.screen);
        self.screen.end();
        let outcome = outcome?;
        self.screen.written().context("cannot write to standard output")?;
        let seed = (self.seed_given || self.sampler.settings().is_random()).then_some(self.seed);
        self.screen.summary(&outcome, self.bytes_per_token, seed, self.n_max);
        Ok(outcome)
    }

    fn json(&self, outcome: &Outcome) -> Value {
        let reports = self.eyes.as_ref().map(|(eyes, _)| eyes.reports());
        json!({
            "text": self.screen.answer(),
            "reasoning": self.screen.reasoning(),
            "stop": outcome.stop.name(),
            "thinking": outcome.thought.name(),
            "thinking_tokens": outcome.n_thinking,
            "prompt_tokens": outcome.n_prompt,
            "prompt_tokens_read": outcome.n_read,
            "tokens": outcome.ids.len(),
            "ids": outcome.ids,
            "seed": self.seed,
            "prefill_seconds": outcome.prefill.as_secs_f64(),
            "prefill_tok_s": outcome.prefill_tok_s(),
            "decode_tok_s": outcome.decode_tok_s(),
            "memory": fitting::report(&self.plan),
            "vision": reports,
            "decode_gb_s": outcome.decode_tok_s() * self.bytes_per_token as f64 / 1e9,
        })
    }
}
