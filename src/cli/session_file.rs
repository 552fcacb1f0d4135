//! A conversation in a file: its messages, which people and programs can read, and beside it what the model remembers of
//! them, so that it goes on without reading them again.
//!
//! ```text
//! FILE           {"qwen-edge session": 1, "messages": [{"role", "content", "reasoning_content"?, "tool_calls"?}, ..]}
//! FILE.state     a sequence (`engine::snapshot`); without it, or if it is of another model, the messages are read again
//! ```

use anyhow::{Context as _, anyhow, bail, ensure};
use qwen_edge::chat::calls::Call;
use qwen_edge::engine::message::{Message, Role};
use qwen_edge::engine::session::Session;
use qwen_edge::gguf::Fingerprint;
use qwen_edge::platform::atomic_file::AtomicFile;
use serde::Deserialize;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The field whose value is the version of the file.
const VERSION: &str = "qwen-edge session";

/// A message as it stands in a file.
#[derive(Deserialize)]
struct Entry {
    role: String,
    content: String,
    #[serde(default)]
    reasoning_content: String,
    #[serde(default)]
    tool_calls: Vec<Value>,
}

/// Where a conversation is kept.
pub(super) struct SessionFile {
    path: PathBuf,
    model: Fingerprint,
}

impl SessionFile {
    /// The file at `path`, and the messages in it; none where there is no file.
    ///
    /// # Errors
    /// If it cannot be read, or is no conversation.
    pub fn open(path: &Path, model: Fingerprint) -> anyhow::Result<(SessionFile, Vec<Message>)> {
        let messages = if path.exists() { read(path)? } else { Vec::new() };
        Ok((SessionFile { path: path.to_owned(), model }, messages))
    }

    /// Where the state is.
    fn state(&self) -> PathBuf {
        let mut name: OsString = self.path.clone().into();
        name.push(".state");
        name.into()
    }

    /// Bytes of the state.
    pub fn bytes(&self) -> u64 {
        self.state().metadata().map_or(0, |metadata| metadata.len())
    }

    /// Has a session remember what is in the file. Returns what is worth saying if it does not.
    pub fn restore(&self, session: &mut Session) -> Option<String> {
        let path = self.state();
        let restored = match fs::read(&path) {
            Ok(bytes) => session.restore(&self.model, &bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err("there is none".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let why = restored.err()?;
        Some(format!("the messages are read again, for the state in {} cannot be used: {why}", path.display()))
    }

    /// Writes the messages.
    ///
    /// # Errors
    /// If they cannot be written; the file is as it was then.
    pub fn keep(&self, messages: &[Message]) -> anyhow::Result<()> {
        write(&self.path, messages)
    }

    /// Writes what a session remembers.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_state(&self, session: &Session) -> anyhow::Result<()> {
        let mut file = AtomicFile::create_private(&self.state())?;
        session.save(&self.model, &mut file)?;
        Ok(file.commit_unsynced()?)
    }
}

/// The messages in a file.
///
/// # Errors
/// If it cannot be read, or is no conversation.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Message>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    messages(&text).with_context(|| format!("{} is no conversation", path.display()))
}

fn messages(text: &str) -> anyhow::Result<Vec<Message>> {
    let mut file: Value = serde_json::from_str(text)?;
    let version = file.get(VERSION).ok_or_else(|| anyhow!("{VERSION:?} is missing"))?;
    ensure!(*version == json!(1), "{VERSION:?} is {version}: expected 1; another version of this program wrote it");
    let entries: Vec<Entry> = serde_json::from_value(file["messages"].take()).context("messages")?;
    let message = |(i, entry): (usize, Entry)| {
        let Entry { role, content, reasoning_content: reasoning, tool_calls } = entry;
        let calls: Option<Vec<Call>> = tool_calls.iter().map(Call::from_json).collect();
        let calls = calls.ok_or_else(|| anyhow!("a call in message {i} has no name or no arguments"))?;
        let message = match &role[..] {
            "system" if i == 0 => Message::system(content),
            "user" => Message::user(content),
            "assistant" => Message::assistant(content),
            _ => bail!("message {i} has the role {role:?}: expected system (the first alone), user or assistant"),
        };
        Ok(Message { reasoning, calls, ..message })
    };
    entries.into_iter().enumerate().map(message).collect()
}

/// Writes messages as JSON, or, where the name ends in .md, as Markdown.
///
/// # Errors
/// If the file cannot be written; what had the name is as it was then.
pub(super) fn write(path: &Path, messages: &[Message]) -> anyhow::Result<()> {
    let text = match path.extension().and_then(|extension| extension.to_str()) {
        Some("md" | "markdown") => markdown(messages),
        _ => {
            let messages: Vec<Value> = messages.iter().map(Message::to_json).collect();
            serde_json::to_string_pretty(&json!({VERSION: 1, "messages": messages}))? + "\n"
        }
    };
    let mut file = AtomicFile::create_private(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.commit()?)
}

fn markdown(messages: &[Message]) -> String {
    let section = |message: &Message| {
        let title = match message.role {
            Role::System => "System",
            Role::User => "User",
            Role::Assistant => "Assistant",
        };
        let quoted: String = message.reasoning.lines().map(|line| format!("> {line}\n")).collect();
        let thinking = if quoted.is_empty() { quoted } else { quoted + "\n" };
        let calls: String = message.calls.iter().map(|call| format!("\n    {}\n", call.to_json())).collect();
        format!("## {title}\n\n{thinking}{}\n{calls}", message.plain_text())
    };
    messages.iter().map(section).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_read_as_it_was_written() {
        let path = std::env::temp_dir().join(format!("qwen-edge-session-file-{}.json", std::process::id()));
        let thought = Message { reasoning: "hm\n\nwell".to_owned(), ..Message::assistant("<b>\u{1b}[0m") };
        let call = Call { name: "f".to_owned(), arguments: "{\"x\":[1.0]}".to_owned(), is_whole: true };
        let called = Message { calls: vec![call], ..Message::assistant("") };
        let written = [Message::system("Be kind."), Message::user("a\n\"b\""), thought, called];
        write(&path, &written).unwrap();
        let read = read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let json = |messages: &[Message]| messages.iter().map(Message::to_json).collect::<Vec<Value>>();
        assert_eq!(json(&read), json(&written));
    }

    #[test]
    fn other_files_are_refused_and_the_error_says_why() {
        let refused = |text: &str| format!("{:#}", messages(text).err().expect(text));
        assert!(refused("{}").contains("\"qwen-edge session\" is missing"));
        assert!(refused(r#"{"qwen-edge session": 2}"#).contains("is 2: expected 1"));
        assert!(refused(r#"{"qwen-edge session": 1}"#).contains("messages"));
        let role = r#"{"qwen-edge session": 1, "messages": [{"role": "user", "content": ""}, {"role": "system", "content": ""}]}"#;
        assert!(refused(role).contains("message 1 has the role \"system\""));
        assert!(refused("[").contains("EOF"));
    }

    #[test]
    fn markdown_has_a_section_a_message_and_quotes_the_thinking() {
        let answer = Message { reasoning: "a\nb".to_owned(), ..Message::assistant("c") };
        assert_eq!(markdown(&[Message::user("q"), answer]), "## User\n\nq\n\n## Assistant\n\n> a\n> b\n\nc\n");
    }
}
