//! Answers a prompt with nothing but what the documentation of `qwen-edge` opens with: `qwen-edge-outside MODEL PROMPT`.

use qwen_edge::{Event, Message, ModelFile, Residence, SamplerSettings, Session, StartOptions, Stop, Wish};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let (model, prompt) = args.next().zip(args.next()).ok_or("usage: qwen-edge-outside MODEL PROMPT")?;
    let options = StartOptions {
        wish: Wish { n_ctx: Some(512), ..Wish::default() },
        residence: Residence::Copied,
        threads: Some(1),
        ..StartOptions::default()
    };
    let mut session = ModelFile::open(model)?.start(options, |_, _| ())?;
    session.options.sampling = SamplerSettings::greedy();

    // A session may be made in one thread and used in another.
    let (text, stop) = std::thread::spawn(move || answer(&mut session, &prompt)).join().expect("the thread ends")?;
    println!("{text}");
    if stop == Stop::End { Ok(()) } else { Err(stop.name().into()) }
}

/// The answer as its events tell it.
fn answer(session: &mut Session, prompt: &str) -> Result<(String, Stop), Box<dyn Error + Send + Sync>> {
    let (mut text, mut is_read, mut is_done) = (String::new(), false, false);
    let outcome = session.answer(&[Message::user(prompt)], |event| match event {
        Event::Reading { done, total } => is_read = done == total,
        Event::Text(more) => text.push_str(more),
        Event::Done(_) => is_done = true,
        _ => {}
    })?;
    if !is_read || !is_done || outcome.text != text {
        return Err("the events are not those of the answer".into());
    }
    Ok((text, outcome.stop))
}
