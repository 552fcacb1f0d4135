//! `bench`: how fast a model is read and written on this machine, and how near that is to what the memory allows.

use super::bench_passes::{self, Kind};
use super::fitting::MOST_TOKENS;
use super::printable;
use super::runtime::Runtime;
use super::{bench_drafts, drafting, named, text};
use anyhow::{Context as _, ensure};
use clap::Args as ClapArgs;
use qwen_edge::compute::team::{Phase, Profile, Team};
use qwen_edge::engine::context::Context;
use qwen_edge::engine::draft::{Draft, MOST_BLOCK};
use qwen_edge::engine::load::draft_load;
use qwen_edge::engine::plan::DraftLoad;
use qwen_edge::engine::runner::{DEFAULT_BATCH, MOST_WRITTEN, Settings};
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::model::state::LOG_ROWS;
use qwen_edge::tokenizer::{Special, Tokenizer};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Measure prefill and decode speed.
///
/// The tokens are arbitrary; the hash of the last logits tells whether two runs computed the same.
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  qwen-edge bench model.gguf\n  \
                        qwen-edge bench model.gguf -p 2048 -n 0 --isa avx2\n  \
                        qwen-edge bench model.gguf -p 0 -n 0 --rows 1,2,4,8,16 --sequences 1,8\n  \
                        qwen-edge bench model.gguf --depth 0,4096,32768 --kv q8_0 --json")]
pub struct Args {
    /// GGUF file
    #[arg(required_unless_present = "model_option")]
    model: Option<PathBuf>,

    /// GGUF file, in place of MODEL
    #[arg(id = "model_option", short = 'm', long = "model", value_name = "FILE", conflicts_with = "model")]
    model_option: Option<PathBuf>,

    /// Tokens to read in a batch-wise prompt; 0 skips it
    #[arg(short, long = "prompt", value_name = "N", default_value_t = 512)]
    prompt: usize,

    /// Tokens to write one by one; 0 skips it
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 64)]
    n: usize,

    /// Tokens in the context before the measurement begins
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,

    /// Also time passes of so many rows of one conversation, as drafts are verified, with the logits of every row
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = parse_rows)]
    rows: Vec<usize>,

    /// Also time passes of one row of each of so many conversations
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = parse_sequences)]
    sequences: Vec<usize>,

    /// Also write the answer with drafts and without, in turn, and time a draft step: auto, or so many drafts in every pass
    #[arg(long, value_name = "WHEN", value_parser = drafting::parse)]
    draft: Option<Draft>,

    /// Put the block's drafts right with these probabilities, each if those before it were right, in place of comparing them
    /// with the text
    #[arg(long, value_name = "A,...", value_delimiter = ',', value_parser = parse_probability, requires = "draft")]
    draft_acceptance: Vec<f64>,

    /// Take the tokens of a prompt and of what is written with drafts from this text
    #[arg(long, value_name = "FILE", requires = "draft")]
    text: Option<PathBuf>,

    /// Runs of each measurement; the median counts
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// Storage of keys and values: f16 or q8_0
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    kv: KvType,

    /// Tokens read at once
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BATCH as u32, value_parser = clap::value_parser!(u32).range(1..=8192))]
    batch: u32,

    /// Print JSON: an object, or an array for several depths
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    runtime: Runtime,
}

fn parse_rows(text: &str) -> Result<usize, String> {
    up_to(text, LOG_ROWS)
}

fn parse_probability(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| "expected numbers from 0 to 1".to_owned())
}

fn parse_sequences(text: &str) -> Result<usize, String> {
    up_to(text, MOST_WRITTEN)
}

fn up_to(text: &str, most: usize) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| format!("expected numbers from 1 to {most}"))
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be loaded.
pub fn run(args: Args) -> anyhow::Result<()> {
    // The parser asks for one of them.
    let path = args.model.as_ref().or(args.model_option.as_ref()).context("no model")?;
    let path = &named::file(path)?;
    let gguf = Gguf::open(path)?;
    let model = Arc::new(Model::bind(&gguf).with_context(|| path.display().to_string())?);
    let deepest = args.depth.iter().max().copied().unwrap_or(0);
    let n_ctx =
        deepest.checked_add(args.prompt).and_then(|n| n.checked_add(args.n)).context("the depth is too large")?;
    let of_passes = args.rows.iter().chain(&args.sequences);
    ensure!(
        args.prompt + args.n > 0 || of_passes.clone().next().is_some(),
        "nothing to measure: -p and -n are both 0, and neither --rows nor --sequences is given"
    );
    let most_rows = of_passes.copied().max().unwrap_or(0);
    let n_ctx = n_ctx.max(deepest + most_rows).saturating_add(if args.draft.is_some() { MOST_BLOCK + 2 } else { 0 });
    ensure!(n_ctx <= MOST_TOKENS, "{n_ctx} tokens in the context: at most {MOST_TOKENS} are measured");
    args.kv.check(model.config.head_dim)?;
    let n_sequence = if args.draft.is_some() { 3 } else { 1 } + args.sequences.iter().max().copied().unwrap_or(0);
    let least_batch = if args.draft.is_some() { LOG_ROWS } else { most_rows };
    let n_batch = (args.batch as usize).min(n_ctx).max(most_rows).max(least_batch);
    let settings = Settings { n_ctx, n_batch, kv: args.kv, n_checkpoint: 0, n_sequence };
    let mut context = Context::new(model.clone(), args.runtime.compute()?, settings)?;
    if !args.json {
        let name = printable::line(gguf.string("general.name").ok().flatten().unwrap_or("unnamed model"));
        writeln!(
            io::stdout(),
            "{name}, {:.0} MB of tensors; {} on {} threads; {} cache; batches of {}",
            gguf.tensor_bytes() as f64 / 1e6,
            context.runner().kernels().isa(),
            context.runner().threads(),
            args.kv.name(),
            settings.n_batch,
        )?;
    }
    let mut results = Vec::new();
    for &depth in &args.depth {
        let mut result = measure(&args, &mut context, &gguf, depth);
        for (kind, sizes) in [(Kind::Rows, &args.rows), (Kind::Sequences, &args.sequences)] {
            if !sizes.is_empty() {
                context.clear();
                let ids = tokens(depth, context.model().n_vocab);
                read(&mut context, &ids);
                let (runner, past) = context.parts();
                result[kind.name()] = bench_passes::measure(runner, past, kind, sizes, args.runs as usize);
            }
        }
        if let Some(draft) = args.draft {
            context.enable_drafts(draft);
            result["draft"] = measure_drafts(&args, &mut context, &gguf, draft)?;
        }
        if !args.json {
            print_result(&args, &result)?;
        }
        results.push(result);
    }
    if args.json {
        let json = if results.len() == 1 { results.remove(0) } else { results.into() };
        writeln!(io::stdout(), "{json}")?;
    }
    Ok(())
}

/// Writes with drafts and without.
fn measure_drafts(args: &Args, context: &mut Context, gguf: &Gguf, draft: Draft) -> anyhow::Result<Value> {
    let (n_prompt, n) = (args.prompt.max(1), args.n.max(1));
    let ids = match &args.text {
        Some(path) => {
            let text =
                text::decode(&qwen_edge::platform::files::read(path).with_context(|| path.display().to_string())?)?;
            Tokenizer::from_gguf(gguf)?.encode(&text, Special::None)
        }
        None => tokens(n_prompt + n + 1, context.model().n_vocab),
    };
    let n_ids = n_prompt + n + 1;
    ensure!(ids.len() >= n_ids, "the text has {} tokens: expected {n_ids}, those of -p, -n and one more", ids.len());
    let block_bytes = match draft_load(gguf, &context.model().config, draft) {
        DraftLoad::Block(bytes) => bytes,
        DraftLoad::None | DraftLoad::Copies => 0,
    };
    let acceptance = (!args.draft_acceptance.is_empty()).then_some(&args.draft_acceptance[..]);
    let ids = &ids[..n_ids];
    let job = bench_drafts::Job { draft, acceptance, ids, n_prompt, runs: args.runs as usize, block_bytes };
    Ok(job.measure(context.parts().0))
}

/// So many tokens, spread over the vocabulary, the same in every run.
fn tokens(n: usize, n_vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + 13) % n_vocab) as u32).collect()
}

fn read(context: &mut Context, ids: &[u32]) {
    let rows = context.text(ids);
    context.prefill(&rows, None, |_| true).expect("the context has room for it");
}

/// Measures one depth.
fn measure(args: &Args, context: &mut Context, gguf: &Gguf, depth: usize) -> Value {
    let n_vocab = context.model().n_vocab;
    let ids = tokens(depth + args.prompt.max(1), n_vocab);
    let (mut prefill, mut decode, mut bandwidth) = (Vec::new(), Vec::new(), Vec::new());
    let (mut prefill_profile, mut decode_profile) = (None, None);
    let mut hash = 0;
    // One short run beforehand: pages of the file and of the buffers are touched, clocks are up.
    context.clear();
    read(context, &ids[..ids.len().min(64)]);
    context.compute_logits(0);
    for _ in 0..args.runs {
        bandwidth.push(read_bandwidth(&mut context.compute().team, gguf));
        context.clear();
        if depth > 0 {
            read(context, &ids[..depth]);
        }
        if args.prompt > 0 {
            context.compute().team.start_profile();
            let start = Instant::now();
            read(context, &ids[depth..]);
            context.compute_logits(0);
            prefill.push(args.prompt as f64 / start.elapsed().as_secs_f64());
            prefill_profile = context.compute().team.take_profile();
        }
        if args.n > 0 {
            context.compute().team.start_profile();
            let start = Instant::now();
            for i in 0..args.n {
                context.decode(ids[i % ids.len()]).expect("the context has room for it");
            }
            decode.push(args.n as f64 / start.elapsed().as_secs_f64());
            decode_profile = context.compute().team.take_profile();
        }
        hash = fnv1a(bytemuck::cast_slice(context.last_logits()));
    }
    let decode_depth = depth + args.prompt + args.n / 2;
    let bytes = context.runner().bytes_per_token(decode_depth);
    let read_gb_s = median(&mut bandwidth);
    let decode_tok_s = median(&mut decode);
    let gb_s = decode_tok_s * bytes as f64 / 1e9;
    json!({
        "depth": depth,
        "prompt": args.prompt,
        "tokens": args.n,
        "isa": context.runner().kernels().isa().name(),
        "threads": context.runner().threads(),
        "kv": args.kv.name(),
        "prefill_tok_s": median(&mut prefill),
        "prefill_spread": spread(&prefill),
        "prefill_parts": prefill_profile.map(|p| parts(&p)),
        "decode_tok_s": decode_tok_s,
        "decode_spread": spread(&decode),
        "decode_parts": decode_profile.map(|p| parts(&p)),
        "bytes_per_token": bytes,
        "decode_gb_s": gb_s,
        "read_gb_s": read_gb_s,
        "bandwidth_share": if read_gb_s > 0.0 { gb_s / read_gb_s } else { 0.0 },
        "logits_hash": format!("{hash:016x}"),
    })
}

fn print_result(args: &Args, r: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let number = |key: &str| r[key].as_f64().unwrap_or(0.0);
    let range =
        |key: &str| format!("{:.1} to {:.1}", r[key][0].as_f64().unwrap_or(0.0), r[key][1].as_f64().unwrap_or(0.0));
    let parts = |key: &str| {
        let parts = r[key].as_object().into_iter().flatten();
        parts
            .map(|(name, share)| format!("{name} {:.0} %", 100.0 * share.as_f64().unwrap_or(0.0)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    writeln!(out, "depth {}", r["depth"])?;
    if args.prompt > 0 {
        writeln!(
            out,
            "  prefill {:5}: {:8.1} tok/s  ({})",
            args.prompt,
            number("prefill_tok_s"),
            range("prefill_spread")
        )?;
        writeln!(out, "    {}", parts("prefill_parts"))?;
    }
    if args.n > 0 {
        writeln!(out, "  decode  {:5}: {:8.2} tok/s  ({})", args.n, number("decode_tok_s"), range("decode_spread"))?;
        writeln!(out, "    {}", parts("decode_parts"))?;
        writeln!(
            out,
            "    {:.1} MB a token: {:.1} GB/s of the {:.1} GB/s this machine reads, {:.0} %",
            number("bytes_per_token") / 1e6,
            number("decode_gb_s"),
            number("read_gb_s"),
            100.0 * number("bandwidth_share"),
        )?;
    }
    for kind in [Kind::Rows, Kind::Sequences] {
        for pass in r[kind.name()].as_array().into_iter().flatten() {
            let number = |key: &str| pass[key].as_f64().unwrap_or(0.0);
            let (n, ms, relative) = (&pass[kind.name()], 1e3 * number("seconds"), number("relative"));
            writeln!(out, "  a pass of {n:>2} {:9}: {ms:8.2} ms, {relative:.2} times one", kind.name())?;
        }
    }
    if let Some(draft) = r.get("draft") {
        let number = |key: &str| draft[key].as_f64().unwrap_or(0.0);
        let predicted =
            draft["predicted"].as_f64().map_or(String::new(), |r| format!(", {r:.2} by the times of passes"));
        let (tok_s, plain, speedup) = (number("tok_s"), number("plain_tok_s"), number("speedup"));
        writeln!(out, "  drafts: {tok_s:.2} tok/s, {plain:.2} without: {speedup:.3} times{predicted}")?;
        writeln!(out, "    {}; reading the prompt takes {:.3} times as long", draft["drafts"], number("prefill_cost"))?;
        if draft["step"].is_object() {
            let step = |key: &str| draft["step"][key].as_f64().unwrap_or(0.0);
            writeln!(
                out,
                "    a draft step: block {:.2} ms, {:.1} MB; head {:.2} ms, {:.1} MB",
                1e3 * step("block_seconds"),
                step("block_bytes") / 1e6,
                1e3 * step("head_seconds"),
                step("head_bytes") / 1e6,
            )?;
        }
        for pass in draft["rows"].as_array().into_iter().flatten() {
            let (rows, ms) = (&pass["rows"], 1e3 * pass["seconds"].as_f64().unwrap_or(0.0));
            writeln!(
                out,
                "    a pass of {rows} rows: {ms:.2} ms, {:.2} times one",
                pass["relative"].as_f64().unwrap_or(0.0)
            )?;
        }
    }
    writeln!(out, "  logits hash {}", r["logits_hash"].as_str().unwrap_or_default())
}

/// Shares of the time, by phase.
pub(super) fn parts(profile: &Profile) -> Value {
    let total: Duration = Phase::ALL.iter().map(|&(phase, _)| profile.spent(phase)).sum();
    let share = |time: Duration| (time.as_secs_f64() / total.as_secs_f64().max(1e-9) * 1e4).round() / 1e4;
    let mut parts = serde_json::Map::new();
    for (phase, name) in Phase::ALL {
        parts.insert(name.to_owned(), share(profile.spent(phase)).into());
    }
    parts.insert("of_it_waiting".to_owned(), share(profile.waiting).into());
    parts.into()
}

/// Reads the tensors with all threads, doing as little as possible with them: GB/s of the fastest of three passes, since
/// what else the machine does can only take away.
fn read_bandwidth(team: &mut Team, gguf: &Gguf) -> f64 {
    /// Enough to be far beyond every cache, little enough to be quick.
    const LIMIT: usize = 1 << 30;
    const PIECE: usize = 1 << 20;
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut bytes = 0;
    for tensor in gguf.tensors() {
        for piece in tensor.bytes.chunks(PIECE) {
            if bytes < LIMIT {
                bytes += piece.len();
                pieces.push(piece);
            }
        }
    }
    let passes = (0..3).map(|_| {
        let start = Instant::now();
        team.for_each(pieces.len(), |i| {
            std::hint::black_box(kernels::memory::read(pieces[i]));
        });
        start.elapsed()
    });
    bytes as f64 / passes.min().expect("three passes").as_secs_f64() / 1e9
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { 0.0 } else { (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0 }
}

/// Least and largest of sorted values.
fn spread(values: &[f64]) -> Value {
    match values {
        [first, .., last] => json!([first, last]),
        [only] => json!([only, only]),
        [] => Value::Null,
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
