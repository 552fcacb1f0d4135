//! Tokens to the tree of a template.
//!
//! The grammar is that of the reference: the same precedences, the same places where a tuple needs no brackets, the
//! same tags. A filter or a test that does not exist is an error of the template, unless it stands in a branch that may not
//! be taken: then it is an error when it is.

mod expressions;
mod statements;

use super::error::{Error, Result};
use super::lexer::{self, Token};
use super::scopes::Scopes;
use super::syntax::{Constant, Expr, Program, Special, Symbol};
use std::collections::{HashMap, HashSet};

/// Deepest nesting of brackets, tags and conditions.
const MAX_DEPTH: usize = 100;

/// Bytes of the largest template; the largest that are published have a tenth of that.
const MAX_BYTES: usize = 1 << 19;

impl Program {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`super::error::Cause::Syntax`].
    pub fn parse(source: &str) -> Result<Self> {
        if source.len() > MAX_BYTES {
            return Err(Error::syntax(0, format_args!("it has {} bytes; at most {MAX_BYTES} are read", source.len())));
        }
        let source = lexer::normal_lines(source);
        let mut parser = Parser {
            tokens: lexer::tokens(&source)?,
            at: 0,
            program: Program::default(),
            symbols: HashMap::new(),
            blocks: HashSet::new(),
            depth: 0,
            tags: Vec::new(),
            loops_open: 0,
            in_loop: false,
            may_skip: false,
            unknown: Vec::new(),
            specials: Vec::new(),
            scopes: Scopes::new(),
        };
        let body = parser.statements(&[])?;
        if let Some((line, problem)) = parser.unknown.first() {
            return Err(Error::syntax(*line, problem));
        }
        Ok(Program { body, hidden: parser.scopes.hidden(), ..parser.program })
    }
}

struct Parser<'s> {
    tokens: Vec<(Token<'s>, u32)>,
    at: usize,
    program: Program,
    symbols: HashMap<&'s str, Symbol>,
    /// The names of blocks.
    blocks: HashSet<Symbol>,
    depth: usize,
    /// Tags that are open.
    tags: Vec<(&'s str, u32)>,
    /// Loops that are open, whatever is between.
    loops_open: usize,
    /// Whether `break` has a loop to end.
    in_loop: bool,
    /// Whether what is read may not be run: a branch.
    may_skip: bool,
    /// Filters and tests that there are not, outside of branches.
    unknown: Vec<(u32, String)>,
    /// What the macros that are open use.
    specials: Vec<Special<Use>>,
    scopes: Scopes,
}

/// What a macro does with a special variable, as far as it is read.
#[derive(Clone, Copy, Default, PartialEq)]
enum Use {
    #[default]
    None,
    Read,
    /// Set first, and an ordinary variable from there on.
    Set,
}

impl<'s> Parser<'s> {
    fn peek(&self) -> &Token<'s> {
        &self.tokens[self.at].0
    }

    /// The token after the next.
    fn peek_second(&self) -> &Token<'s> {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token<'s> {
        let token = self.peek().clone();
        if token != Token::End {
            self.at += 1;
        }
        token
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if *found == name)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn error<T>(&self, problem: impl std::fmt::Display) -> Result<T> {
        Err(Error::syntax(self.line(), problem))
    }

    fn unexpected<T>(&self, expected: impl std::fmt::Display) -> Result<T> {
        self.error(format_args!("{} where {expected} is expected", self.peek().describe()))
    }

    fn expect_sign(&mut self, sign: &str) -> Result<()> {
        if self.take_sign(sign) { Ok(()) } else { self.unexpected(format_args!("`{sign}`")) }
    }

    fn expect_name(&mut self, name: &str) -> Result<()> {
        if self.take_name(name) { Ok(()) } else { self.unexpected(format_args!("`{name}`")) }
    }

    fn expect(&mut self, token: Token<'static>) -> Result<()> {
        if *self.peek() != token {
            return self.unexpected(token.describe());
        }
        self.next();
        Ok(())
    }

    fn identifier(&mut self) -> Result<&'s str> {
        match *self.peek() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn symbol(&mut self, name: &'s str) -> Symbol {
        let next = Symbol(self.program.names.len() as u32);
        let symbol = *self.symbols.entry(name).or_insert(next);
        if symbol == next {
            self.program.names.push(name.into());
        }
        symbol
    }

    fn constant(&mut self, value: Constant) -> Expr {
        self.program.constants.push(value);
        Expr::Constant(self.program.constants.len() as u32 - 1)
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return self.error("it is nested too deeply");
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Runs `read` with other notes of what is around.
    fn around<T>(&mut self, in_loop: bool, may_skip: bool, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = (self.in_loop, self.may_skip);
        (self.in_loop, self.may_skip) = (in_loop, may_skip);
        let result = read(self);
        (self.in_loop, self.may_skip) = before;
        result
    }

    /// Notes that a variable is read or set.
    fn note(&mut self, name: &str, what: Use) {
        for special in &mut self.specials {
            let use_ = match name {
                "caller" => &mut special.caller,
                "kwargs" => &mut special.kwargs,
                "varargs" => &mut special.varargs,
                _ => return,
            };
            if *use_ == Use::None {
                *use_ = what;
            }
        }
    }
}
