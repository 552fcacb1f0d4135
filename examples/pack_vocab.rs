//! Makes `models/qwen35-vocab.bin` from a GGUF file with the published vocabulary:
//! `cargo run --release --example pack_vocab -- MODEL.gguf models/qwen35-vocab.bin`

use anyhow::{Context, Result};
use qwen_edge::gguf::Gguf;
use qwen_edge::synth::Vocab;
use std::path::Path;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (from, to) = args.next().zip(args.next()).context("usage: pack_vocab MODEL.gguf OUT.bin")?;
    let vocab = Vocab::from_gguf(&Gguf::open(Path::new(&from))?)?;
    let packed = vocab.pack()?;
    anyhow::ensure!(Vocab::unpack(&packed)? == vocab, "the packed vocabulary does not unpack to the same");
    std::fs::write(&to, &packed).with_context(|| format!("writing {to}"))?;
    println!("{to}: {} tokens, {} merges, {} bytes", vocab.tokens.len(), vocab.merges.len(), packed.len());
    Ok(())
}
