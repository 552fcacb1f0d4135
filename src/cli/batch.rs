//! `batch`: answer many prompts at once, from a file to a file.

use super::answers_file::AnswersFile;
use super::drafting::Drafting;
use super::fitting::{self, Fitting, Progress};
use super::run::{Limit, Switch, Think, open_model, parse_limit, start_error};
use super::runtime::Runtime;
use super::sampling::Sampling;
use super::{advice, named, printable, signals, text};
use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use qwen_edge::chat::thinking::{Channel, Thinking};
use qwen_edge::engine::answers::{Answers, Conversation, Waits};
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::context::text_rows;
use qwen_edge::engine::generate::{Answer, Audience, Error, Outcome, Stop, Task};
use qwen_edge::engine::model_file::{ModelFile, StartOptions};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::ready::Ready;
use qwen_edge::engine::runner::Step;
use qwen_edge::engine::sequence::Sequence;
use qwen_edge::sampler::Settings;
use qwen_edge::tokenizer::Special;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A common beginning of fewer tokens is not worth the copies of its state.
const LEAST_COMMON: usize = 48;

/// How long answers in the making wait for the prompts of others, which nobody waits for but they.
const WAITS: Waits = Waits { written: Duration::from_millis(200), alone: Duration::MAX };

/// Answer many prompts at once, from a file to a file.
///
/// A line of PROMPTS is a JSON object: {"prompt": TEXT} or {"messages": [{"role": "user", "content": TEXT}, ...]}, and if
/// wanted "id", "max_tokens", "seed", "greedy". A line of the answers is {"id", "text", "stop", "prompt_tokens", "tokens"},
/// or {"id", "error"} where a line is no prompt, in the order of the prompts. A line without an id has its number.
///
/// Prompts that begin in the same way, with one system message or one document, have the beginning read once. An answer is
/// the same whatever else is in the file. Interrupted, the same command goes on where it was.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Examples:\n  \
    qwen-edge batch model.gguf prompts.jsonl -o answers.jsonl\n  \
    qwen-edge batch model.gguf prompts.jsonl -o answers.jsonl --parallel 8 --greedy -n 64\n  \
    jq -c '{id: .name, prompt: .question}' tasks.jsonl | qwen-edge batch model.gguf - | jq -r .text\n\n\
    Memory: --ctx is the length of one conversation, and there is room for --parallel of them. Where memory is short,\n\
    batches, then the storage of keys and values, then the length shrink; the number stays.")]
pub struct Args {
    /// GGUF file
    model: PathBuf,

    /// JSON lines; - is standard input
    prompts: PathBuf,

    /// Where the answers go, behind those that are there; standard output without it
    #[arg(short, long, value_name = "ANSWERS.jsonl")]
    output: Option<PathBuf>,

    /// Answers in the making at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,

    /// Longest answer, in tokens, thinking included, of lines without max_tokens; -1 is no limit [default: until the model
    /// ends or the context is full]
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = parse_limit)]
    n: Option<Limit>,

    /// System message of prompts; messages bring their own
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "raw")]
    system: Option<String>,

    /// Whether the model thinks before it answers; auto is the published default of the model's size
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Think::Auto)]
    think: Think,

    /// Continue prompts as they are, without a chat template: for base models
    #[arg(long)]
    raw: bool,

    /// End an answer that goes round in circles; not with --raw
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Switch::On)]
    loop_guard: Switch,

    /// Say nothing on standard error but errors
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

/// A line of the prompts as it stands there.
#[derive(Deserialize)]
struct Line {
    id: Option<Value>,
    prompt: Option<String>,
    messages: Option<Vec<Value>>,
    max_tokens: Option<usize>,
    seed: Option<u64>,
    greedy: Option<bool>,
}

/// A prompt to answer.
struct Prompt {
    ids: Vec<u32>,
    max_tokens: Option<usize>,
    seed: Option<u64>,
    greedy: bool,
}

/// A line's id, and its prompt or what is wrong with it.
struct Entry {
    id: Value,
    prompt: Result<Prompt, String>,
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded, the prompts not be read, or the answers not be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let model = named::file(&args.model)?;
    let file = open_model(&model)?;
    let thinking = match args.think {
        Think::On => true,
        Think::Off => false,
        Think::Auto => file.config().thinks_by_default(),
    };
    let entries = read_entries(&args, &file, thinking)?;
    let mut output = AnswersFile::open(args.output.as_deref(), entries.iter().map(|entry| &entry.id))?;
    let n_answered = output.n_answered();
    if n_answered == entries.len() {
        note(&args, &format!("all {n_answered} lines are answered already"));
        return Ok(());
    }

    let (settings, notes) = args.sampling.settings(file.gguf(), file.published_answers(thinking).sampling)?;
    let prompts = || entries[n_answered..].iter().filter_map(|entry| entry.prompt.as_ref().ok());
    let common = common_beginning(prompts().map(|prompt| &prompt.ids[..]));
    let parallel = usize::from(args.parallel).min(prompts().count()).max(1);
    // The common beginning is a conversation of its own.
    let n_sequence = Some(parallel + usize::from(!common.is_empty()));
    let longest = prompts().map(|prompt| prompt.ids.len()).max().unwrap_or(1);
    let options = StartOptions {
        wish: Wish { n_sequence, ..args.fitting.wish(longest) },
        residence: args.fitting.residence(),
        yarn: args.fitting.yarn,
        isa: args.runtime.isa,
        threads: Some(args.runtime.n_threads()),
        draft: args.drafting.draft,
        draft_file: args.drafting.file()?,
        ..StartOptions::default()
    };
    let mut progress = Progress::new();
    let ready = file.make_ready(options, |done, total| progress.show(done, total));
    progress.end();
    let mut ready = ready.map_err(|error| start_error(error, &model))?;
    if args.fitting.touch {
        ready.runner.commit_memory();
    }
    note(&args, &advice::plan_line(&ready.plan));
    ready.notes.iter().for_each(|text| note(&args, &format!("note: {text}")));
    notes.iter().for_each(|text| note(&args, text));
    if n_answered > 0 {
        note(&args, &format!("{n_answered} of {} lines are answered already", entries.len()));
    }
    if !common.is_empty() {
        note(&args, &format!("{} tokens that many prompts begin with are read once", common.len()));
    }

    let mut work = Work { args: &args, entries: &entries, settings, thinking, parallel, common: &common };
    signals::begin_answer();
    let told = work.run(&mut ready, &mut output);
    signals::end_answer();
    let Told { n_error, tokens, seconds } = told?;
    let n_done = output.n_answered();
    note(
        &args,
        &format!(
            "{} answers, {tokens} tokens in {seconds:.1} s: {:.1} tok/s; {n_error} lines without an answer",
            n_done - n_answered - n_error,
            tokens as f64 / seconds.max(1e-9),
        ),
    );
    let memory = fitting::report(&ready.plan, ready.runner.model());
    let bytes = |key: &str| ByteSize(memory[key].as_u64().unwrap_or(0));
    note(&args, &format!("memory: {} at the most, of {} planned", bytes("peak_bytes"), bytes("planned_bytes")));
    if n_done < entries.len() {
        note(
            &args,
            &format!("interrupted: {n_done} of {} lines are answered; the same command goes on", entries.len()),
        );
        // As a shell reports a program that SIGINT ended.
        std::process::exit(130);
    }
    Ok(())
}

fn note(args: &Args, line: &str) {
    if !args.quiet {
        say!("{line}");
    }
}

/// Reads all lines; those that are no prompts keep what is wrong with them.
fn read_entries(args: &Args, file: &ModelFile, thinking: bool) -> anyhow::Result<Vec<Entry>> {
    let is_piped = args.prompts.as_os_str() == "-";
    let name = if is_piped { "standard input".to_owned() } else { args.prompts.display().to_string() };
    let mut bytes = Vec::new();
    if is_piped {
        std::io::stdin().lock().read_to_end(&mut bytes).with_context(|| name.clone())?;
    } else {
        bytes = qwen_edge::platform::files::read(&args.prompts).with_context(|| name.clone())?;
    }
    let all = text::decode(&bytes).with_context(|| name.clone())?;
    let mut entries = Vec::new();
    for (i, line) in all.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = i + 1;
        let (id, prompt) = match serde_json::from_str::<Line>(line) {
            Ok(mut line) => (line.id.take(), args.prompt(line, file, thinking)),
            Err(error) => (id_of(line), Err(anyhow!("expected a JSON object with a prompt or messages: {error}"))),
        };
        let prompt = prompt.map_err(|error| format!("line {number}: {}", advice::explain(&error)));
        entries.push(Entry { id: id.unwrap_or_else(|| number.into()), prompt });
    }
    ensure!(!entries.is_empty(), "{name}: no lines");
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, entry) in entries.iter().enumerate() {
        if let Some(first) = seen.insert(entry.id.to_string(), i) {
            bail!(
                "{name}: lines {} and {} both have the id {}: expected different ones",
                first + 1,
                i + 1,
                printable::line(&entry.id.to_string())
            );
        }
    }
    Ok(entries)
}

/// The id of a line that is JSON, but no prompt.
fn id_of(line: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).ok()?.get("id").filter(|id| !id.is_null()).cloned()
}

impl Args {
    fn prompt(&self, line: Line, file: &ModelFile, thinking: bool) -> anyhow::Result<Prompt> {
        let Line { prompt, messages, max_tokens, seed, greedy, .. } = line;
        let ids = match (prompt, messages) {
            (Some(prompt), None) if self.raw => file.tokenizer().encode(&prompt, Special::None),
            (Some(prompt), None) => {
                let system = self.system.as_ref().map(|system| json!({"role": "system", "content": system}));
                let user = json!({"role": "user", "content": prompt});
                file.prompt_ids(&system.into_iter().chain([user]).collect::<Vec<_>>(), None, thinking)?
            }
            (None, Some(_)) if self.raw => {
                bail!("messages need the chat template, and --raw leaves it out: give a prompt")
            }
            (None, Some(messages)) => {
                ensure!(!messages.is_empty(), "no messages: expected one or more");
                file.prompt_ids(&messages, None, thinking)?
            }
            (Some(_), Some(_)) => bail!("both a prompt and messages: expected one of them"),
            (None, None) => bail!("neither a prompt nor messages: expected one of them"),
        };
        ensure!(!ids.is_empty(), "the prompt has no tokens");
        Ok(Prompt { ids, max_tokens, seed, greedy: greedy.unwrap_or(false) })
    }
}

/// The beginning that saves most when it is read once: of those that neighbours in the file share, by its length times the
/// number of prompts that have it. Empty if none is worth it.
fn common_beginning<'p>(prompts: impl Iterator<Item = &'p [u32]> + Clone) -> Vec<u32> {
    let mut best: (usize, &[u32]) = (0, &[]);
    let mut tried: Vec<&[u32]> = Vec::new();
    for (a, b) in prompts.clone().zip(prompts.clone().skip(1)) {
        let n = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        // Something of every prompt is left to be read.
        let common = &a[..n.min(a.len() - 1).min(b.len() - 1)];
        if common.len() < LEAST_COMMON || tried.contains(&common) || tried.len() == 64 {
            continue;
        }
        tried.push(common);
        let n = prompts.clone().filter(|ids| ids.len() > common.len() && ids.starts_with(common)).count();
        if (n - 1) * common.len() > best.0 {
            best = ((n - 1) * common.len(), common);
        }
    }
    best.1.to_vec()
}

/// Nobody follows an answer; Ctrl-C stops it.
struct Nobody;

impl Audience for Nobody {
    fn reading(&mut self, _: usize, _: usize) {}
    fn writing(&mut self, _: Channel, _: &str) {}
    fn proceed(&mut self) -> bool {
        !signals::interrupted()
    }
}

/// What there is to do.
struct Work<'w> {
    args: &'w Args,
    entries: &'w [Entry],
    settings: Settings,
    thinking: bool,
    parallel: usize,
    common: &'w [u32],
}

/// What came of it.
struct Told {
    /// Lines without an answer.
    n_error: usize,
    /// Tokens written.
    tokens: usize,
    seconds: f64,
}

impl Work<'_> {
    fn run(&mut self, ready: &mut Ready, output: &mut AnswersFile) -> anyhow::Result<Told> {
        let start = Instant::now();
        let mut told = Told { n_error: 0, tokens: 0, seconds: 0.0 };
        let bar = self.bar(output.n_answered());
        let common = self.read_common(ready)?;
        let mut answers = Answers::new(self.parallel, &ready.runner, WAITS);
        // Which entry sits where, and lines that wait for those before them.
        let mut seats = vec![0; self.parallel];
        let mut lines: BTreeMap<usize, Value> = BTreeMap::new();
        let mut next = output.n_answered();
        while !signals::interrupted() {
            while let Some(seat) = answers.free_seat()
                && let Some(entry) = self.entries.get(next)
            {
                match self.conversation(next, ready, common.as_ref()) {
                    Ok(conversation) => {
                        answers.sit(seat, conversation);
                        seats[seat] = next;
                    }
                    Err(error) => {
                        told.n_error += 1;
                        lines.insert(next, json!({"id": entry.id, "error": error}));
                    }
                }
                next += 1;
            }
            if !answers.is_empty() {
                for finished in answers.pass(&mut ready.runner, &ready.tokenizer)? {
                    let entry = seats[finished.seat];
                    let id = &self.entries[entry].id;
                    let line = match finished.outcome {
                        Ok(outcome) if outcome.stop == Stop::Interrupted => continue,
                        Ok(outcome) => {
                            told.tokens += outcome.ids.len();
                            answer_line(id, &outcome)
                        }
                        // Nothing that comes later will be better.
                        Err(error @ Error::NotFinite { .. }) => return Err(error.into()),
                        Err(error) => {
                            told.n_error += 1;
                            json!({"id": id, "error": error.to_string()})
                        }
                    };
                    lines.insert(entry, line);
                }
            }
            while let Some(line) = lines.remove(&output.n_answered()) {
                output.write(&line)?;
            }
            let done = output.n_answered() + lines.len();
            bar.set_position(done as u64);
            if done == self.entries.len() {
                break;
            }
        }
        bar.finish_and_clear();
        told.seconds = start.elapsed().as_secs_f64();
        Ok(told)
    }

    fn bar(&self, n_answered: usize) -> ProgressBar {
        let shown = !self.args.quiet && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} answers, {eta} left");
        let bar = ProgressBar::with_draw_target(Some(self.entries.len() as u64), target);
        let bar = bar.with_style(style.expect("a template of known fields"));
        bar.with_position(n_answered as u64)
    }

    /// A conversation that has the common beginning.
    fn read_common(&self, ready: &mut Ready) -> anyhow::Result<Option<Sequence>> {
        if self.common.is_empty() {
            return Ok(None);
        }
        let rows = text_rows(self.common, 0);
        let mut sequence = ready.runner.sequence();
        for rows in rows.chunks(ready.runner.settings().n_batch) {
            ready.runner.run(&mut [Step::prompt(&mut sequence, rows, 0)])?;
            if signals::interrupted() {
                break;
            }
        }
        Ok(Some(sequence))
    }

    /// The conversation of an entry, before anything of its own is read.
    fn conversation(
        &self,
        i: usize,
        ready: &Ready,
        common: Option<&Sequence>,
    ) -> Result<Conversation<'static>, String> {
        let prompt = self.entries[i].prompt.as_ref().map_err(String::clone)?;
        let settings = if prompt.greedy { Settings::greedy() } else { self.settings };
        // Every line has chances of its own.
        let seed = prompt.seed.unwrap_or_else(|| self.args.sampling.seed().wrapping_add(i as u64));
        let mut sampler = ready.sampler(settings, seed);
        let n_max = prompt.max_tokens.or(self.args.n.and_then(Limit::tokens)).unwrap_or(usize::MAX);
        let sequence = match common {
            Some(common) if prompt.ids.len() > self.common.len() && prompt.ids.starts_with(self.common) => {
                common.fork()
            }
            _ => ready.runner.sequence(),
        };
        let thinking = match self.args.raw {
            true => Thinking::ignored(),
            false => Thinking::after(&prompt.ids, &ready.tokenizer, (!self.thinking).then_some(0)),
        };
        let loop_guard = self.args.loop_guard == Switch::On;
        let (prompt, checkpoint_at) = (text_rows(&prompt.ids, 0), Vec::new());
        let task = Task {
            prompt,
            checkpoint_at,
            n_max,
            thinking,
            constraint: None,
            call_grammar: None,
            calls: None,
            loop_guard,
        };
        let answer = Answer::new(task, sequence.n_past(), &mut sampler).map_err(|error| error.to_string())?;
        answer.check(&ready.runner, &sequence).map_err(|error| error.to_string())?;
        Ok(Conversation { sequence, answer, sampler, audience: Box::new(Nobody) })
    }
}

/// The line of an answer.
fn answer_line(id: &Value, outcome: &Outcome) -> Value {
    let mut line = json!({
        "id": id,
        "text": outcome.text,
        "stop": outcome.stop.name(),
        "prompt_tokens": outcome.n_prompt,
        "tokens": outcome.ids.len(),
    });
    if !outcome.reasoning.is_empty() {
        line["reasoning"] = outcome.reasoning.clone().into();
    }
    line
}
