//! Asks about a picture: `cargo run --release --example picture -- MODEL.gguf MMPROJ.gguf PICTURE QUESTION`.

use qwen_edge::{Message, ModelFile, Part, Role, Source, StartOptions, Tower};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, mmproj, picture, question] = &args[..] else {
        return Err("usage: picture MODEL.gguf MMPROJ.gguf PICTURE QUESTION".into());
    };

    // The memory plan makes room for the tower.
    let options = StartOptions { tower: Some(Tower::open(mmproj)?), ..StartOptions::default() };
    let mut session = ModelFile::open(model)?.start(options, |_, _| ())?;
    let look = session.look_at_image(&Source::File(picture.into()), |_, _| ())?;
    eprintln!("read at {} x {}, {} tokens", look.report.to.width, look.report.to.height, look.report.tokens);

    let message = Message::new(Role::User, [Part::Image(look.seen), question.as_str().into()]);
    println!("{}", session.answer(&[message], |_| ())?.text);
    Ok(())
}
