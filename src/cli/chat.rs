//! The chat on a terminal: line editing, history, and the few commands a chat needs.

use super::run::{Kind, Talk, not_finite};
use super::screen::Screen;
use super::{advice, marks, signals};
use qwen_edge::engine::message::{Message, Part};
use qwen_edge::platform::program::terminal;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

const HELP: &str = "\
/image FILE     show a picture; it goes with the next message
/video FILE     show a clip, likewise
/think on|off   whether the model thinks before it answers; /think alone says which
/reset          forget the conversation
/help           this list
/bye            leave (as Ctrl-D does)
A line that ends in \\ goes on in the next. Ctrl-C stops an answer; before it began, it takes the message back.
In a message, <image> and <video> mark places of what is shown; \\<image> and \\<video> are text.";

/// What a line asks for.
#[derive(PartialEq, Eq, Debug)]
enum Line<'a> {
    Nothing,
    Leave,
    Help,
    Reset,
    /// Say whether the model thinks.
    Thinking,
    Think(bool),
    Look(Kind, &'a str),
    /// A command that is none, and why.
    Wrong(String),
    Message(&'a str),
}

impl Line<'_> {
    fn of(text: &str) -> Line<'_> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim_start();
        match (word, rest) {
            ("", _) => Line::Nothing,
            ("/bye" | "/exit" | "/quit", "") => Line::Leave,
            ("/help" | "/?", "") => Line::Help,
            ("/reset" | "/clear", "") => Line::Reset,
            ("/think", "") => Line::Thinking,
            ("/think", "on") => Line::Think(true),
            ("/think", "off") => Line::Think(false),
            ("/think", _) => Line::Wrong("/think takes on or off".to_owned()),
            ("/image" | "/video", "") => Line::Wrong(format!("{word} needs a file: {word} FILE")),
            ("/image", file) => Line::Look(Kind::Image, file),
            ("/video", file) => Line::Look(Kind::Video, file),
            ("/bye" | "/exit" | "/quit" | "/help" | "/?" | "/reset" | "/clear", _) => {
                Line::Wrong(format!("{word} takes nothing behind it"))
            }
            // A path, say, may well begin a message.
            (command, "") if command.starts_with('/') => Line::Wrong(format!("no command {command}; /help lists them")),
            _ => Line::Message(text),
        }
    }
}

/// A conversation, and what will go with its next message.
struct Conversation {
    messages: Vec<Message>,
    /// Messages it begins with.
    fresh: Vec<Message>,
    /// Pictures and clips that no message has shown yet.
    waiting: Vec<Part>,
}

impl Conversation {
    fn new(system: Option<&str>, waiting: Vec<Part>) -> Conversation {
        let fresh: Vec<Message> = system.map(Message::system).into_iter().collect();
        Conversation { messages: fresh.clone(), fresh, waiting }
    }

    fn reset(&mut self) {
        self.messages.clone_from(&self.fresh);
        self.waiting.clear();
    }

    /// Adds a message and writes the answer, which joins the conversation; if there is none, neither does the message,
    /// and the pictures that were to go with it.
    ///
    /// # Errors
    /// If standard output takes no more, or no answer can be any good.
    fn say(&mut self, talk: &mut Talk, message: &str) -> anyhow::Result<()> {
        match marks::message(&message.into(), &self.waiting) {
            Ok(message) => self.messages.push(message),
            // Pictures stay for a message that has room for them.
            Err(error) => {
                say!("error: {}", advice::explain(&error));
                return Ok(());
            }
        }
        self.waiting.clear();
        // Ctrl-C is about this message from now on.
        signals::begin_answer();
        let answered = self.reply(talk);
        signals::end_answer();
        let problem = match answered {
            Ok(true) => return Ok(()),
            Ok(false) => "the message is taken back, as it was not read to its end".to_owned(),
            // No later answer would be seen either, or be one.
            Err(error) if error.is::<std::io::Error>() || not_finite(&error).is_some() => return Err(error),
            Err(error) => format!("error: {}", advice::explain(&error)),
        };
        self.messages.pop();
        say!("{problem}");
        Ok(())
    }

    /// Writes the next answer and adds it; false if it was stopped before it began.
    fn reply(&mut self, talk: &mut Talk) -> anyhow::Result<bool> {
        let outcome = talk.answer(&self.messages)?;
        if outcome.is_stopped_before_answer() {
            return Ok(false);
        }
        self.messages.push(outcome.into());
        Ok(true)
    }
}

/// Chats until the user leaves; `shown` goes with the first message.
pub(super) fn chat(talk: &mut Talk, system: Option<&str>, shown: Vec<Part>) -> anyhow::Result<()> {
    keep_answers_apart(&mut talk.screen)?;
    talk.screen.note("Type a message; /help lists commands, Ctrl-D leaves.");
    let mut editor = DefaultEditor::new()?;
    let mut conversation = Conversation::new(system, shown);
    loop {
        let text = match read_message(&mut editor) {
            Ok(text) => text,
            // Ctrl-C on an empty prompt only clears the line.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match Line::of(&text) {
            Line::Nothing => {}
            Line::Leave => return Ok(()),
            Line::Help => say!("{HELP}"),
            Line::Reset => conversation.reset(),
            Line::Thinking => say!("{}", talk.thinking_state()),
            Line::Think(on) => talk.think(on),
            Line::Look(kind, file) => match talk.look(file, kind) {
                Ok(part) => conversation.waiting.push(part),
                Err(error) => say!("error: {}", advice::explain(&error)),
            },
            Line::Wrong(why) => say!("{why}"),
            Line::Message(message) => conversation.say(talk, message)?,
        }
    }
}

/// Where standard output is no terminal, leaves it to the answers: what the editing of lines shows goes to the terminal
/// that the lines come from.
fn keep_answers_apart(screen: &mut Screen) -> std::io::Result<()> {
    if let Some(answers) = terminal::take_stdout()? {
        screen.write_to(answers);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        let wrong = |text: &str, why: &str| assert_eq!(Line::of(text), Line::Wrong(why.to_owned()));
        assert_eq!(Line::of("  \n"), Line::Nothing);
        assert_eq!((Line::of("/bye"), Line::of(" /? "), Line::of("/clear")), (Line::Leave, Line::Help, Line::Reset));
        assert_eq!((Line::of("/think"), Line::of("/think  off")), (Line::Thinking, Line::Think(false)));
        assert_eq!(Line::of("/image a b.png"), Line::Look(Kind::Image, "a b.png"));
        assert_eq!(Line::of("/video\tclip.avi "), Line::Look(Kind::Video, "clip.avi"));
        assert_eq!(Line::of("/etc/passwd is what?"), Line::Message("/etc/passwd is what?"));
        assert_eq!(Line::of("think on"), Line::Message("think on"));
        wrong("/think maybe", "/think takes on or off");
        wrong("/image", "/image needs a file: /image FILE");
        wrong("/reset it", "/reset takes nothing behind it");
        wrong("/halp", "no command /halp; /help lists them");
    }
}
