//! Constraints in a build without them: the names by which the rest of the program speaks of one, and no value of any.

/// What answers keep to.
#[derive(Clone, Copy, Debug)]
pub enum Grammar {}

impl Grammar {
    /// Tokens of the shortest answer.
    pub fn n_shortest(&self) -> usize {
        match *self {}
    }

    /// The constraint of one answer.
    pub fn constraint(&self) -> Constraint {
        match *self {}
    }
}

/// Follows one answer.
#[derive(Debug)]
pub enum Constraint {}

/// What may come next.
#[derive(Debug)]
pub enum Allowed {
    /// This token.
    One(u32),
    /// One of several.
    Set(TokenSet),
}

/// Tokens of a vocabulary.
#[derive(Debug)]
pub enum TokenSet {}

impl TokenSet {
    /// Takes all other tokens out of `logits [n_vocab]`.
    pub fn keep(&self, _logits: &mut [f32]) {
        match *self {}
    }
}

/// An answer cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Lost {}

impl Constraint {
    /// Allows a token too in place of the answer's first.
    pub fn leave_by(&mut self, _id: u32) {
        match *self {}
    }

    /// Whether the answer keeps to nothing.
    pub fn is_left(&self) -> bool {
        match *self {}
    }

    /// What may come next.
    ///
    /// # Errors
    /// None.
    pub fn allowed(&mut self) -> Result<Allowed, Lost> {
        match *self {}
    }

    /// Takes a token.
    ///
    /// # Errors
    /// None.
    pub fn take(&mut self, _id: u32, _room: usize) -> Result<u32, Lost> {
        match *self {}
    }

    /// The tokens that must come next.
    pub fn forced(&mut self) -> Vec<u32> {
        match *self {}
    }

    /// Whether the answer can only end here.
    pub fn is_complete(&self) -> bool {
        match *self {}
    }

    /// Whether the answer may end here.
    pub fn may_end(&self) -> bool {
        match *self {}
    }
}
