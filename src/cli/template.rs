//! `template`: messages to the text of a prompt.

use super::{printable, text};
use anyhow::Context;
use qwen_edge::chat::{Request, Template};
use qwen_edge::gguf::Gguf;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Print the prompt that the model's chat template makes of messages.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true,\n         \
    \"kwargs\": {\"enable_thinking\": false}}' | qwen-edge template model.gguf --messages -")]
pub struct Args {
    /// The model, or a file with nothing but its vocabulary
    model: PathBuf,
    /// JSON with "messages" and, if wanted, "tools", "add_generation_prompt" and "kwargs"; `-` is standard input
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
}

/// Renders the messages and prints the prompt on stdout, nothing added.
pub fn run(args: Args) -> anyhow::Result<()> {
    let gguf = Gguf::open(&args.model)?;
    let template = Template::from_gguf(&gguf).with_context(|| args.model.display().to_string())?;
    let request = read_request(&args.messages).with_context(|| args.messages.display().to_string())?;
    let prompt = template.render(&request)?;
    let mut out = io::stdout().lock();
    out.write_all(printable::output(&prompt).as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

fn read_request(path: &Path) -> anyhow::Result<Request> {
    let mut json = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut json).context("cannot read standard input")?;
    } else {
        json = std::fs::read(path).context("cannot be read")?;
    }
    serde_json::from_str(&text::decode(&json)?).context("not the JSON that is expected")
}
