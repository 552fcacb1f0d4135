//! Where the prompt of `run` comes from: words on the command line, a file, standard input, or several of them.

use super::piped::{Found, Piped};
use super::screen::Screen;
use super::{marks, text};
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// What to run, and what to ask it.
#[derive(Args, Debug)]
pub struct PromptArgs {
    /// GGUF file
    #[arg(required_unless_present = "model_option")]
    model: Option<PathBuf>,

    /// The prompt, as with -p; put -- before a text that begins with a hyphen
    #[arg(value_name = "TEXT")]
    text: Vec<String>,

    /// GGUF file, in place of MODEL: what stands there is then the prompt
    #[arg(id = "model_option", short = 'm', long = "model", value_name = "FILE")]
    model_option: Option<PathBuf>,

    /// The prompt; "-" reads it from standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// Read the prompt from a file, "-" being standard input; behind a prompt that is given, what it is about
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A prompt as far as it is known before the model is loaded.
pub(super) struct Asked {
    question: Question,
    piped: Option<Piped>,
}

/// A prompt: what is asked, and what it is asked about.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Question {
    /// What was typed; marks in it are places of pictures.
    pub text: String,
    /// What files and pipes add; plain text.
    pub attached: String,
}

impl Question {
    /// All of it as one text.
    pub fn whole(&self) -> String {
        let mut whole = self.text.clone();
        marks::attach(&mut whole, &self.attached);
        whole
    }

    fn attach(&mut self, text: &str) {
        if self.attached.is_empty() {
            text.clone_into(&mut self.attached);
        } else {
            marks::attach(&mut self.attached, text);
        }
    }
}

impl PromptArgs {
    /// The model's file.
    pub fn model(&self) -> &Path {
        // The parser asks for one of them.
        self.model_option.as_ref().or(self.model.as_ref()).map_or(Path::new(""), PathBuf::as_path)
    }

    /// Whether no prompt is given and somebody is there to type: a chat.
    pub fn is_chat(&self) -> bool {
        let given = self.prompt.is_some() || self.file.is_some() || self.has_words();
        !given && std::io::stdin().is_terminal()
    }

    fn has_words(&self) -> bool {
        !self.text.is_empty() || (self.model_option.is_some() && self.model.is_some())
    }

    /// The prompt among the words, with the option it could have been given with.
    fn words(&self) -> anyhow::Result<Option<String>> {
        if !self.has_words() {
            return Ok(None);
        }
        let first = self.model_option.as_ref().and(self.model.as_ref());
        let first = first.map(|word| word.to_str().context("the prompt is not UTF-8")).transpose()?;
        let words: Vec<&str> = first.into_iter().chain(self.text.iter().map(String::as_str)).collect();
        let is_model = |word: &&str| word.to_ascii_lowercase().ends_with(".gguf") && Path::new(word).exists();
        if words.iter().all(is_model) {
            bail!("{} stands where the prompt is expected: one model at a time", words.join(" "));
        }
        Ok(Some(words.join(" ")))
    }

    /// Reads what can be read at once, and begins to read standard input unless `taken` is what takes it.
    ///
    /// # Errors
    /// If there is no prompt, more than one, or one that cannot be read.
    pub(super) fn read(&self, taken: Option<&str>, screen: &Screen) -> anyhow::Result<Asked> {
        let words = self.words()?;
        if let Some(words) = &words {
            ensure!(
                self.prompt.is_none(),
                "two prompts are given: with -p, and {words:?}; put one in quotes, or leave it out"
            );
            if !words.contains(char::is_whitespace) && Path::new(words).is_file() {
                screen
                    .note(&format!("note: {words} is taken as the prompt itself; -f reads a file, --image shows one"));
            }
        }
        let named = if words.is_some() { "TEXT" } else { "--prompt" };
        let prompt = words.as_ref().or(self.prompt.as_ref());
        let file = self.file.as_deref();

        let from_prompt = prompt.map_or(file.is_none(), |text| text == "-");
        let from_file = file.is_some_and(is_stdin);
        ensure!(!(from_prompt && from_file), "{STDIN} cannot be both the prompt and the file behind it");
        let free = !from_prompt && !from_file;
        if let Some(taken) = taken {
            ensure!(free, "{STDIN} cannot be both {taken} and the prompt: give -p TEXT");
        }

        let (text, source) = match (prompt, file) {
            (Some(text), _) if text != "-" => (text::without_mark(text).to_owned(), named.to_owned()),
            (None, Some(file)) => (read(file)?, name(file)),
            _ => (read(Path::new("-"))?, STDIN.to_owned()),
        };
        ensure!(!text.trim().is_empty(), "{source}: the prompt is empty");
        let mut question = Question { text, attached: String::new() };
        if let Some(file) = prompt.and(file) {
            question.attach(&read(file)?);
        }
        let piped = if free && taken.is_none() { Piped::start() } else { None };
        Ok(Asked { question, piped })
    }
}

impl Asked {
    /// The prompt with what standard input adds to it.
    ///
    /// # Errors
    /// If that cannot be read, or is not text.
    pub fn finish(self, screen: &Screen) -> anyhow::Result<Question> {
        let mut question = self.question;
        let Some(piped) = self.piped else { return Ok(question) };
        let waiting = || screen.note("waiting for standard input: it is part of the prompt (< /dev/null: it is not)");
        match piped.finish(waiting).with_context(|| format!("cannot read {STDIN}"))? {
            Found::Bytes(bytes) => {
                let text = text::decode(&bytes).context(STDIN)?;
                if !text.trim().is_empty() {
                    question.attach(&text);
                }
            }
            Found::Silence(time) => screen.note(&format!(
                "note: nothing came on standard input in {:.0} s: the prompt is what was given alone. \
                 -f - waits for as long as it takes, < /dev/null not at all",
                time.as_secs_f64()
            )),
        }
        Ok(question)
    }
}

const STDIN: &str = "standard input";

/// Whether this names standard input.
fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn name(file: &Path) -> String {
    if is_stdin(file) { STDIN.to_owned() } else { file.display().to_string() }
}

/// The text of a file or of standard input.
fn read(file: &Path) -> anyhow::Result<String> {
    let bytes = if is_stdin(file) {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        qwen_edge::platform::files::read(file)
    };
    let bytes = bytes.with_context(|| format!("cannot read {}", name(file)))?;
    text::decode(&bytes).with_context(|| name(file))
}
