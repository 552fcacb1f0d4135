//! What the model reads: rows of tokens and embeddings, each at its position.

use super::rope::Position;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// One position of the input: what stands there, and where it is.
#[derive(Clone, Debug)]
pub struct InputRow {
    /// What stands there.
    pub input: Input,
    /// Position on the t, h and w axes; all equal for text.
    pub position: Position,
}

/// What stands at a position of the input.
#[derive(Clone, Debug)]
pub enum Input {
    /// A token of the vocabulary.
    Token(u32),
    /// An embedding row `[n_embd]` from elsewhere: the vision tower.
    Embedding(Embedding),
}

/// A row of embeddings, which are shared: a clone copies none of them.
#[derive(Clone)]
pub struct Embedding {
    rows: Arc<[f32]>,
    start: usize,
    len: usize,
}

impl Embedding {
    /// The rows of embeddings `[n, n_embd]`, in their order; what is left behind the last whole one is none.
    ///
    /// # Panics
    /// If `n_embd` is 0.
    pub fn rows_of(rows: &Arc<[f32]>, n_embd: usize) -> impl Iterator<Item = Embedding> {
        let whole = move |i| Embedding { rows: Arc::clone(rows), start: i * n_embd, len: n_embd };
        (0..rows.len() / n_embd).map(whole)
    }
}

impl Deref for Embedding {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.rows[self.start..self.start + self.len]
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
