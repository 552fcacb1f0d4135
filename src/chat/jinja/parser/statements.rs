//! Tags and their bodies.

use super::{Parser, Use};
use crate::chat::jinja::error::{Error, Quoted, Result};
use crate::chat::jinja::lexer::Token;
use crate::chat::jinja::scopes::Scopes;
use crate::chat::jinja::syntax::{Block, Body, Expr, For, Macro, Special, Step, Stmt, StmtKind, Symbol, Target};
use std::collections::HashSet;

const LOOP_IS_SET: &str = "`loop` cannot be given a value in a loop";

impl<'s> Parser<'s> {
    /// Statements up to one of the tags in `ends`, whose name is next then; up to the end if there are none.
    pub(super) fn statements(&mut self, ends: &[&str]) -> Result<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match *self.peek() {
                Token::Data(text) => {
                    self.at += 1;
                    body.push(Stmt { line, kind: StmtKind::Text(text.into()) });
                }
                Token::PrintBegin => {
                    self.at += 1;
                    let kind = StmtKind::Print(self.tuple(true, false)?);
                    self.expect(Token::PrintEnd)?;
                    body.push(Stmt { line, kind });
                }
                Token::BlockBegin => {
                    self.at += 1;
                    if matches!(*self.peek(), Token::Name(name) if ends.contains(&name)) {
                        return Ok(body);
                    }
                    let line = self.line();
                    let tag = match *self.peek() {
                        Token::Name(name) => name,
                        _ => return self.unexpected("the name of a tag"),
                    };
                    self.at += 1;
                    self.tags.push((tag, line));
                    let kinds = self.deeper(|parser| parser.statement(tag, line))?;
                    self.tags.pop();
                    self.expect(Token::BlockEnd)?;
                    body.extend(kinds.into_iter().map(|kind| Stmt { line, kind }));
                }
                _ if ends.is_empty() => return Ok(body),
                _ => {
                    let (tag, line) = self.tags.last().copied().unwrap_or(("", 0));
                    let ends = ends.join("`, `");
                    return self.error(format_args!("`{tag}` of line {line} does not end: `{ends}` is missing"));
                }
            }
        }
    }

    /// The body of a tag that has been read up to its `%}`, and the name of the tag that ends it.
    fn body(&mut self, ends: &[&'static str]) -> Result<(Vec<Stmt>, &'s str)> {
        self.take_sign(":");
        self.expect(Token::BlockEnd)?;
        let body = self.statements(ends)?;
        Ok((body, self.identifier()?))
    }

    /// As [`Parser::body`], in a scope of its own. Branches around it do not count, and loops only if it is `in_loop`:
    /// macros and blocks are functions of their own in the reference.
    fn scoped_body(&mut self, scope: usize, in_loop: bool, ends: &[&'static str]) -> Result<(Body, &'s str)> {
        let outer = self.scopes.go(scope);
        let (statements, end) = self.around(in_loop, false, |parser| parser.body(ends))?;
        self.scopes.go(outer);
        Ok((Body { scope, statements }, end))
    }

    /// The body of a tag with a scope inside of the present one.
    fn inner_body(&mut self, end: &'static str) -> Result<Body> {
        let scope = self.scopes.inside();
        self.scoped_body(scope, self.in_loop, &[end]).map(|(body, _)| body)
    }

    fn statement(&mut self, tag: &'s str, line: u32) -> Result<Vec<StmtKind>> {
        let kind = match tag {
            "if" => self.branches()?,
            "for" => self.for_loop()?,
            "set" => {
                let target = self.target(true)?;
                if self.loops_open > 0 && self.sets_loop(&target) {
                    return Err(Error::syntax(line, LOOP_IS_SET));
                }
                if self.take_sign("=") {
                    let value = self.tuple(true, false)?;
                    self.mention(&target, Scopes::set);
                    StmtKind::Set(target, value)
                } else {
                    self.mention(&target, Scopes::set);
                    let filter = self.filters(Expr::Captured, false)?;
                    StmtKind::SetBlock(target, filter, self.inner_body("endset")?)
                }
            }
            "with" => {
                let mut values = Vec::new();
                while *self.peek() != Token::BlockEnd {
                    if !values.is_empty() {
                        self.expect_sign(",")?;
                    }
                    let target = self.target(false)?;
                    self.expect_sign("=")?;
                    values.push((target, self.expression()?));
                }
                let scope = self.scopes.inside();
                let outer = self.scopes.go(scope);
                values.iter().for_each(|(target, _)| self.mention(target, Scopes::mention));
                self.scopes.go(outer);
                StmtKind::With(values, self.scoped_body(scope, self.in_loop, &["endwith"])?.0)
            }
            "macro" => {
                let name = self.new_name()?;
                self.scopes.set(name);
                let scope = self.scopes.inside();
                let parameters = self.parameters(scope)?;
                StmtKind::Macro(name, self.macro_body(Some(name), parameters, scope, "endmacro")?)
            }
            "call" => {
                let scope = self.scopes.inside();
                let parameters = if self.is_sign("(") { self.parameters(scope)? } else { Vec::new() };
                let call = self.expression()?;
                if !matches!(&call, Expr::Path(_, steps) if matches!(steps.last(), Some(Step::Call(_)))) {
                    return Err(Error::syntax(line, "`call` needs the call of a macro"));
                }
                StmtKind::Call(call, self.macro_body(None, parameters, scope, "endcall")?)
            }
            "filter" => {
                let filter = self.filters(Expr::Captured, true)?;
                StmtKind::Filter(filter, self.inner_body("endfilter")?)
            }
            "block" => self.block(line)?,
            "print" => {
                let mut values = Vec::new();
                while *self.peek() != Token::BlockEnd {
                    if !values.is_empty() {
                        self.expect_sign(",")?;
                    }
                    values.push(StmtKind::Print(self.expression()?));
                }
                return Ok(values);
            }
            "autoescape" => {
                let on = self.expression()?;
                StmtKind::AutoEscape(on, self.inner_body("endautoescape")?)
            }
            // Marks answers for training.
            "generation" => {
                let scope = self.scopes.inside();
                StmtKind::Generation(self.macro_body(None, Vec::new(), scope, "endgeneration")?)
            }
            "break" | "continue" if !self.in_loop => {
                return Err(Error::syntax(line, format_args!("`{tag}` outside of a loop")));
            }
            "break" => StmtKind::Break,
            "continue" => StmtKind::Continue,
            "include" | "extends" | "import" | "from" => self.foreign(tag)?,
            _ => {
                self.tags.pop();
                let open = match self.tags.last() {
                    Some((open, line)) => format!(" (in `{open}` of line {line})"),
                    None => String::new(),
                };
                return Err(Error::syntax(line, format_args!("there is no tag {}{open}", Quoted(tag))));
            }
        };
        Ok(vec![kind])
    }

    fn branches(&mut self) -> Result<StmtKind> {
        let in_loop = self.in_loop;
        self.around(in_loop, true, |parser| {
            let mut branches = Vec::new();
            loop {
                let test = parser.tuple(false, false)?;
                parser.scopes.branch(true);
                let (body, end) = parser.body(&["elif", "else", "endif"])?;
                branches.push((test, body));
                let otherwise = if end == "else" { parser.body(&["endif"])?.0 } else { Vec::new() };
                parser.scopes.branch(false);
                if end != "elif" {
                    return Ok(StmtKind::If(branches, otherwise));
                }
            }
        })
    }

    fn for_loop(&mut self) -> Result<StmtKind> {
        let line = self.line();
        let target = self.target(false)?;
        if self.sets_loop(&target) {
            return Err(Error::syntax(line, LOOP_IS_SET));
        }
        self.expect_name("in")?;
        let items = self.tuple(false, false)?;
        let (scope, test_scope) = (self.scopes.inside(), self.scopes.inside());
        let outer = self.scopes.go(test_scope);
        self.mention(&target, Scopes::mention);
        let test = if self.take_name("if") { Some(self.expression()?) } else { None };
        self.scopes.go(scope);
        self.mention(&target, Scopes::mention);
        self.scopes.go(outer);
        let recursive = self.take_name("recursive");
        self.loops_open += 1;
        let (body, end) = self.scoped_body(scope, true, &["endfor", "else"])?;
        let otherwise = match end {
            "else" => self.inner_body("endfor")?,
            _ => Body { scope: 0, statements: Vec::new() },
        };
        self.loops_open -= 1;
        self.program.loops.push(For { target, items, test, recursive, body, otherwise });
        Ok(StmtKind::For(self.program.loops.len() - 1))
    }

    /// Notes what is done to the variables of a target.
    fn mention(&mut self, target: &Target, note: fn(&mut Scopes, Symbol)) {
        match target {
            Target::Name(symbol) => note(&mut self.scopes, *symbol),
            Target::Attribute(object, _) => self.scopes.mention(*object),
            Target::Tuple(targets) => targets.iter().for_each(|target| self.mention(target, note)),
        }
    }

    fn sets_loop(&self, target: &Target) -> bool {
        match target {
            Target::Name(symbol) => &*self.program.names[symbol.0 as usize] == "loop",
            Target::Attribute(..) => false,
            Target::Tuple(targets) => targets.iter().any(|target| self.sets_loop(target)),
        }
    }

    fn block(&mut self, line: u32) -> Result<StmtKind> {
        let name = self.identifier()?;
        let scoped = self.take_name("scoped");
        let required = self.take_name("required");
        let scope = self.scopes.apart();
        let (body, _) = self.scoped_body(scope, false, &["endblock"])?;
        self.take_name(name);
        let name = self.symbol(name);
        if !self.blocks.insert(name) {
            return Err(Error::syntax(line, "a block is defined twice"));
        }
        self.program.blocks.push(Block { name, scoped, required, body });
        Ok(StmtKind::Block(self.program.blocks.len() - 1))
    }

    /// Reads a tag that needs other templates.
    fn foreign(&mut self, tag: &str) -> Result<StmtKind> {
        self.expression()?;
        while *self.peek() != Token::BlockEnd {
            if *self.peek() == Token::End {
                return self.unexpected("`%}`");
            }
            if let Token::Name(name) = *self.peek() {
                self.note(name, Use::Set);
            }
            self.at += 1;
        }
        let tags = ["include", "extends", "import", "from"];
        Ok(StmtKind::Foreign(tags.into_iter().find(|known| *known == tag).unwrap_or_default()))
    }

    /// The parameters of a macro with that scope, in brackets.
    fn parameters(&mut self, scope: usize) -> Result<Vec<(Symbol, Option<Expr>)>> {
        let outer = self.scopes.go(scope);
        self.expect_sign("(")?;
        let mut parameters: Vec<(Symbol, Option<Expr>)> = Vec::new();
        let mut names = HashSet::new();
        while !self.is_sign(")") {
            if !parameters.is_empty() {
                self.expect_sign(",")?;
            }
            let name = self.new_name()?;
            self.scopes.mention(name);
            let default = if self.take_sign("=") { Some(self.expression()?) } else { None };
            if default.is_none() && matches!(parameters.last(), Some((_, Some(_)))) {
                return self.error("a parameter without a value follows one with a value");
            }
            if !names.insert(name) {
                return self.error("two parameters have one name");
            }
            parameters.push((name, default));
        }
        self.expect_sign(")")?;
        self.scopes.go(outer);
        Ok(parameters)
    }

    fn macro_body(
        &mut self,
        name: Option<Symbol>,
        parameters: Vec<(Symbol, Option<Expr>)>,
        scope: usize,
        end: &'static str,
    ) -> Result<usize> {
        self.specials.push(Special::default());
        let (body, _) = self.scoped_body(scope, false, &[end])?;
        let used = self.specials.pop().unwrap_or_default();
        let has = |name: &str| parameters.iter().any(|(symbol, _)| &*self.program.names[symbol.0 as usize] == name);
        let uses = Special {
            caller: used.caller == Use::Read && !has("caller"),
            kwargs: used.kwargs == Use::Read && !has("kwargs"),
            varargs: used.varargs == Use::Read && !has("varargs"),
        };
        self.program.macros.push(Macro { name, parameters, body, uses });
        Ok(self.program.macros.len() - 1)
    }

    /// A name that is given a value.
    fn new_name(&mut self) -> Result<Symbol> {
        let name = self.identifier()?;
        if is_literal(name) {
            return self.error(format_args!("`{name}` cannot be given a value"));
        }
        self.note(name, Use::Set);
        Ok(self.symbol(name))
    }

    /// What is assigned to; attributes of namespaces are if `attributes`.
    fn target(&mut self, attributes: bool) -> Result<Target> {
        let mut targets = Vec::new();
        let mut tuple = false;
        loop {
            if self.is_tuple_end() {
                break;
            }
            targets.push(self.deeper(|parser| parser.single_target(attributes))?);
            if !self.take_sign(",") {
                break;
            }
            tuple = true;
        }
        match targets.pop() {
            None => self.unexpected("a name"),
            Some(target) if !tuple => Ok(target),
            Some(last) => {
                targets.push(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    fn single_target(&mut self, attributes: bool) -> Result<Target> {
        if self.take_sign("(") {
            let target = self.target(attributes)?;
            self.expect_sign(")")?;
            return Ok(target);
        }
        if self.take_sign("[") {
            return self.error("values are taken apart with `(` and `)`");
        }
        if attributes && matches!(self.peek(), Token::Name(_)) && *self.peek_second() == Token::Sign(".") {
            let object = self.identifier()?;
            self.note(object, Use::Read);
            self.expect_sign(".")?;
            let attribute = self.identifier()?;
            return Ok(Target::Attribute(self.symbol(object), self.symbol(attribute)));
        }
        self.new_name().map(Target::Name)
    }
}

fn is_literal(name: &str) -> bool {
    matches!(name, "true" | "True" | "false" | "False" | "none" | "None")
}
