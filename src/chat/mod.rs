//! Messages to the text of a prompt, through the chat template that a model file carries or the published one.
//!
//! Templates are programs in Jinja, written for Python; [`jinja`] runs them as Python does. They come with the file and
//! are not trusted: a template can use no file and no network, and its work and memory are bounded.

pub mod argument;
pub mod calls;
pub mod effort;
mod guard;
mod jinja;
pub mod offer;
pub mod thinking;
pub mod time;

use crate::gguf::{self, Gguf};
use crate::tokenizer::{Prompt, Tokenizer};
use jinja::error::Cause;
use jinja::{Limits, Program};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::{self, Write};
use std::sync::OnceLock;

/// The published template of the series (that of the larger sizes; see [`is_published`]).
pub const BUILT_IN: &str = include_str!("qwen35.jinja");

/// Steps of work that any rendering may take; see [`jinja`].
const BASE_WORK: u64 = 3_000_000;

/// Steps of work for every byte of the messages.
const WORK_PER_BYTE: u64 = 16;

/// Bytes that any rendering may have in use at one time.
const BASE_MEMORY: usize = 64 << 20;

/// Bytes in use for every byte of the messages.
const MEMORY_PER_BYTE: usize = 32;

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    #[error("the chat template is not valid Jinja, line {line}: {problem}")]
    Syntax { line: u32, problem: String },
    /// The template itself refuses the messages, in its own words.
    #[error("{}", Plain(.0))]
    Raised(String),
    #[error("the chat template failed at line {line}: {problem}")]
    Failed { line: u32, problem: String },
    #[error("the chat template did not finish within its budget of work (line {line}): it may not terminate")]
    Endless { line: u32 },
    #[error(
        "the chat template needs too much memory (line {line}): {} MB at one time, more than such messages justify",
        needed >> 20
    )]
    TooLarge { line: u32, needed: usize },
    #[error("the messages use every private character of Unicode")]
    NoMark,
}

/// Whether `source` is the published template of some size. They differ in one place, the last: the thinking mode when
/// none is asked for.
pub fn is_published(source: &str) -> bool {
    let common = |source: &str| {
        let source = jinja::normal_lines(source);
        source.rsplit_once("add_generation_prompt").map(|(common, _)| common.to_owned())
    };
    common(source).is_some() && common(source) == common(BUILT_IN)
}

/// What a template is given.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct Request {
    /// `{"role", "content", ...}`, in order.
    pub messages: Vec<Value>,
    /// Functions that the model may call, as JSON schemas.
    #[serde(default)]
    pub tools: Option<Value>,
    /// Texts to answer from, `{"title", "text"}`, for templates that know them.
    #[serde(default)]
    pub documents: Option<Value>,
    /// Whether to end with the start of an answer.
    #[serde(default)]
    pub add_generation_prompt: bool,
    /// Further variables of the template, such as `enable_thinking`.
    #[serde(default)]
    pub kwargs: Option<Map<String, Value>>,
}

impl Request {
    /// Asks for an answer to `messages`, with or without thinking first.
    pub fn new(messages: Vec<Value>, thinking: bool) -> Self {
        let kwargs = Map::from_iter([("enable_thinking".to_owned(), thinking.into())]);
        Self { messages, tools: None, documents: None, add_generation_prompt: true, kwargs: Some(kwargs) }
    }

    /// Everything that a template sees, as one object.
    fn context(&self) -> Map<String, Value> {
        let mut context = self.kwargs.clone().unwrap_or_default();
        context.insert("messages".to_owned(), self.messages.clone().into());
        context.insert("tools".to_owned(), self.tools.clone().unwrap_or_default());
        if self.documents.is_some() || !context.contains_key("documents") {
            context.insert("documents".to_owned(), self.documents.clone().unwrap_or_default());
        }
        context.insert("add_generation_prompt".to_owned(), self.add_generation_prompt.into());
        context
    }
}

/// A compiled chat template.
pub struct Template {
    program: Program,
    source: String,
    /// Tokens that a template may print by their names.
    tokens: Vec<(&'static str, String)>,
    built_in: bool,
    /// The level of thinking; see [`effort`].
    effort: Option<&'static str>,
    /// The levels there are.
    efforts: OnceLock<Vec<&'static str>>,
}

impl Template {
    /// The template of a file, or the published one if the file has none.
    ///
    /// # Errors
    /// The file's template cannot be read.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let mut template = match source_of(gguf)? {
            Some(source) => Self::new(source)?,
            None => Self::built_in()?,
        };
        // Some templates print their end token by its name.
        let ids = [("eos_token", "tokenizer.ggml.eos_token_id"), ("pad_token", "tokenizer.ggml.padding_token_id")];
        for (name, key) in ids {
            if let Ok(Some(id)) = gguf.uint(key)
                && let Some(mut texts) = gguf.strings("tokenizer.ggml.tokens")?
                && let Some(text) = usize::try_from(id).ok().and_then(|id| texts.nth(id))
            {
                template.tokens.push((name, String::from_utf8_lossy(text).into_owned()));
            }
        }
        Ok(template)
    }

    /// The published template of the series.
    ///
    /// # Errors
    /// None that a test would not find.
    pub fn built_in() -> Result<Self, Error> {
        Ok(Self { built_in: true, ..Self::new(BUILT_IN)? })
    }

    /// Compiles a template.
    ///
    /// # Errors
    /// [`Error::Syntax`].
    pub fn new(source: &str) -> Result<Self, Error> {
        let program = Program::parse(source)?;
        let (source, tokens, efforts) = (source.to_owned(), Vec::new(), OnceLock::new());
        Ok(Self { program, source, tokens, built_in: false, effort: None, efforts })
    }

    /// What it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether this is the published template rather than one from a file.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// The text of the prompt.
    ///
    /// # Errors
    /// [`Error::Raised`] when the template refuses the messages; other variants when it cannot be run.
    pub fn render(&self, request: &Request) -> Result<String, Error> {
        self.run(&self.context(request))
    }

    /// The text of the prompt, and where in it a control token of `tokenizer` came from what the caller gave rather
    /// than from the template: there it is to be read as text. The text is that of [`Template::render`].
    ///
    /// # Errors
    /// Those of [`Template::render`].
    pub fn prompt(&self, request: &Request, tokenizer: &Tokenizer) -> Result<Prompt, Error> {
        let context = self.context(request);
        let controls: Vec<&str> = tokenizer.control_texts().filter(|text| !text.is_empty()).collect();
        let Some(guarded) = guard::guard(&context, &controls, &self.source)? else {
            return Ok(Prompt { text: self.run(&context)?, literal: Vec::new() });
        };
        Ok(guarded.unguard(&self.run(&guarded.context)?))
    }

    fn run(&self, context: &Map<String, Value>) -> Result<String, Error> {
        let bytes: usize = context.values().map(size).sum();
        let limits = Limits {
            work: BASE_WORK.saturating_add(WORK_PER_BYTE.saturating_mul(bytes as u64)),
            memory: BASE_MEMORY.saturating_add(MEMORY_PER_BYTE.saturating_mul(bytes)),
        };
        Ok(self.program.render(context, &self.tokens, limits)?)
    }
}

/// The template of a file; none if it has none, or nothing but white space.
///
/// # Errors
/// The value is no string.
pub fn source_of(gguf: &Gguf) -> Result<Option<&str>, gguf::Error> {
    Ok(gguf.string("tokenizer.chat_template")?.filter(|source| !source.trim().is_empty()))
}

/// The size of a value: the bytes of its text, and one for every other value.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len(),
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

impl From<jinja::error::Error> for Error {
    fn from(error: jinja::error::Error) -> Self {
        match error.into_parts() {
            (line, Cause::Syntax(problem)) => Self::Syntax { line, problem },
            (line, Cause::Failed(problem)) => Self::Failed { line, problem },
            (_, Cause::Raised(message)) => Self::Raised(message),
            (line, Cause::Work) => Self::Endless { line },
            (line, Cause::Memory(needed)) => Self::TooLarge { line, needed },
        }
    }
}

/// Text of a template for a message: what could steer a terminal is written out, and it is cut where it is long.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 2000;
        let mut rest = self.0.chars();
        for c in rest.by_ref().take(LONGEST) {
            match c {
                c if c.is_control() && c != '\n' => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        f.write_str(if rest.next().is_some() { "..." } else { "" })
    }
}
