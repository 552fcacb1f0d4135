//! `logits`: next-token logits behind every token of a list, for comparison with other implementations.

use super::pasted;
use super::runtime::Runtime;
use super::sight::{self, Sight};
use super::text;
use super::tower_file;
use anyhow::{Context as _, bail, ensure};
use clap::Args as ClapArgs;
use kernels::Way;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::draft::Draft;
use qwen_edge::engine::model_file::vision_ids;
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::platform::atomic_file::AtomicFile;
use qwen_edge::tokenizer::{Special, Tokenizer};
use qwen_edge::vision::Viewer;
use qwen_edge::vision::eyes::{DEFAULT_IMAGE_TOKENS, Seen};
use qwen_edge::vision::positions::Walk;
use qwen_edge::vision::prompt::arrange;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Write the next-token logits behind every token of a list.
///
/// The output is a safetensors file with `logits [T, n_vocab]` in f32, and with --hidden `hidden.0` to `hidden.L`
/// [T, n_embd]: the input of each layer, the last one after the final norm; with --mtp `mtp_logits [T-1, n_vocab]`: row t is
/// by the state of token t and token t + 1.
#[derive(ClapArgs)]
#[command(after_help = "Example:\n  echo '[9419, 11, 1814, 0]' > ids.json\n  \
                        qwen-edge logits model.gguf --tokens ids.json -o logits.safetensors")]
pub struct Args {
    /// GGUF file
    model: PathBuf,

    /// JSON array of token ids
    #[arg(long, value_name = "FILE.json")]
    tokens: PathBuf,

    /// Where to write
    #[arg(short, long, value_name = "FILE.safetensors")]
    output: PathBuf,

    /// Read token by token, as when an answer is written, rather than all at once
    #[arg(long)]
    step: bool,

    /// Read the tokens in batches of N
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=8192))]
    chunk: u32,

    /// Also write the hidden states
    #[arg(long)]
    hidden: bool,

    /// Also write what the block for multi-token prediction expects behind the next token of the list
    #[arg(long)]
    mtp: bool,

    /// Storage of keys and values: f16 or q8_0
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    kv: KvType,

    #[command(flatten)]
    sight: Sight,

    #[command(flatten)]
    runtime: Runtime,
}

/// Runs the command.
///
/// # Errors
/// If the model or the tokens cannot be read, or the output not be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let ids = read_ids(&args.tokens)?;
    let gguf = Gguf::open(&args.model)?;
    let model = Arc::new(Model::bind(&gguf).with_context(|| args.model.display().to_string())?);
    if let Some(id) = ids.iter().find(|&&id| id as usize >= model.n_vocab) {
        bail!("token {id} is not in the vocabulary of {} rows", model.n_vocab);
    }
    let head_dim = model.config.head_dim;
    args.kv.check(head_dim)?;
    let eyes_file =
        tower_file::find(&args.sight, &args.model, (&gguf, model.config.n_embd), !args.sight.is_empty())?.ok();
    let mut compute = args.runtime.compute()?;
    let prompt = match &eyes_file {
        Some(file) => {
            let room = (DEFAULT_IMAGE_TOKENS, u64::MAX);
            let options = args.sight.viewer_options();
            let mut viewer = Viewer::new(file.gguf(&gguf), &options, &mut compute, room).context("vision file")?;
            let mut look = |spec: &String, is_clip: bool| -> anyhow::Result<Seen> {
                let source = pasted::source(spec)?;
                let label = source.label();
                let progress = sight::progress(&label, false);
                let look = match is_clip {
                    false => viewer.image(&source, &mut compute, progress),
                    true => viewer.clip(&source, &mut compute, progress),
                };
                let look = look.with_context(|| label.clone())?;
                sight::tell(&label, &look, false);
                Ok(look.seen)
            };
            let images: Vec<Seen> =
                args.sight.image.iter().map(|spec| look(spec, false)).collect::<anyhow::Result<_>>()?;
            let clips: Vec<Seen> =
                args.sight.video.iter().map(|spec| look(spec, true)).collect::<anyhow::Result<_>>()?;
            let vocabulary = Tokenizer::from_gguf(&gguf).with_context(|| args.model.display().to_string())?;
            let vision_ids = vision_ids(&vocabulary, &gguf, &mut Vec::new())?;
            let text = |stamp: &str| vocabulary.encode(stamp, Special::None);
            Some((arrange(&ids, vision_ids, &images, &clips, text)?, vision_ids))
        }
        None => None,
    };
    let rows = match &prompt {
        Some((prompt, vision_ids)) => prompt.rows(*vision_ids, model.config.n_embd, &mut Walk::default())?,
        None => text_rows(&ids, 0),
    };
    let way = if args.step { Way::Written } else { Way::Prompt };
    let n_batch = if args.step { 1 } else { (args.chunk as usize).min(rows.len()) };
    let settings = Settings { n_ctx: rows.len(), n_batch, kv: args.kv, n_checkpoint: 0, n_sequence: 1 };
    let mut context = Context::new(model.clone(), compute, settings)?;

    let n_embd = model.config.n_embd;
    let n_hidden = if args.hidden { model.config.n_layer() + 1 } else { 0 };
    let mut hidden = vec![Vec::with_capacity(rows.len() * n_embd); n_hidden];
    let mut file = AtomicFile::create(&args.output)?;
    let n_draft = if args.mtp { rows.len() - 1 } else { 0 };
    if args.mtp && !context.enable_drafts(Draft::Auto) {
        bail!("{}: no block for multi-token prediction", args.model.display());
    }
    file.write_all(&header(rows.len(), model.n_vocab, n_hidden, n_embd, n_draft))?;
    let mut states = Vec::new();
    for (i, batch) in rows.chunks(n_batch).enumerate() {
        if args.hidden {
            context.run_observed(batch, way, &mut |il, x| hidden[il].extend_from_slice(x))?;
            hidden[n_hidden - 1].extend_from_slice(context.hidden(0, batch.len()));
        } else {
            context.run(batch, way, batch.len())?;
        }
        if args.mtp {
            states.extend_from_slice(context.hidden(0, batch.len()));
        }
        for row in 0..batch.len() {
            file.write_all(bytemuck::cast_slice(context.compute_logits(row)))?;
        }
        if rows.len() > 4096 {
            show!("\r{} of {} tokens", i * n_batch + batch.len(), rows.len());
        }
    }
    for states in hidden {
        file.write_all(bytemuck::cast_slice(&states))?;
    }
    for (next, hidden) in rows.get(1..).unwrap_or_default().chunks(n_batch).zip(states.chunks(n_batch * n_embd)) {
        let y = context.draft(&hidden[..next.len() * n_embd], next, way)?.to_vec();
        for y in y.chunks(n_embd) {
            file.write_all(bytemuck::cast_slice(context.compute_logits_behind(y)))?;
        }
    }
    Ok(file.commit()?)
}

/// Reads a JSON array of token ids.
fn read_ids(path: &Path) -> anyhow::Result<Vec<u32>> {
    let name = || path.display().to_string();
    let text = text::decode(&qwen_edge::platform::files::read(path).with_context(name)?).with_context(name)?;
    let ids: Vec<u32> = serde_json::from_str(&text)
        .with_context(|| format!("{}: expected a JSON array of token ids", path.display()))?;
    ensure!(!ids.is_empty(), "{}: no tokens", path.display());
    Ok(ids)
}

/// The head of a safetensors file: the length of a JSON text, the text, padded to 8 bytes.
fn header(n: usize, n_vocab: usize, n_hidden: usize, n_embd: usize, n_draft: usize) -> Vec<u8> {
    let mut json = String::from("{");
    let mut offset = 0;
    let mut tensor = |name: &str, n: usize, cols: usize| {
        let end = offset + n * cols * 4;
        let comma = if offset == 0 { "" } else { "," };
        write!(json, r#"{comma}"{name}":{{"dtype":"F32","shape":[{n},{cols}],"data_offsets":[{offset},{end}]}}"#)
            .expect("strings take all that is written");
        offset = end;
    };
    tensor("logits", n, n_vocab);
    for il in 0..n_hidden {
        tensor(&format!("hidden.{il}"), n, n_embd);
    }
    if n_draft > 0 {
        tensor("mtp_logits", n_draft, n_vocab);
    }
    json.push('}');
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.into_bytes());
    bytes
}
