//! Which variables a scope hides.
//!
//! In the reference a template is compiled to Python, where a variable belongs to a scope as a whole. A variable that a
//! scope sets before it mentions it otherwise, and that no scope around it mentions, is a new one from the beginning of
//! the scope: what is read earlier, in the body of a loop or of a macro, is undefined, even if the template was given a
//! variable of that name.
//!
//! What is set in a branch of an `if` does not count, since the branch may not be taken.

use super::syntax::Symbol;
use std::collections::HashSet;

/// The scopes of a template, as they are read.
pub struct Scopes {
    scopes: Vec<Scope>,
    current: usize,
}

#[derive(Default)]
struct Scope {
    parent: Option<usize>,
    mentioned: HashSet<Symbol>,
    /// Variables whose first mention sets them.
    set_first: Vec<Symbol>,
    /// Branches that are open.
    branches: usize,
}

impl Scopes {
    /// The outermost scope, which has the number 0.
    pub fn new() -> Self {
        Self { scopes: vec![Scope::default()], current: 0 }
    }

    /// A new scope inside of the present one; returns its number.
    pub fn inside(&mut self) -> usize {
        self.add(Some(self.current))
    }

    /// A new scope that sees no other.
    pub fn apart(&mut self) -> usize {
        self.add(None)
    }

    fn add(&mut self, parent: Option<usize>) -> usize {
        self.scopes.push(Scope { parent, ..Scope::default() });
        self.scopes.len() - 1
    }

    /// Goes to a scope; returns the number of the one before.
    pub fn go(&mut self, scope: usize) -> usize {
        std::mem::replace(&mut self.current, scope)
    }

    /// Opens a branch of the present scope, or closes one.
    pub fn branch(&mut self, open: bool) {
        let branches = &mut self.scopes[self.current].branches;
        *branches = if open { *branches + 1 } else { *branches - 1 };
    }

    /// Notes that a variable is read, or that it is a parameter.
    pub fn mention(&mut self, symbol: Symbol) {
        self.scopes[self.current].mentioned.insert(symbol);
    }

    /// Notes that a variable is set.
    pub fn set(&mut self, symbol: Symbol) {
        let scope = &mut self.scopes[self.current];
        if scope.mentioned.insert(symbol) && scope.branches == 0 {
            scope.set_first.push(symbol);
        }
    }

    /// The variables that each scope hides.
    pub fn hidden(self) -> Vec<Vec<Symbol>> {
        let mentioned_around = |scope: &Scope, symbol: &Symbol| {
            let mut parent = scope.parent;
            while let Some(at) = parent {
                if self.scopes[at].mentioned.contains(symbol) {
                    return true;
                }
                parent = self.scopes[at].parent;
            }
            false
        };
        let hidden =
            |scope: &Scope| scope.set_first.iter().copied().filter(|symbol| !mentioned_around(scope, symbol)).collect();
        self.scopes.iter().map(hidden).collect()
    }
}
