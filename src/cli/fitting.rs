//! Arguments that say how much memory a model may take, and what is done to keep to it.

use clap::Args;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::model_file::Residence;
use qwen_edge::engine::plan::{Plan, Wish};
use qwen_edge::model::Model;
use qwen_edge::model::ffn_slots::SlotCounts;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::model::stream::StreamWay;
use qwen_edge::platform::machine;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How much memory to take.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Memory")]
pub struct Fitting {
    /// Room for prompt and answer in tokens, such as 4096 or 32k [default: what a quarter of the free memory holds, 4096
    /// or more, and at most what the model was trained on; more for a prompt that needs it]
    #[arg(short, long, value_name = "N", value_parser = parse_tokens)]
    pub ctx: Option<usize>,

    /// Ceiling on all memory, the mapped weights included, such as 1.6G or 900M; weights that do not fit are read again
    /// for every token [default: what the machine has free]
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<ByteSize>,

    /// Storage of keys and values: f16 or q8_0 [default: f16, or q8_0 when memory is short]
    #[arg(long, value_name = "TYPE")]
    pub kv: Option<KvType>,

    /// Tokens of the prompt read at once [default: 512, or fewer when memory is short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub batch: Option<u32>,

    /// How weights that do not fit are read again: map, as pages of the mapped file, or read, into memory for two layers. The
    /// experts of a sparse model are always read [default: map where the system is sure to drop pages, as on Linux]
    #[arg(long, value_name = "WAY")]
    pub stream: Option<StreamWay>,

    /// Read the weights into memory at start instead of mapping the file
    #[arg(long)]
    pub no_mmap: bool,

    /// Keep the mapped weights in memory whatever else wants it (see ulimit -l)
    #[arg(long, conflicts_with = "no_mmap")]
    pub mlock: bool,

    /// Stretch the positions the model was trained on by this factor with YaRN: 4 makes 262,144 tokens 1,048,576. For
    /// contexts that need it only, as it costs some quality in short ones
    #[arg(long, value_name = "FACTOR", value_parser = parse_factor)]
    pub yarn: Option<f32>,

    /// Touch all memory of the context at start, so that the peak that is reported is that of a full context
    #[arg(long, hide = true)]
    pub touch: bool,
}

/// Longest context that is taken.
pub(super) const MOST_TOKENS: usize = 16 << 20;

/// A number of tokens with an optional k or M: 32k is 32768.
fn parse_tokens(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((i, 'k' | 'K')) => (&text[..i], 1 << 10),
        Some((i, 'm' | 'M')) => (&text[..i], 1 << 20),
        _ => (text, 1),
    };
    match digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(n @ 1..=MOST_TOKENS) => Ok(n),
        _ => Err("expected 1 to 16M tokens, such as 4096 or 32k".to_owned()),
    }
}

fn parse_factor(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(factor) if (1.0..=64.0).contains(&factor) => Ok(factor),
        _ => Err("expected a factor from 1 to 64, such as 4".to_owned()),
    }
}

impl Fitting {
    /// What the plan is asked for, for a prompt of `n_prompt` tokens, 0 when that is not known.
    pub fn wish(&self, n_prompt: usize) -> Wish {
        let n_batch = self.batch.map(|n| n as usize);
        Wish {
            ceiling: self.mem,
            n_ctx: self.ctx,
            kv: self.kv,
            n_batch,
            n_prompt,
            stream: self.stream,
            ..Wish::default()
        }
    }

    /// Where the weights are to be.
    pub fn residence(&self) -> Residence {
        match (self.no_mmap, self.mlock) {
            (true, _) => Residence::Copied,
            (_, true) => Residence::Locked,
            _ => Residence::Mapped,
        }
    }
}

/// How much of the weights has been read, on a terminal, when it takes long.
pub struct Progress {
    start: Instant,
    shown: bool,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Progress {
        Progress { start: Instant::now(), shown: false }
    }

    /// `done` of `total` are read.
    pub fn show(&mut self, done: u64, total: u64) {
        if self.start.elapsed() > Duration::from_millis(500) && std::io::stderr().is_terminal() {
            show!("\rreading weights {:3} %", done * 100 / total.max(1));
            let _ = std::io::stderr().flush();
            self.shown = true;
        }
    }

    /// All is read, or will not be.
    pub fn end(&self) {
        if self.shown {
            show!("\r                    \r");
        }
    }
}

/// The plan and what came of it so far, for `--json`.
pub fn report(plan: &Plan, model: &Model) -> Value {
    let usage = machine::usage();
    let mut report = json!({
        "ctx": plan.settings.n_ctx,
        "kv": plan.settings.kv.name(),
        "batch": plan.settings.n_batch,
        "weights_bytes": plan.weights,
        "streamed_bytes": plan.streaming.bytes,
        "vision_bytes": plan.vision.total(),
        "planned_bytes": plan.total(),
        "peak_bytes": usage.peak,
    });
    if let (Some(kept), Some(slots)) = (plan.streaming.experts, &model.slots) {
        let SlotCounts { uses, kept: served, read_bytes } = slots.counts();
        report["experts"] = json!({
            "kept": kept.n,
            "of": kept.of,
            "kept_share": kept.n as f64 / kept.of.max(1) as f64,
            "slot_bytes": kept.bytes,
            "expected_read_bytes_per_token": plan.streaming.bytes,
            "read_bytes_per_second": plan.expectation.map(|expected| expected.read_rate),
            "expected_tok_s": plan.expectation.map(|expected| expected.tokens_per_second),
            "read_bytes": read_bytes,
            "uses": uses,
            "hit_rate": (uses > 0).then(|| served as f64 / uses as f64),
        });
    }
    report
}
