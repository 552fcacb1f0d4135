//! Answers a batch of prompts, the lines of a file: `cargo run --release --example batch -- MODEL.gguf PROMPTS.txt`.
//!
//! One session answers them in turn. What they have in common, here the system message, is read once.

use qwen_edge::{Message, SamplerSettings, Session};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (model, prompts) = args.next().zip(args.next()).ok_or("usage: batch MODEL.gguf PROMPTS.txt")?;

    let mut session = Session::open(model)?;
    // The same answers every time.
    session.options.sampling = SamplerSettings::greedy();
    let system = Message::system("Answer in one line.");
    for prompt in std::fs::read_to_string(prompts)?.lines() {
        let outcome = session.answer(&[system.clone(), Message::user(prompt)], |_| ())?;
        println!("{prompt}\t{}", outcome.text.replace('\n', " "));
    }
    Ok(())
}
