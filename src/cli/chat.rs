//! The chat on a terminal: line editing, history, and the few commands a chat needs.

use super::run::{Kind, Talk, not_finite};
use super::screen::Screen;
use super::{advice, marks, printable, session_file, signals};
use anyhow::ensure;
use qwen_edge::engine::message::{Message, Part, Role};
use qwen_edge::platform::program::terminal::{self, Keys};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::Write;
use std::path::Path;

const HELP: &str = "\
/image FILE     show a picture; it goes with the next message
/video FILE     show a clip, likewise
/think on|off   whether the model thinks before it answers; /think alone says which
/reset          forget the conversation
/undo           take back the last question and its answer
/retry          answer the last question again
/edit           change the last question and answer it again; /edit TEXT puts TEXT in its place
/save FILE      write the conversation as JSON, or as Markdown where FILE ends in .md
/load FILE      go on with a conversation that was saved as JSON
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
    Undo,
    Retry,
    /// Another text for the last question; to be asked for if `None`.
    Edit(Option<&'a str>),
    Save(&'a str),
    Load(&'a str),
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
            ("/undo", "") => Line::Undo,
            ("/retry", "") => Line::Retry,
            ("/edit", "") => Line::Edit(None),
            ("/edit", text) => Line::Edit(Some(text)),
            ("/save" | "/load", "") => Line::Wrong(format!("{word} needs a file: {word} FILE")),
            ("/save", file) => Line::Save(file),
            ("/load", file) => Line::Load(file),
            ("/think", "") => Line::Thinking,
            ("/think", "on") => Line::Think(true),
            ("/think", "off") => Line::Think(false),
            ("/think", _) => Line::Wrong("/think takes on or off".to_owned()),
            ("/image" | "/video", "") => Line::Wrong(format!("{word} needs a file: {word} FILE")),
            ("/image", file) => Line::Look(Kind::Image, file),
            ("/video", file) => Line::Look(Kind::Video, file),
            ("/bye" | "/exit" | "/quit" | "/help" | "/?" | "/reset" | "/clear" | "/undo" | "/retry", _) => {
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
    fn new(fresh: Vec<Message>, messages: Vec<Message>, waiting: Vec<Part>) -> Conversation {
        Conversation { messages: if messages.is_empty() { fresh.clone() } else { messages }, fresh, waiting }
    }

    fn reset(&mut self) {
        self.messages.clone_from(&self.fresh);
        self.waiting.clear();
    }

    /// Takes back the last answer, and the question before it, and returns both; `None` if there are none.
    fn undo(&mut self) -> Option<(Message, Option<Message>)> {
        let answer = self.messages.pop_if(|message| message.role == Role::Assistant);
        let question = self.messages.pop_if(|message| message.role == Role::User);
        question.map(|question| (question, answer))
    }

    /// Answers the last question again, or another in its place.
    ///
    /// # Errors
    /// As [`Conversation::say`].
    fn again(&mut self, talk: &mut Talk, text: Option<&str>) -> anyhow::Result<()> {
        let Some((question, answer)) = self.undo() else {
            say!("there is no question to answer again");
            return Ok(());
        };
        let before = self.messages.len();
        match text {
            Some(text) => self.say(talk, text)?,
            None => self.ask(talk, question.clone())?,
        }
        // Where there is no other answer, the conversation is what it was.
        if self.messages.len() == before {
            self.messages.push(question);
            self.messages.extend(answer);
        }
        Ok(())
    }

    /// Adds a message and writes the answer, which joins the conversation; if there is none, neither does the message,
    /// and the pictures that were to go with it.
    ///
    /// # Errors
    /// If standard output takes no more, or no answer can be any good.
    fn say(&mut self, talk: &mut Talk, message: &str) -> anyhow::Result<()> {
        match marks::message(&message.into(), &self.waiting) {
            Ok(message) => {
                self.waiting.clear();
                self.ask(talk, message)
            }
            // Pictures stay for a message that has room for them.
            Err(error) => {
                say!("error: {}", advice::explain(&error));
                Ok(())
            }
        }
    }

    fn ask(&mut self, talk: &mut Talk, message: Message) -> anyhow::Result<()> {
        self.messages.push(message);
        // Ctrl-C is about this message from now on.
        signals::begin_answer();
        let answered = self.reply(talk);
        signals::end_answer();
        let problem = match answered {
            Ok(true) => return talk.keep(&self.messages),
            Ok(false) => "the message is taken back, as it was not read to its end".to_owned(),
            // No later answer would be seen either, or be one.
            Err(error) if error.is::<std::io::Error>() || not_finite(&error).is_some() => return Err(error),
            Err(error) => format!("error: {}", advice::explain(&error)),
        };
        self.messages.pop();
        say!("{problem}");
        Ok(())
    }

    /// Writes the conversation into a file.
    fn save(&self, path: &Path) -> anyhow::Result<()> {
        let has_pictures = self.messages.iter().any(Message::shows_something);
        ensure!(!has_pictures, "a conversation with pictures cannot be saved");
        session_file::write(path, &self.messages)
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
/// It begins with the messages `fresh`, or goes on with `messages`.
pub(super) fn chat(
    talk: &mut Talk,
    fresh: Vec<Message>,
    messages: Vec<Message>,
    shown: Vec<Part>,
) -> anyhow::Result<()> {
    keep_answers_apart(&mut talk.screen)?;
    talk.screen.note("Type a message; /help lists commands, Ctrl-D leaves.");
    let mut editor = DefaultEditor::new()?;
    let mut conversation = Conversation::new(fresh, messages, shown);
    loop {
        // Until a line is read, so that what is typed meanwhile is its beginning.
        let keys = heal(talk, &conversation.messages)?;
        let line = read_message(&mut editor);
        drop(keys);
        let text = match line {
            Ok(text) => text,
            // Ctrl-C on an empty prompt only clears the line.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        match Line::of(&text) {
            Line::Nothing => {}
            Line::Leave => break,
            Line::Help => say!("{HELP}"),
            Line::Reset => conversation.reset(),
            Line::Undo => match conversation.undo() {
                Some((question, _)) => {
                    talk.keep(&conversation.messages)?;
                    say!("taken back: {}", printable::line(&question.plain_text()));
                }
                None => say!("there is nothing to take back"),
            },
            Line::Retry => conversation.again(talk, None)?,
            Line::Edit(Some(text)) => conversation.again(talk, Some(text))?,
            Line::Edit(None) => {
                let last = conversation.messages.iter().rfind(|message| message.role == Role::User);
                let text = last.map_or_else(String::new, Message::plain_text);
                match editor.readline_with_initial("edit> ", (&text, "")) {
                    Ok(text) if !text.trim().is_empty() => conversation.again(talk, Some(&text))?,
                    Ok(_) | Err(ReadlineError::Interrupted | ReadlineError::Eof) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Line::Save(file) => match conversation.save(Path::new(file)) {
                Ok(()) => say!("saved in {file}"),
                Err(error) => say!("error: {}", advice::explain(&error)),
            },
            Line::Load(file) => match session_file::read(Path::new(file)) {
                Ok(messages) => {
                    say!("{} messages", messages.len());
                    conversation.messages = messages;
                    talk.keep(&conversation.messages)?;
                }
                Err(error) => say!("error: {}", advice::explain(&error)),
            },
            Line::Thinking => say!("{}", talk.thinking_state()),
            Line::Think(on) => talk.think(on),
            Line::Look(..) if talk.is_kept() => say!("a conversation that is kept in a file takes no pictures"),
            Line::Look(kind, file) => match talk.look(file, kind) {
                Ok(part) => conversation.waiting.push(part),
                Err(error) => say!("error: {}", advice::explain(&error)),
            },
            Line::Wrong(why) => say!("{why}"),
            Line::Message(message) => conversation.say(talk, message)?,
        }
    }
    talk.keep_state()
}

/// Where standard output is no terminal, leaves it to the answers: what the editing of lines shows goes to the terminal
/// that the lines come from.
fn keep_answers_apart(screen: &mut Screen) -> std::io::Result<()> {
    if let Some(answers) = terminal::take_stdout()? {
        screen.write_to(answers);
    }
    Ok(())
}

/// Has the model read the history as the next prompt will have it, until a key is pressed.
fn heal(talk: &mut Talk, messages: &[Message]) -> std::io::Result<Option<Keys>> {
    let Some(keys) = Keys::watch().filter(|_| talk.heals(messages)) else { return Ok(None) };
    if !keys.is_pressed() {
        // The editor will show it in the same place.
        let mut screen = std::io::stdout().lock();
        screen.write_all(PROMPT.as_bytes())?;
        screen.flush()?;
        // What went wrong will go wrong again with the next answer, which then says so.
        let _ = talk.session.read_history(messages, || !keys.is_pressed());
        screen.write_all(b"\r")?;
        screen.flush()?;
    }
    Ok(Some(keys))
}

/// What stands before a message.
const PROMPT: &str = ">>> ";

/// One message: a line, and the lines it continues in.
fn read_message(editor: &mut DefaultEditor) -> Result<String, ReadlineError> {
    let mut text = editor.readline(PROMPT)?;
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
        assert_eq!((Line::of("/undo"), Line::of("/retry")), (Line::Undo, Line::Retry));
        assert_eq!((Line::of("/edit"), Line::of("/edit it all")), (Line::Edit(None), Line::Edit(Some("it all"))));
        assert_eq!((Line::of("/save a.md"), Line::of("/load a b")), (Line::Save("a.md"), Line::Load("a b")));
        wrong("/save", "/save needs a file: /save FILE");
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
