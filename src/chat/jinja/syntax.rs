//! The tree of a template.
//!
//! Chains of operators and of subscripts are lists rather than nests, so that the depth of a tree is that of the
//! brackets and tags of its source, which the parser bounds.

use super::int::Int;
use std::collections::HashSet;

/// A name of the source, as its place in [`Program::names`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Symbol(pub u32);

/// A compiled template.
#[derive(Debug, Default)]
pub struct Program {
    pub names: Vec<Box<str>>,
    pub constants: Vec<Constant>,
    pub body: Vec<Stmt>,
    pub macros: Vec<Macro>,
    pub loops: Vec<For>,
    pub blocks: Vec<Block>,
    /// The variables that each scope hides; see [`super::scopes`].
    pub hidden: Vec<Vec<Symbol>>,
    /// Names that stand for variables, rather than for attributes, somewhere.
    pub variables: HashSet<Symbol>,
}

impl Program {
    /// Whether what the template makes can depend on a variable of this name that it is given.
    pub fn reads(&self, name: &str) -> bool {
        let is_of_its_own = |symbol: &Symbol| self.hidden[0].contains(symbol);
        let mut read = self.variables.iter().filter(|symbol| !is_of_its_own(symbol));
        read.any(|symbol| &*self.names[symbol.0 as usize] == name)
    }
}

/// Statements in a scope of their own.
#[derive(Debug)]
pub struct Body {
    /// Into [`Program::hidden`].
    pub scope: usize,
    pub statements: Vec<Stmt>,
}

#[derive(Debug)]
pub enum Constant {
    None,
    Bool(bool),
    Int(Int),
    Float(f64),
    Text(String),
}

#[derive(Debug)]
pub struct Stmt {
    pub line: u32,
    pub kind: StmtKind,
}

#[derive(Debug)]
pub enum StmtKind {
    Text(Box<str>),
    Print(Expr),
    /// The branches, then what is done if none is taken.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    /// Into [`Program::loops`].
    For(usize),
    Set(Target, Expr),
    /// The text of the body, after its filters; [`Expr::Captured`] stands for it.
    SetBlock(Target, Expr, Body),
    With(Vec<(Target, Expr)>, Body),
    /// Into [`Program::macros`].
    Macro(Symbol, usize),
    /// A call with a body, which is the macro `caller`.
    Call(Expr, usize),
    /// As [`StmtKind::SetBlock`], printed.
    Filter(Expr, Body),
    /// Into [`Program::blocks`].
    Block(usize),
    /// A call without arguments, into [`Program::macros`].
    Generation(usize),
    AutoEscape(Expr, Body),
    Break,
    Continue,
    /// A tag that needs other templates.
    Foreign(&'static str),
}

#[derive(Debug)]
pub struct Macro {
    /// None for the body of a call.
    pub name: Option<Symbol>,
    /// Parameters, and the values of those that have one. The last ones do.
    pub parameters: Vec<(Symbol, Option<Expr>)>,
    pub body: Body,
    /// Whether the body uses these special variables.
    pub uses: Special<bool>,
}

/// The variables that a macro has beside its parameters.
#[derive(Debug, Default, Clone, Copy)]
pub struct Special<T> {
    pub caller: T,
    pub kwargs: T,
    pub varargs: T,
}

#[derive(Debug)]
pub struct For {
    pub target: Target,
    pub items: Expr,
    pub test: Option<Expr>,
    pub recursive: bool,
    pub body: Body,
    pub otherwise: Body,
}

#[derive(Debug)]
pub struct Block {
    pub name: Symbol,
    /// Whether it sees the variables around it.
    pub scoped: bool,
    pub required: bool,
    pub body: Body,
}

/// What a value is assigned to.
#[derive(Debug)]
pub enum Target {
    Name(Symbol),
    /// An attribute of a namespace.
    Attribute(Symbol, Symbol),
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub enum Expr {
    /// Into [`Program::constants`].
    Constant(u32),
    Name(Symbol),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// A value and what is done with it, one after the other.
    Path(Box<Expr>, Vec<Step>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Not(Box<Expr>),
    /// Operators of one precedence, from the left.
    Chain(Box<Expr>, Vec<(Operator, Expr)>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    If(Box<Condition>),
    /// The text of the body of a filter or a set block.
    Captured,
}

#[derive(Debug)]
pub struct Condition {
    pub test: Expr,
    pub then: Expr,
    pub otherwise: Option<Expr>,
}

#[derive(Debug)]
pub enum Step {
    Attribute(Symbol),
    Item(Expr),
    Slice([Option<Box<Expr>>; 3]),
    Call(Arguments),
    /// A filter of the table, by its number.
    Filter(usize, Arguments),
    Test {
        number: usize,
        negated: bool,
        arguments: Arguments,
    },
    /// A filter or a test that there is not; an error where it is used.
    Unknown(&'static str, Symbol),
}

#[derive(Debug, Default)]
pub struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Symbol, Expr)>,
    /// `*items`
    pub more: Option<Box<Expr>>,
    /// `**dict`
    pub more_named: Option<Box<Expr>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
