//! Answers one prompt, as it is written: `cargo run --release --example answer -- MODEL.gguf PROMPT`.

use qwen_edge::{Event, Message, Session, Stop};
use std::error::Error;
use std::io::Write;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (model, prompt) = args.next().zip(args.next()).ok_or("usage: answer MODEL.gguf PROMPT")?;

    let mut session = Session::open(model)?;
    session.options.max_tokens = 1000;
    let canceller = session.canceller();
    let mut out = std::io::stdout().lock();
    let outcome = session.answer(&[Message::user(prompt)], |event| {
        if let Event::Text(text) = event
            && out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err()
        {
            // Nobody reads on.
            canceller.cancel();
        }
    })?;
    println!();
    eprintln!("{} tokens at {:.0} a second", outcome.ids.len(), outcome.decode_tok_s());
    if outcome.stop != Stop::End {
        eprintln!("not complete: {}", outcome.stop.name());
    }
    Ok(())
}
