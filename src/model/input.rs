//! What the model reads: rows of tokens and embeddings, each at its position.

use super::rope::Position;

/// One position of the input: what stands there, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct InputRow<'a> {
    /// What stands there.
    pub input: Input<'a>,
    /// Position on the t, h and w axes; all equal for text.
    pub position: Position,
}

/// What stands at a position of the input.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A token of the vocabulary.
    Token(u32),
    /// An embedding row `[n_embd]` from elsewhere: the vision tower.
    Embedding(&'a [f32]),
}
