//! Why a template could not be compiled or run.

use std::fmt::{self, Display};

pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and in which line of the template. Boxed: results are passed up through every node of the tree.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// From 1; 0 while it is not known.
    line: u32,
    cause: Cause,
}

/// The kinds of failure.
#[derive(Debug, PartialEq)]
pub enum Cause {
    /// The source is not a template.
    Syntax(String),
    /// An operation failed.
    Failed(String),
    /// The template called `raise_exception` with this message.
    Raised(String),
    /// The budget of work is used up.
    Work,
    /// So many bytes would have been in use, which is more than the budget of memory.
    Memory(usize),
}

impl Error {
    pub fn new(cause: Cause) -> Self {
        Self(Box::new(Inner { line: 0, cause }))
    }

    pub fn failed(problem: impl Display) -> Self {
        Self::new(Cause::Failed(problem.to_string()))
    }

    pub fn syntax(line: u32, problem: impl Display) -> Self {
        Self(Box::new(Inner { line, cause: Cause::Syntax(problem.to_string()) }))
    }

    /// The same error in `line`, unless it has one already.
    pub fn at(mut self, line: u32) -> Self {
        if self.0.line == 0 {
            self.0.line = line;
        }
        self
    }

    /// Whether an operation failed, rather than a budget.
    pub fn is_failure(&self) -> bool {
        matches!(self.0.cause, Cause::Failed(_))
    }

    /// The line, from 1, and the cause.
    pub fn into_parts(self) -> (u32, Cause) {
        (self.0.line, self.0.cause)
    }
}

/// Returns from a function of the interpreter with [`Cause::Failed`].
macro_rules! fail {
    ($($form:tt)*) => { return Err($crate::chat::jinja::error::Error::failed(format_args!($($form)*))) };
}
pub(crate) use fail;

/// Text of a template inside a message: short, and without characters that could steer a terminal.
pub struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        let mut rest = self.0.chars();
        f.write_str("`")?;
        for c in rest.by_ref().take(LONGEST) {
            match c {
                '\'' | '"' => write!(f, "{c}")?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        f.write_str(if rest.next().is_some() { "...`" } else { "`" })
    }
}
