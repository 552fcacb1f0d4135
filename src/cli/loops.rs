//! `loops`: where the guard against loops would act, for those who develop it.

use anyhow::Context;
use qwen_edge::engine::loop_guard::token_of;
use qwen_edge::gguf::Gguf;
use qwen_edge::sampler::loops::LoopDetector;
use qwen_edge::tokenizer::{Special, Tokenizer};
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

/// Print for every text at which of its tokens the guard against loops would act, as if the text were being written.
#[derive(clap::Args)]
pub struct Args {
    /// The model, or a file with nothing but its vocabulary
    model: PathBuf,
    /// A line is {"text": TEXT}; a line of the output {"tokens": N, "fired": INDEX or null}
    #[arg(long, value_name = "FILE")]
    jsonl: PathBuf,
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// Runs the command.
///
/// # Errors
/// If the vocabulary or a line cannot be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    let gguf = Gguf::open(&args.model)?;
    let in_model = || format!("{}: no usable tokenizer", args.model.display());
    let tokenizer = Tokenizer::from_gguf(&gguf).with_context(in_model)?;
    let name = args.jsonl.display();
    let file = File::open(&args.jsonl).with_context(|| format!("cannot open {name}"))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("{name}, line {number}"))?;
        let Line { text } = serde_json::from_str(&line)
            .with_context(|| format!(r#"{name}, line {number}: expected {{"text": TEXT}}"#))?;
        let ids = tokenizer.encode(&text, Special::None);
        let mut detector = LoopDetector::default();
        let fired = ids.iter().position(|&id| detector.push(token_of(&tokenizer, id)));
        writeln!(out, "{}", json!({"tokens": ids.len(), "fired": fired})).context("cannot write to standard output")?;
    }
    out.flush().context("cannot write to standard output")
}
