//! Messages to the text of a prompt, through the chat template that a model file carries or the published one.
//!
//! Templates are programs in Jinja, written for Python; [`python`] supplies what they expect of it. They come with
//! the file and are not trusted: a template can use no file and no network, and its work and memory are bounded.

mod guard;
mod python;
pub mod thinking;
mod time;

use crate::gguf::{self, Gguf};
use crate::tokenizer::{Prompt, Tokenizer};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The published template of the series (that of the larger sizes; see [`is_published`]).
pub const BUILT_IN: &str = include_str!("qwen35.jinja");

/// Name of the one template in its environment; no suffix, so that nothing is escaped.
const NAME: &str = "chat_template";

/// Units of work that any rendering may use: an instruction, or 64 bytes of text made.
const BASE_FUEL: u64 = 2_000_000;

/// Units of work for every byte of the messages.
const FUEL_PER_BYTE: u64 = 4;

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    #[error("the chat template is not valid Jinja, line {line}: {problem}")]
    Syntax { line: usize, problem: String },
    /// The template itself refuses the messages, in its own words.
    #[error("{0}")]
    Raised(String),
    #[error("the chat template failed at line {line}: {problem}")]
    Failed { line: usize, problem: String },
    #[error("the chat template did not finish within its budget of work (line {line}): it may not terminate")]
    Endless { line: usize },
    #[error("the messages use every private character of Unicode")]
    NoMark,
}

/// Whether `source` is the published template of some size. They differ in one place, the last: the thinking mode when
/// none is asked for.
pub fn is_published(source: &str) -> bool {
    let common = |source: &str| source.rsplit_once("add_generation_prompt").map(|(common, _)| common.to_owned());
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
        Self { messages, tools: None, add_generation_prompt: true, kwargs: Some(kwargs) }
    }

    /// Everything that a template sees, as one object.
    fn context(&self) -> Map<String, Value> {
        let mut context = self.kwargs.clone().unwrap_or_default();
        context.insert("messages".to_owned(), self.messages.clone().into());
        context.insert("tools".to_owned(), self.tools.clone().unwrap_or_default());
        context.insert("add_generation_prompt".to_owned(), self.add_generation_prompt.into());
        context
    }
}

/// A compiled chat template.
pub struct Template {
    environment: Environment<'static>,
    built_in: bool,
}

impl Template {
    /// The template of a file, or the published one if the file has none.
    ///
    /// # Errors
    /// The file's template cannot be read.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let mut template = match gguf.string("tokenizer.chat_template")? {
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
                template.environment.add_global(name, String::from_utf8_lossy(text).into_owned());
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
        let mut environment = Environment::new();
        // As the libraries of the model's publishers have it.
        match SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
            Ok(syntax) => environment.set_syntax(syntax),
            Err(error) => return Err(syntax_error(&error)),
        }
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_debug(false);
        python::install(&mut environment);
        environment
            .add_template_owned(NAME, python::without_generation_tags(source).into_owned())
            .map_err(|error| syntax_error(&error))?;
        Ok(Self { environment, built_in: false })
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
        self.run(request.context())
    }

    /// The text of the prompt, and where in it a control token of `tokenizer` came from what the caller gave rather
    /// than from the template: there it is to be read as text. The text is that of [`Template::render`].
    ///
    /// # Errors
    /// Those of [`Template::render`].
    pub fn prompt(&self, request: &Request, tokenizer: &Tokenizer) -> Result<Prompt, Error> {
        let context = request.context();
        let controls: Vec<&str> = tokenizer.control_texts().filter(|text| !text.is_empty()).collect();
        let source = self.environment.get_template(NAME).map_err(|error| run_error(&error))?.source().to_owned();
        let Some(guarded) = guard::guard(&context, &controls, &source)? else {
            return Ok(Prompt { text: self.run(context)?, literal: Vec::new() });
        };
        Ok(guarded.unguard(&self.run(guarded.context.clone())?))
    }

    fn run(&self, context: Map<String, Value>) -> Result<String, Error> {
        let bytes: usize = context.values().map(text_bytes).sum();
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(BASE_FUEL.saturating_add(FUEL_PER_BYTE.saturating_mul(bytes as u64))));
        let template = environment.get_template(NAME).map_err(|error| run_error(&error))?;
        template.render(to_jinja(Value::Object(context))).map_err(|error| run_error(&error))
    }
}

fn to_jinja(value: Value) -> minijinja::Value {
    match value {
        Value::Null => ().into(),
        Value::Bool(value) => value.into(),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) => value.into(),
            (_, Some(value), _) => value.into(),
            (.., value) => value.unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => items.into_iter().map(to_jinja).collect(),
        Value::Object(object) => {
            minijinja::Value::from_pairs(object.into_iter().map(|(key, item)| (key, to_jinja(item))))
        }
    }
}

/// Bytes of all the text in a value.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + text_bytes(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn syntax_error(error: &minijinja::Error) -> Error {
    Error::Syntax { line: error.line().unwrap_or(0), problem: describe(error) }
}

fn run_error(error: &minijinja::Error) -> Error {
    let line = error.line().unwrap_or(0);
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(python::Raised(message)) = error.downcast_ref() {
            return Error::Raised(message.clone());
        }
        if error.downcast_ref().is_some_and(|error: &minijinja::Error| error.kind() == ErrorKind::OutOfFuel) {
            return Error::Endless { line };
        }
        cause = error.source();
    }
    Error::Failed { line, problem: describe(error) }
}

/// What went wrong, without the name of the template.
fn describe(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}
