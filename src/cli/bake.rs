//! `bake`: read a long beginning of prompts once, into a file that is shipped with the model.

use super::fitting::{Fitting, Progress};
use super::run::{open_model, start_error};
use super::runtime::Runtime;
use super::{named, printable, signals, text, tools_file};
use anyhow::{Context as _, ensure};
use clap::{ArgGroup, Args as ClapArgs};
use qwen_edge::engine::baked::{Baked, Beginning};
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::model_file::StartOptions;
use qwen_edge::platform::atomic_file::AtomicFile;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Read a system message and tools once, into a file to begin with
///
/// run --baked STATE then begins behind them. STATE holds the messages too: where it was baked for another model, storage of
/// keys and values, or instruction-set level, a sentence says so, and they are read.
#[derive(ClapArgs)]
#[command(group = ArgGroup::new("beginning").required(true).multiple(true).args(["system", "tools"]))]
#[command(after_help = "Examples:\n  \
    qwen-edge bake model.gguf --system manual.txt -o manual.state\n  \
    qwen-edge bake model.gguf --system agent.txt --tools tools.json -o agent.state\n  \
    qwen-edge run model.gguf --baked manual.state -p 'How do I reset it?'")]
pub struct Args {
    /// GGUF file
    model: PathBuf,

    /// Text file that is the system message
    #[arg(long, value_name = "FILE")]
    system: Option<PathBuf>,

    /// JSON file with the list of functions that the model may call, as OpenAI's API takes them
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,

    /// Where the state goes
    #[arg(short, long, value_name = "STATE")]
    output: PathBuf,

    #[command(flatten)]
    fitting: Fitting,

    #[command(flatten)]
    runtime: Runtime,
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded, a file not be read, or the state not be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = &named::file(&args.model)?;
    let read = |path: &PathBuf| -> anyhow::Result<String> {
        let bytes = qwen_edge::platform::files::read(path).with_context(|| path.display().to_string())?;
        text::decode(&bytes).with_context(|| path.display().to_string())
    };
    let system = args.system.as_ref().map(read).transpose()?;
    let beginning = Beginning { system, tools: args.tools.as_deref().map(tools_file::open).transpose()? };

    let file = open_model(path)?;
    let content = file.content_fingerprint();
    let messages: Vec<Value> = beginning.messages().iter().map(|message| message.to_json()).collect();
    let question = serde_json::json!({"role": "user", "content": "?"});
    let messages = [messages, vec![question]].concat();
    let n_prompt = file.prompt_ids(&messages, beginning.tools.as_ref(), false)?.len();
    let options = StartOptions {
        wish: args.fitting.wish(n_prompt),
        residence: args.fitting.residence(),
        yarn: args.fitting.yarn,
        isa: args.runtime.isa,
        threads: Some(args.runtime.n_threads()),
        ..StartOptions::default()
    };
    let mut progress = Progress::new();
    let session = file.start(options, |done, total| progress.show(done, total));
    progress.end();
    let mut session = session.map_err(|error| start_error(error, path))?;
    session.cancel_by(signals::canceller());
    let n_ctx = session.context().settings().n_ctx;
    ensure!(n_prompt < n_ctx, "the beginning has {n_prompt} tokens, and the context holds {n_ctx}: give --ctx more");

    say!("reading {n_prompt} tokens");
    let start = Instant::now();
    let mut out = AtomicFile::create(&args.output)?;
    let n = beginning.bake(&mut session, &content, &mut out)?;
    out.commit()?;
    let bytes = args.output.metadata().map_or(0, |metadata| metadata.len());
    let level = session.context().runner().kernels().isa();
    let kv = session.context().settings().kv.name();
    let output = args.output.display().to_string();
    say!(
        "{n} tokens read in {:.1} s, for {level} and {kv}; {} in {}",
        start.elapsed().as_secs_f64(),
        ByteSize(bytes),
        printable::line(&output),
    );
    Ok(())
}

/// The baked beginning in a file.
///
/// # Errors
/// If it cannot be read, or is something else.
pub(super) fn open(path: &Path) -> anyhow::Result<Baked> {
    let read = || -> anyhow::Result<Baked> { Ok(Baked::parse(qwen_edge::platform::files::read(path)?)?) };
    read().with_context(|| path.display().to_string())
}
