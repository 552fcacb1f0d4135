//! The logits of a text: how likely each of its tokens was, and what the model would have written in its place.
//! `cargo run --release --example logits -- MODEL.gguf TEXT`
//!
//! Below the session stand the rooms that it is made of: the file, the tokenizer, the model, and a context that reads.

use qwen_edge::Kernels;
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::{Model, kv_type::KvType};
use qwen_edge::tokenizer::{Special, Tokenizer};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (path, text) = args.next().zip(args.next()).ok_or("usage: logits MODEL.gguf TEXT")?;

    let file = Gguf::open(Path::new(&path))?;
    let tokenizer = Tokenizer::from_gguf(&file)?;
    let ids = tokenizer.encode(&text, Special::None);
    let settings = Settings { n_ctx: ids.len(), n_batch: ids.len(), kv: KvType::F16, n_checkpoint: 0, n_sequence: 1 };
    let mut context = Context::new(Arc::new(Model::bind(&file)?), Compute::new(Kernels::select(None)?, 2), settings)?;

    // All tokens in one batch; the logits behind each of them are wanted.
    context.forward(&text_rows(&ids, 0), ids.len())?;
    for (row, &next) in ids.iter().skip(1).enumerate() {
        let logits = context.compute_logits(row);
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or_default();
        let of = |id: u32| tokenizer.decode(&[id]);
        println!("{:?}\t{:.3}\t{:?}", of(next), logits[next as usize].exp() / sum, of(best as u32));
    }
    Ok(())
}
