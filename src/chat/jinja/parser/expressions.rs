//! Expressions.

use super::{Parser, Use};
use crate::chat::jinja::error::{Error, Quoted, Result};
use crate::chat::jinja::lexer::Token;
use crate::chat::jinja::syntax::{Arguments, Comparison, Condition, Constant, Expr, Operator, Step};
use crate::chat::jinja::{filters, predicates};
use std::collections::HashSet;

impl<'s> Parser<'s> {
    pub(super) fn is_tuple_end(&self) -> bool {
        matches!(self.peek(), Token::PrintEnd | Token::BlockEnd | Token::Sign(")"))
    }

    /// Expressions with commas between them are a tuple, a single one is itself.
    pub(super) fn tuple(&mut self, conditions: bool, brackets: bool) -> Result<Expr> {
        let mut items = Vec::new();
        let mut tuple = false;
        while !self.is_tuple_end() {
            items.push(if conditions { self.expression()? } else { self.deeper(Self::or)? });
            if !self.take_sign(",") {
                break;
            }
            tuple = true;
        }
        match items.pop() {
            Some(item) if !tuple => Ok(item),
            Some(last) => {
                items.push(last);
                Ok(Expr::Tuple(items))
            }
            None if brackets => Ok(Expr::Tuple(items)),
            None => self.unexpected("an expression"),
        }
    }

    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.deeper(Self::condition)
    }

    fn condition(&mut self) -> Result<Expr> {
        let unknown = self.unknown.len();
        let mut then = self.or()?;
        let mut conditions = 0;
        while self.take_name("if") {
            // Each holds those before it.
            conditions += 1;
            if conditions > 10 {
                return self.error("there are too many conditions in a row");
            }
            self.unknown.truncate(unknown);
            let in_loop = self.in_loop;
            let (test, otherwise) = self.around(in_loop, true, |parser| {
                let test = parser.or()?;
                let otherwise = if parser.take_name("else") { Some(parser.expression()?) } else { None };
                Ok((test, otherwise))
            })?;
            then = Expr::If(Box::new(Condition { test, then, otherwise }));
        }
        Ok(then)
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        if !self.is_name("or") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_name("or") {
            items.push(self.and()?);
        }
        Ok(Expr::Or(items))
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.not()?;
        if !self.is_name("and") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_name("and") {
            items.push(self.not()?);
        }
        Ok(Expr::And(items))
    }

    fn not(&mut self) -> Result<Expr> {
        if self.take_name("not") {
            return Ok(Expr::Not(Box::new(self.deeper(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let operator = match *self.peek() {
                Token::Sign("==") => Comparison::Equal,
                Token::Sign("!=") => Comparison::NotEqual,
                Token::Sign("<") => Comparison::Less,
                Token::Sign("<=") => Comparison::LessOrEqual,
                Token::Sign(">") => Comparison::Greater,
                Token::Sign(">=") => Comparison::GreaterOrEqual,
                Token::Name("in") => Comparison::In,
                Token::Name("not") if *self.peek_second() == Token::Name("in") => {
                    self.at += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((operator, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    /// Operators of one precedence.
    fn chain(&mut self, operators: &[(&str, Operator)], operand: fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.is_sign(sign)) {
            self.at += 1;
            rest.push((*operator, operand(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.chain(&[("+", Operator::Add), ("-", Operator::Subtract)], Self::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_sign("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_sign("~") {
            items.push(self.product()?);
        }
        Ok(Expr::Concat(items))
    }

    fn product(&mut self) -> Result<Expr> {
        let operators = [
            ("*", Operator::Multiply),
            ("/", Operator::Divide),
            ("//", Operator::FloorDivide),
            ("%", Operator::Remainder),
        ];
        self.chain(&operators, Self::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.chain(&[("**", Operator::Power)], |parser| parser.unary(true))
    }

    fn unary(&mut self, filters: bool) -> Result<Expr> {
        let value = if self.take_sign("-") {
            Expr::Negative(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else if self.take_sign("+") {
            Expr::Positive(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let mut steps = Vec::new();
        self.subscripts(&mut steps)?;
        if filters {
            loop {
                if self.is_sign("|") {
                    self.filter_steps(&mut steps, false)?;
                } else if self.is_name("is") {
                    let test = self.test()?;
                    steps.push(test);
                } else if self.is_sign("(") {
                    steps.push(Step::Call(self.arguments()?));
                } else {
                    break;
                }
            }
        }
        Ok(path(value, steps))
    }

    fn primary(&mut self) -> Result<Expr> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(match name {
                    "true" | "True" => self.constant(Constant::Bool(true)),
                    "false" | "False" => self.constant(Constant::Bool(false)),
                    "none" | "None" => self.constant(Constant::None),
                    name => {
                        self.note(name, Use::Read);
                        let symbol = self.symbol(name);
                        self.scopes.mention(symbol);
                        self.program.variables.insert(symbol);
                        Expr::Name(symbol)
                    }
                })
            }
            Token::Text(mut text) => {
                self.at += 1;
                while let Token::Text(more) = self.peek() {
                    text += more;
                    self.at += 1;
                }
                Ok(self.constant(Constant::Text(text)))
            }
            Token::Int(value) => {
                self.at += 1;
                Ok(self.constant(Constant::Int(value)))
            }
            Token::Float(value) => {
                self.at += 1;
                Ok(self.constant(Constant::Float(value)))
            }
            Token::Sign("(") => {
                self.at += 1;
                let value = self.tuple(true, true)?;
                self.expect_sign(")")?;
                Ok(value)
            }
            Token::Sign("[") => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.is_sign("]") {
                    items.push(self.expression()?);
                    if !self.take_sign(",") {
                        break;
                    }
                }
                self.expect_sign("]")?;
                Ok(Expr::List(items))
            }
            Token::Sign("{") => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.is_sign("}") {
                    let key = self.expression()?;
                    self.expect_sign(":")?;
                    items.push((key, self.expression()?));
                    if !self.take_sign(",") {
                        break;
                    }
                }
                self.expect_sign("}")?;
                Ok(Expr::Dict(items))
            }
            _ => self.unexpected("an expression"),
        }
    }

    /// `.name`, `[item]` and `(arguments)`, as many as there are.
    fn subscripts(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        loop {
            if self.take_sign(".") {
                let step = match self.peek().clone() {
                    Token::Name(name) => Step::Attribute(self.symbol(name)),
                    Token::Int(value) => Step::Item(self.constant(Constant::Int(value))),
                    _ => return self.unexpected("a name or a number"),
                };
                self.at += 1;
                steps.push(step);
            } else if self.take_sign("[") {
                steps.push(self.subscript()?);
            } else if self.is_sign("(") {
                steps.push(Step::Call(self.arguments()?));
            } else {
                return Ok(());
            }
        }
    }

    /// What is in square brackets after a value.
    fn subscript(&mut self) -> Result<Step> {
        let mut items = Vec::new();
        let mut slice = None;
        while !self.is_sign("]") {
            if !items.is_empty() || slice.is_some() {
                self.expect_sign(",")?;
            }
            let start = if self.is_sign(":") { None } else { Some(self.expression()?) };
            if !self.take_sign(":") {
                items.extend(start);
                continue;
            }
            let part = |parser: &mut Self| {
                let none = matches!(parser.peek(), Token::Sign(":" | "]" | ","));
                if none { Ok(None) } else { parser.expression().map(|part| Some(Box::new(part))) }
            };
            let stop = part(self)?;
            let step = if self.take_sign(":") { part(self)? } else { None };
            slice = Some(Step::Slice([start.map(Box::new), stop, step]));
        }
        self.expect_sign("]")?;
        match slice {
            Some(slice) if items.is_empty() => Ok(slice),
            Some(_) => self.error("slices in several dimensions are not supported"),
            None if items.len() == 1 => Ok(Step::Item(items.swap_remove(0))),
            None => Ok(Step::Item(Expr::Tuple(items))),
        }
    }

    /// The filters that follow, onto `value`.
    pub(super) fn filters(&mut self, value: Expr, inline: bool) -> Result<Expr> {
        let mut steps = Vec::new();
        self.filter_steps(&mut steps, inline)?;
        Ok(path(value, steps))
    }

    /// Filters with `|` before each; the first has none if it is `inline`.
    fn filter_steps(&mut self, steps: &mut Vec<Step>, mut inline: bool) -> Result<()> {
        while inline || self.take_sign("|") {
            inline = false;
            let line = self.line();
            let name = self.dotted_name()?;
            let arguments = if self.is_sign("(") { self.arguments()? } else { Arguments::default() };
            let step = match name.and_then(filters::find) {
                Some(number) => Step::Filter(number, arguments),
                None => self.unknown_step("filter", name, line),
            };
            steps.push(step);
        }
        Ok(())
    }

    /// The name of a filter or a test; none if it has dots, as no known one has.
    fn dotted_name(&mut self) -> Result<Option<&'s str>> {
        let mut name = Some(self.identifier()?);
        while self.take_sign(".") {
            self.identifier()?;
            name = None;
        }
        Ok(name)
    }

    fn unknown_step(&mut self, what: &'static str, name: Option<&'s str>, line: u32) -> Step {
        let name = name.unwrap_or("of that name");
        if !self.may_skip {
            self.unknown.push((line, format!("there is no {what} {}", Quoted(name))));
        }
        Step::Unknown(what, self.symbol(name))
    }

    fn test(&mut self) -> Result<Step> {
        let line = self.line();
        self.expect_name("is")?;
        let negated = self.take_name("not");
        let name = self.dotted_name()?;
        let argument = match self.peek() {
            Token::Name(name) => !matches!(*name, "else" | "or" | "and"),
            Token::Text(_) | Token::Int(_) | Token::Float(_) => true,
            Token::Sign(sign) => matches!(*sign, "[" | "{"),
            _ => false,
        };
        let mut arguments = Arguments::default();
        if self.is_sign("(") {
            arguments = self.arguments()?;
        } else if argument {
            if self.is_name("is") {
                return self.error("tests do not follow each other");
            }
            let value = self.deeper(Self::primary)?;
            let mut steps = Vec::new();
            self.subscripts(&mut steps)?;
            arguments.positional.push(path(value, steps));
        }
        Ok(match name.and_then(predicates::find) {
            Some(number) => Step::Test { number, negated, arguments },
            None => self.unknown_step("test", name, line),
        })
    }

    fn arguments(&mut self) -> Result<Arguments> {
        let line = self.line();
        let disorder = || Err(Error::syntax(line, "the arguments of a call are out of order"));
        self.expect_sign("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        let mut names = HashSet::new();
        while !self.is_sign(")") {
            if !first {
                self.expect_sign(",")?;
                if self.is_sign(")") {
                    break;
                }
            }
            first = false;
            if self.take_sign("*") {
                if arguments.more.is_some() || arguments.more_named.is_some() {
                    return disorder();
                }
                arguments.more = Some(Box::new(self.expression()?));
            } else if self.take_sign("**") {
                if arguments.more_named.is_some() {
                    return disorder();
                }
                arguments.more_named = Some(Box::new(self.expression()?));
            } else if let Token::Name(name) = *self.peek()
                && *self.peek_second() == Token::Sign("=")
            {
                if arguments.more_named.is_some() {
                    return disorder();
                }
                self.at += 2;
                let name = self.symbol(name);
                if !names.insert(name) {
                    return Err(Error::syntax(line, "an argument is given twice"));
                }
                arguments.named.push((name, self.expression()?));
            } else {
                if arguments.more.is_some() || arguments.more_named.is_some() || !arguments.named.is_empty() {
                    return disorder();
                }
                arguments.positional.push(self.expression()?);
            }
        }
        self.expect_sign(")")?;
        Ok(arguments)
    }
}

/// A value with steps after it.
fn path(value: Expr, steps: Vec<Step>) -> Expr {
    if steps.is_empty() { value } else { Expr::Path(Box::new(value), steps) }
}
