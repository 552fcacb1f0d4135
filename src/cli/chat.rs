//! The chat on a terminal: line editing, history, and the few commands a chat needs.

use super::run::{Kind, Session};
use super::sight;
use crate::generate::Error;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::{Value, json};

const HELP: &str = "\
/image FILE     show a picture; it goes with the next message
/video FILE     show a clip, likewise
/think on|off   whether the model thinks before it answers
/reset          forget the conversation
/help           this list
/bye            leave (as Ctrl-D does)
A line that ends in \\ goes on in the next. Ctrl-C stops an answer.";

/// Chats until the user leaves.
pub(super) fn chat(session: &mut Session<'_, '_>, system: Option<&str>) -> anyhow::Result<()> {
    session.screen.note("Type a message; /help lists commands, Ctrl-D leaves.");
    let mut editor = DefaultEditor::new()?;
    let fresh: Vec<Value> = system.map(|s| json!({"role": "system", "content": s})).into_iter().collect();
    let mut messages = fresh.clone();
    // Pictures and clips that messages before this one showed.
    let mut shown = (0, 0);
    loop {
        let text = match read_message(&mut editor) {
            Ok(text) => text,
            // Ctrl-C on an empty prompt only clears the line.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match text.trim() {
            "" => continue,
            "/bye" | "/exit" | "/quit" => return Ok(()),
            "/help" | "/?" => say!("{HELP}"),
            "/reset" | "/clear" => {
                messages.clone_from(&fresh);
                session.images.clear();
                session.clips.clear();
                shown = (0, 0);
            }
            "/think on" => session.thinking = true,
            "/think off" => session.thinking = false,
            command if command.starts_with("/image ") || command.starts_with("/video ") => {
                let (kind, file) = command.split_at("/image ".len());
                let kind = if kind == "/image " { Kind::Image } else { Kind::Video };
                if let Err(error) = session.look(file.trim(), kind) {
                    say!("error: {error:#}");
                }
            }
            command @ ("/image" | "/video") => say!("{command} needs a file: {command} FILE"),
            command if command.starts_with('/') && !command.contains(char::is_whitespace) => {
                say!("no command {command}; /help lists them");
            }
            message => {
                let (images, clips) = (session.images.len() - shown.0, session.clips.len() - shown.1);
                match sight::content(message, images, clips) {
                    Ok(content) => messages.push(json!({"role": "user", "content": content})),
                    Err(error) => {
                        say!("error: {error:#}");
                        continue;
                    }
                }
                if let Err(error) = reply(session, &mut messages) {
                    if error.is::<std::io::Error>() || matches!(error.downcast_ref(), Some(Error::NotFinite { .. })) {
                        // No later answer would be seen either, or be one.
                        return Err(error);
                    }
                    // The conversation so far is not lost: only the message that could not be answered is taken back.
                    messages.pop();
                    session.images.truncate(shown.0);
                    session.clips.truncate(shown.1);
                    say!("error: {error:#}");
                }
                shown = (session.images.len(), session.clips.len());
            }
        }
    }
}

/// One message: a line, and the lines it continues in.
fn read_message(editor: &mut DefaultEditor) -> Result<String, ReadlineError> {
    let mut text = editor.readline(">>> ")?;
    while text.ends_with('\\') {
        text.pop();
        text.push('\n');
        text.push_str(&editor.readline("... ")?);
    }
    if !text.trim().is_empty() {
        editor.add_history_entry(text.as_str())?;
    }
    Ok(text)
}

/// Writes the next answer and adds it to the conversation.
fn reply(session: &mut Session<'_, '_>, messages: &mut Vec<Value>) -> anyhow::Result<()> {
    let prompt = session.prompt(messages.clone())?;
    let stable = session.stable_prefix(messages.clone(), &prompt)?;
    session.write_answer(&prompt, stable, session.thinking)?;
    let mut answer = json!({"role": "assistant", "content": session.screen.answer()});
    if !session.screen.reasoning().is_empty() {
        answer["reasoning_content"] = session.screen.reasoning().into();
    }
    messages.push(answer);
    Ok(())
}
