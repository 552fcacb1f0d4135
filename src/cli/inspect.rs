//! `inspect`: what a GGUF file holds, whether it runs, and the memory it will take, before any weight is read.

use super::diagnosis::{Warning, warnings};
use super::fit::Fit;
use super::{named, printable};
use anyhow::Result;
use qwen_edge::chat::{self, Template};
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::draft::Draft;
use qwen_edge::engine::load::{draft_load, mapped_load};
use qwen_edge::engine::plan::{Load, Plan};
use qwen_edge::engine::runner::{DEFAULT_BATCH, Settings};
use qwen_edge::gguf::{Gguf, Note, TensorType};
use qwen_edge::model::config::ValueHeads;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::model::names::Role;
use qwen_edge::model::{self, Config, FileKind, Model};
use qwen_edge::tokenizer::Tokenizer;
use qwen_edge::vision::{self, VisionConfig, VisionModel, weights};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::io::Write;
use std::path::PathBuf;

/// Context lengths of the memory table, tokens.
const CONTEXTS: [usize; 3] = [4096, 32_768, 262_144];

/// Show what a GGUF file holds, whether it runs, and the memory it will need
///
/// Reads the header only: no weights are loaded, and with --fit small ones. Text models, vision towers (mmproj) and vocabulary-only files are
/// described; for any other architecture the report says what it is and what is supported.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  qwen-edge inspect model.gguf
  qwen-edge inspect --fit model.gguf
  qwen-edge inspect --json model.gguf | jq .memory")]
pub struct Args {
    /// GGUF file
    model: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Say what fits this machine: context lengths, the memory they take, and how many tokens a second to expect. Reads memory
    /// for a third of a second to know how fast it is
    #[arg(long)]
    fit: bool,
}

/// Runs the command.
///
/// # Errors
/// If the file is not a sound GGUF. One that is, but does not run, is described all the same.
pub fn run(args: Args) -> Result<()> {
    let model = named::file(&args.model)?;
    let gguf = Gguf::open(&model)?;
    let mut report = Report::new(&model, &gguf);
    if args.fit {
        report.measure(&gguf);
    }
    let text =
        if args.json { printable::json(&serde_json::to_string_pretty(&report)?) + "\n" } else { report.to_string() };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// What a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Text,
    Vocabulary,
    Vision,
    Other,
}

/// Everything the command says; the JSON output is this struct.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    kind: Kind,
    /// What it is when it is no model.
    #[serde(skip)]
    is: FileKind,
    architecture: String,
    /// Whether `run` can use the file: as a model, or as the vision tower of one.
    runs: bool,
    /// Why not.
    problems: Vec<String>,
    /// What is worth knowing and no obstacle.
    notes: Vec<String>,
    /// What makes a model worse or slower than it could be.
    warnings: Vec<Warning>,
    general: BTreeMap<&'static str, String>,
    gguf_version: u32,
    n_files: usize,
    file_bytes: u64,
    header_bytes: u64,
    n_tensors: usize,
    tensor_bytes: u64,
    n_params: u64,
    types: Vec<TypeUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<TextModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vision: Option<VisionTower>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer: Option<Vocabulary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template: Option<ChatTemplate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory: Vec<Need>,
    /// What fits this machine, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    fit: Option<Fit>,
}

/// The tensors of one type.
#[derive(Debug, Serialize)]
struct TypeUse {
    #[serde(rename = "type")]
    name: &'static str,
    n_tensors: usize,
    bytes: u64,
    supported: bool,
}

/// Hyper-parameters of a text model.
#[derive(Debug, Serialize)]
struct TextModel {
    n_layer: usize,
    n_deltanet: usize,
    n_attention: usize,
    n_embd: usize,
    n_ff: usize,
    /// Experts of a layer, those that a row is given to, and the width of each; of a sparse model.
    experts: Option<usize>,
    experts_used: Option<usize>,
    expert_n_ff: Option<usize>,
    n_vocab: usize,
    n_head: usize,
    n_head_kv: usize,
    head_dim: usize,
    n_k_head: usize,
    n_v_head: usize,
    /// Whether the value heads of a key head stand together.
    grouped_value_heads: bool,
    head_k_dim: usize,
    head_v_dim: usize,
    conv_kernel: usize,
    n_ctx_train: usize,
    rope_freq_base: f32,
    n_rot: usize,
    rope_sections: [usize; 3],
    yarn: Option<Yarn>,
    /// The head is the embedding table.
    tied_head: bool,
    mtp: bool,
    mtp_bytes: u64,
    /// Whether it thinks before it answers unless told otherwise.
    thinks_by_default: bool,
}

/// YaRN context extension.
#[derive(Debug, Serialize)]
struct Yarn {
    factor: f32,
    n_ctx_orig: usize,
}

/// Hyper-parameters of a vision tower.
#[derive(Debug, Serialize)]
struct VisionTower {
    /// Whether it lies in the text model's file.
    inside: bool,
    bytes: u64,
    n_layer: usize,
    n_embd: usize,
    n_ff: usize,
    n_head: usize,
    /// Width of the text model it goes with.
    n_out: usize,
}

/// The vocabulary.
#[derive(Debug, Serialize)]
struct Vocabulary {
    model: Option<String>,
    pre: Option<String>,
    n_tokens: usize,
    n_control: usize,
    n_user_defined: usize,
    n_unused: usize,
    n_merges: usize,
    eos_token_id: Option<u64>,
}

/// The chat template that applies.
#[derive(Debug, Serialize)]
struct ChatTemplate {
    /// Whether the file has one; the published one is used otherwise.
    in_file: bool,
    /// Whether it is a published one.
    official: bool,
    bytes: usize,
    /// Its levels of thinking, from little to much.
    efforts: Vec<&'static str>,
    /// Whether it keeps the thinking of earlier answers.
    keeps_thinking: bool,
}

/// The memory of a context length, bytes.
#[derive(Debug, Serialize)]
struct Need {
    n_ctx: usize,
    weights: u64,
    kv: u64,
    state: u64,
    buffers: u64,
    program: u64,
    /// The block for drafting and what it remembers, and the index for copying.
    drafts: u64,
    total: u64,
}

impl Report {
    fn new(path: &std::path::Path, gguf: &Gguf) -> Self {
        let architecture = gguf.string("general.architecture").ok().flatten().unwrap_or_default().to_owned();
        let has_vocabulary = gguf.get("tokenizer.ggml.tokens").is_some();
        let is = FileKind::of(gguf);
        let kind = match &*architecture {
            qwen_edge::vision::config::ARCHITECTURE => Kind::Vision,
            _ if gguf.n_tensors() == 0 && has_vocabulary => Kind::Vocabulary,
            // What lies beside models may name the architecture of theirs.
            ours if is.describe().is_none() && model::config::ARCHITECTURES.contains(&ours) => Kind::Text,
            _ => Kind::Other,
        };
        let mut report = Self {
            file: path.display().to_string(),
            kind,
            is,
            architecture,
            runs: false,
            problems: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            general: general(gguf),
            gguf_version: gguf.version(),
            n_files: gguf.n_files(),
            file_bytes: gguf.file_bytes(),
            header_bytes: gguf.header_bytes(),
            n_tensors: gguf.n_tensors(),
            tensor_bytes: gguf.tensor_bytes(),
            n_params: gguf.tensors().map(|tensor| tensor.len() as u64).sum(),
            types: types(gguf),
            model: None,
            vision: None,
            tokenizer: None,
            chat_template: None,
            memory: Vec::new(),
            fit: None,
        };
        if gguf.boolean("synthetic.random_weights").ok().flatten() == Some(true) {
            report.notes.push("synthetic: the weights are random numbers, answers are noise".to_owned());
        }
        match kind {
            Kind::Text => report.text(gguf),
            Kind::Vision => report.vision(gguf),
            Kind::Vocabulary => {
                report.vocabulary(gguf);
                report.problems.push("it has no weights and serves `tokenize` and `template` alone".to_owned());
            }
            Kind::Other => {
                // The configuration names what it found and what there is.
                report.check(Config::from_gguf(gguf));
                report.types_used(gguf);
            }
        }
        report.runs = report.problems.is_empty();
        report
    }

    /// Finds out what fits this machine; of a text model that runs.
    fn measure(&mut self, gguf: &Gguf) {
        if self.kind == Kind::Text && self.runs {
            self.fit = self.check(Model::bind(gguf)).map(|model| Fit::of(gguf, &model));
        }
    }

    fn check<T, E: Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| {
                let problem = error.to_string();
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
            })
            .ok()
    }

    fn types_used(&mut self, gguf: &Gguf) {
        let unsupported = self.types.iter().filter(|ty| !ty.supported).map(|ty| {
            let first = gguf.tensors().find(|tensor| tensor.ty.name() == ty.name).map_or("?", |tensor| tensor.name);
            match ty.n_tensors {
                1 => format!("{} ({first})", ty.name),
                n => format!("{} ({first} and {} more)", ty.name, n - 1),
            }
        });
        let unsupported: Vec<String> = unsupported.collect();
        if !unsupported.is_empty() {
            self.problems.push(format!("tensor types without kernels: {}", unsupported.join(", ")));
        }
    }

    fn text(&mut self, gguf: &Gguf) {
        let config = self.check(Model::config(gguf));
        let n_vocab = gguf.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first().copied()).unwrap_or(0);
        if let Some(config) = config {
            let load = Load { drafts: draft_load(gguf, &config, Draft::Auto), ..mapped_load(gguf, &config, 1) };
            let of_mtp = gguf.tensors().filter(|tensor| Role::of(tensor.name, config.n_layer()) == Role::Drafting);
            let mtp_bytes = of_mtp.map(|tensor| tensor.bytes.len() as u64).sum();
            let mtp = config.n_mtp > 0;
            self.note_all(&config.notes);
            self.warnings = warnings(gguf, &config);
            self.model = Some(TextModel {
                n_layer: config.n_layer(),
                n_deltanet: config.n_deltanet(),
                n_attention: config.n_attention(),
                n_embd: config.n_embd,
                n_ff: config.n_ff,
                experts: config.experts.map(|experts| experts.n_expert),
                experts_used: config.experts.map(|experts| experts.n_used),
                expert_n_ff: config.experts.map(|experts| experts.n_ff),
                n_vocab,
                n_head: config.n_head,
                n_head_kv: config.n_head_kv,
                head_dim: config.head_dim,
                n_k_head: config.n_k_head,
                n_v_head: config.n_v_head,
                grouped_value_heads: config.value_heads == ValueHeads::Grouped,
                head_k_dim: config.head_k_dim,
                head_v_dim: config.head_v_dim,
                conv_kernel: config.conv_kernel,
                n_ctx_train: config.n_ctx_train,
                rope_freq_base: config.rope.freq_base,
                n_rot: config.rope.n_rot,
                rope_sections: config.rope.sections,
                yarn: config.rope.yarn.as_ref().map(|yarn| Yarn { factor: yarn.factor, n_ctx_orig: yarn.n_ctx_orig }),
                tied_head: gguf.tensor("output.weight").is_none(),
                mtp,
                mtp_bytes,
                thinks_by_default: config.thinks_by_default(),
            });
            if self.check(Model::check(gguf)).is_some() {
                self.memory = CONTEXTS.iter().map(|&n_ctx| Need::of(&load, n_ctx)).collect();
            } else {
                // Elsewhere a type may stand that nothing is read of.
                self.types_used(gguf);
            }
            if vision::config::is_inside(gguf) {
                self.tower_inside(gguf, config.n_embd);
            }
        }
        self.vocabulary(gguf);
        if let Some(vocabulary) = &self.tokenizer
            && n_vocab > 0
            && vocabulary.n_tokens > n_vocab
        {
            self.problems.push(format!("{} tokens, but {n_vocab} rows of token_embd.weight", vocabulary.n_tokens));
        }
    }

    /// The tower in a text model's file; the text model runs without it too.
    fn tower_inside(&mut self, gguf: &Gguf, n_embd: usize) {
        match VisionModel::check(gguf, n_embd) {
            Ok((config, notes)) => {
                self.note_all(&notes);
                self.vision = Some(VisionTower::of(gguf, &config));
            }
            Err(error) => self.notes.push(format!("no pictures: the vision tower in it cannot be used: {error}")),
        }
    }

    fn vision(&mut self, gguf: &Gguf) {
        if let Some(config) = self.check(VisionConfig::from_gguf(gguf)) {
            self.notes.push(format!("a vision tower: give it beside a text model of width {}", config.n_out));
            self.vision = Some(VisionTower::of(gguf, &config));
            match self.check(VisionModel::bind(gguf)) {
                Some(tower) => self.note_all(&tower.notes),
                None => self.types_used(gguf),
            }
        }
    }

    fn note_all(&mut self, notes: &[Note]) {
        self.notes.extend(notes.iter().map(ToString::to_string));
    }

    fn vocabulary(&mut self, gguf: &Gguf) {
        let string = |key| gguf.string(key).ok().flatten().map(str::to_owned);
        let len = |key| gguf.strings(key).ok().flatten().map_or(0, |strings| strings.len());
        let types = gguf.i32s("tokenizer.ggml.token_type").ok().flatten().unwrap_or_default();
        let count = |ty| types.iter().filter(|&&t| t == ty).count();
        self.tokenizer = Some(Vocabulary {
            model: string("tokenizer.ggml.model"),
            pre: string("tokenizer.ggml.pre"),
            n_tokens: len("tokenizer.ggml.tokens"),
            n_control: count(3),
            n_user_defined: count(4),
            n_unused: count(5),
            n_merges: len("tokenizer.ggml.merges"),
            eos_token_id: gguf.uint("tokenizer.ggml.eos_token_id").ok().flatten(),
        });
        if let Some(tokenizer) = self.check(Tokenizer::from_gguf(gguf)) {
            self.note_all(tokenizer.notes());
        }
        let template = chat::source_of(gguf).ok().flatten();
        let text = template.unwrap_or(chat::BUILT_IN);
        let compiled = self.check(Template::from_gguf(gguf));
        self.chat_template = Some(ChatTemplate {
            in_file: template.is_some(),
            official: chat::is_published(text),
            bytes: text.len(),
            efforts: compiled.as_ref().map_or(Vec::new(), |template| template.efforts().to_vec()),
            keeps_thinking: compiled.is_some_and(|template| template.keeps_thinking()),
        });
    }
}

impl VisionTower {
    fn of(gguf: &Gguf, config: &VisionConfig) -> Self {
        let &VisionConfig { n_layer, n_embd, n_ff, n_head, n_out, .. } = config;
        let bytes = weights::tensors(gguf).map(|tensor| tensor.bytes.len() as u64).sum();
        Self { inside: vision::config::is_inside(gguf), bytes, n_layer, n_embd, n_ff, n_head, n_out }
    }
}

impl Need {
    fn of(load: &Load<'_>, n_ctx: usize) -> Self {
        let settings = Settings { n_ctx, n_batch: DEFAULT_BATCH, kv: KvType::F16, n_checkpoint: 0, n_sequence: 1 };
        let plan = Plan::unlimited(load, settings);
        Self {
            n_ctx,
            weights: plan.weights,
            kv: plan.context.kv as u64,
            state: plan.context.state as u64,
            buffers: plan.context.scratch as u64,
            program: plan.program,
            drafts: plan.drafts,
            total: plan.total(),
        }
    }
}

/// The keys that say what a file is and where it comes from.
fn general(gguf: &Gguf) -> BTreeMap<&'static str, String> {
    let keys = ["name", "description", "size_label", "quantized_by", "author", "license"];
    let value = |key: &str| gguf.string(&format!("general.{key}")).ok().flatten().map(str::to_owned);
    keys.into_iter().filter_map(|key| Some((key, value(key)?))).collect()
}

/// The types of the tensors, the largest share of bytes first.
fn types(gguf: &Gguf) -> Vec<TypeUse> {
    let mut types = BTreeMap::<TensorType, (usize, u64)>::new();
    for tensor in gguf.tensors() {
        let (n_tensors, bytes) = types.entry(tensor.ty).or_default();
        *n_tensors += 1;
        *bytes += tensor.bytes.len() as u64;
    }
    let of = |(ty, (n_tensors, bytes)): (TensorType, _)| TypeUse {
        name: ty.name(),
        n_tensors,
        bytes,
        supported: ty.format().is_some(),
    };
    let mut types: Vec<TypeUse> = types.into_iter().map(of).collect();
    types.sort_by_key(|ty| std::cmp::Reverse(ty.bytes));
    types
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<14}{}", printable::line(value));
        let kind = match self.kind {
            Kind::Text if self.vision.is_some() => "text model with a vision tower",
            Kind::Text => "text model",
            Kind::Vocabulary => "vocabulary without weights",
            Kind::Vision => "vision tower (mmproj)",
            Kind::Other => self.is.describe().unwrap_or("not a model this program runs"),
        };
        line("file", &self.file)?;
        line("what", &format!("{kind}, architecture {}", self.architecture))?;
        for (key, value) in &self.general {
            line(key, value)?;
        }
        let files = if self.n_files == 1 { String::new() } else { format!(" in {} files", self.n_files) };
        let header = ByteSize(self.header_bytes);
        line("size", &format!("{}{files} (header {header}), GGUF v{}", ByteSize(self.file_bytes), self.gguf_version))?;
        if self.n_tensors > 0 {
            line("parameters", &format!("{} in {} tensors", Count(self.n_params), self.n_tensors))?;
        }
        for (i, ty) in self.types.iter().enumerate() {
            let TypeUse { name, n_tensors, bytes, supported } = ty;
            let missing = if *supported { "" } else { "   not supported" };
            let bytes = ByteSize(*bytes).to_string();
            let row = format!("{name:<8}{n_tensors:>4} tensors {bytes:>9}{missing}");
            line(if i == 0 { "types" } else { "" }, &row)?;
        }
        if let Some(m) = &self.model {
            line("layers", &format!("{} = {} DeltaNet + {} attention", m.n_layer, m.n_deltanet, m.n_attention))?;
            line("width", &format!("{}, feed-forward {}, vocabulary {}", m.n_embd, m.n_ff, m.n_vocab))?;
            if let (Some(n), Some(n_used), Some(n_ff)) = (m.experts, m.experts_used, m.expert_n_ff) {
                line(
                    "experts",
                    &format!("{n} of width {n_ff} in a layer, {n_used} for a token beside the shared one"),
                )?;
            }
            line("attention", &format!("{} query heads, {} KV heads of {}", m.n_head, m.n_head_kv, m.head_dim))?;
            line(
                "deltanet",
                &format!(
                    "{} key heads of {}, {} value heads of {}{}, convolution of {}",
                    m.n_k_head,
                    m.head_k_dim,
                    m.n_v_head,
                    m.head_v_dim,
                    if m.grouped_value_heads { " (grouped)" } else { "" },
                    m.conv_kernel
                ),
            )?;
            let mut rope = format!("{} of {} dimensions, base {}", m.n_rot, m.head_dim, m.rope_freq_base);
            if m.rope_sections[1..] != [0, 0] {
                write!(rope, ", sections {:?}", m.rope_sections)?;
            }
            match &m.yarn {
                Some(yarn) => write!(rope, ", YaRN x {} over {} tokens", yarn.factor, yarn.n_ctx_orig)?,
                None => rope.push_str(", no YaRN"),
            }
            line("rope", &rope)?;
            line("context", &format!("{} tokens in training", m.n_ctx_train))?;
            line("head", if m.tied_head { "the embedding table (tied)" } else { "its own matrix (untied)" })?;
            let mtp = match (m.mtp, m.mtp_bytes) {
                (true, bytes) => format!("one block for drafting, whole, {}", ByteSize(bytes)),
                (false, 0) => {
                    "no block for drafting in this file; some publishers have it in mtp-NAME.gguf (--draft-model)"
                        .to_owned()
                }
                (false, _) => {
                    "a block for drafting that is not whole; --draft-model takes one from another file".to_owned()
                }
            };
            line("thinking", if m.thinks_by_default { "on unless --think off" } else { "off unless --think on" })?;
            line("mtp", &mtp)?;
        }
        if let Some(v) = self.vision.as_ref().filter(|v| v.inside) {
            let VisionTower { n_layer, n_embd, n_ff, n_head, .. } = v;
            let tower = format!("{n_layer} layers, width {n_embd}, feed-forward {n_ff}, {n_head} heads");
            line("vision", &format!("{tower}; {}", ByteSize(v.bytes)))?;
        } else if let Some(v) = &self.vision {
            line("layers", &v.n_layer.to_string())?;
            line("width", &format!("{}, feed-forward {}, {} heads", v.n_embd, v.n_ff, v.n_head))?;
            line("output", &format!("{} wide", v.n_out))?;
        }
        if let Some(t) = &self.tokenizer {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "?".to_owned());
            let mut text = format!("{}/{}: {} tokens", name(&t.model), name(&t.pre), t.n_tokens);
            write!(text, " ({} control, {} user-defined, {} unused)", t.n_control, t.n_user_defined, t.n_unused)?;
            write!(text, ", {} merges", t.n_merges)?;
            if let Some(eos) = t.eos_token_id {
                write!(text, ", ends with {eos}")?;
            }
            line("tokenizer", &text)?;
        }
        if let Some(t) = &self.chat_template {
            let mut text = match (t.in_file, t.official) {
                (true, true) => "in the file, the official one".to_owned(),
                (true, false) => format!("in the file, its own ({} bytes)", t.bytes),
                (false, _) => "not in the file: the built-in official one is used".to_owned(),
            };
            if !t.efforts.is_empty() {
                write!(text, "; --effort {}", t.efforts.join(", "))?;
            }
            if t.keeps_thinking {
                text.push_str("; keeps earlier thinking");
            }
            line("template", &text)?;
        }
        for note in &self.notes {
            line("note", note)?;
        }
        for (i, warning) in self.warnings.iter().enumerate() {
            line(if i == 0 { "unusual" } else { "" }, &warning.text)?;
        }
        if self.problems.is_empty() {
            line("runs", "yes")?;
        }
        for problem in &self.problems {
            line("does not run", problem)?;
        }
        if !self.memory.is_empty() {
            let header = ["context", "weights", "KV f16", "state", "buffers", "program", "drafts", "total"];
            let row = |cells: [String; 8]| cells.map(|cell| format!("{cell:>10}")).concat();
            line("\nmemory", &row(header.map(str::to_owned)))?;
            for need in &self.memory {
                let Need { n_ctx, weights, kv, state, buffers, program, drafts, total } = *need;
                let bytes = [weights, kv, state, buffers, program, drafts, total].map(|n| ByteSize(n).to_string());
                let [weights, kv, state, buffers, program, drafts, total] = bytes;
                let cells = [n_ctx.to_string(), weights, kv, state, buffers, program, drafts, total];
                line("", &row(cells))?;
            }
        }
        if let Some(fit) = &self.fit {
            for (i, row) in fit.to_string().lines().enumerate() {
                line(if i == 0 { "\nfit" } else { "" }, row)?;
            }
        }
        Ok(())
    }
}

/// A number of parameters, as people write it: 752 M.
struct Count(u64);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ 0..1_000_000 => write!(f, "{} k", n / 1000),
            n @ 1_000_000..1_000_000_000 => write!(f, "{:.1} M", n as f64 / 1e6),
            n => write!(f, "{:.2} B", n as f64 / 1e9),
        }
    }
}
