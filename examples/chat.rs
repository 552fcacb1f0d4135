//! A chat, a line of standard input each: `cargo run --release --example chat -- MODEL.gguf`.
//!
//! A session keeps no messages. Each answer is given the whole conversation, and only what is new of it is read.

use qwen_edge::{Message, Session};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args().nth(1).ok_or("usage: chat MODEL.gguf")?;
    let mut session = Session::open(model)?;
    let mut conversation = vec![Message::system("You are a helpful assistant.")];
    for line in std::io::stdin().lines() {
        conversation.push(Message::user(line?));
        let outcome = session.answer(&conversation, |_| ())?;
        println!("{}", outcome.text);
        eprintln!("{} of {} tokens were read before", outcome.n_reused, outcome.n_prompt);
        conversation.push(outcome.into());
    }
    Ok(())
}
