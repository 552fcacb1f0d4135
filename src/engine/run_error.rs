//! What a caller can ask of a runner that it cannot do.

use super::sequence::NotLogged;
use crate::model::kv_type::HeadSize;
use crate::model::pages::OutOfPages;

/// Why a runner did nothing. What sequences had before is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no room for so many tokens.
    #[error("the context holds {n_ctx} tokens; {n_past} are in it and {n} more do not fit")]
    Full {
        /// Positions there is room for.
        n_ctx: usize,
        /// Positions taken.
        n_past: usize,
        /// Positions wanted.
        n: usize,
    },
    /// All sequences together are longer than there is room for.
    #[error("the memory for keys and values is full: {0}")]
    OutOfPages(#[from] OutOfPages),
    /// There is nothing to read.
    #[error("a batch of no tokens: expected one or more")]
    EmptyBatch,
    /// More than the settings allow at once.
    #[error("a batch of {n} tokens: expected {n_batch} or fewer")]
    BatchTooLarge {
        /// Tokens of the batch.
        n: usize,
        /// Tokens there may be.
        n_batch: usize,
    },
    /// More outputs than tokens.
    #[error("{want} outputs of a batch of {n} tokens: expected {n} or fewer")]
    TooManyOutputs {
        /// Outputs wanted.
        want: usize,
        /// Tokens of the batch.
        n: usize,
    },
    /// Checkpoints that are not inside the rows of a pass, or not in order.
    #[error("checkpoints inside a batch of {n} tokens: expected ascending numbers between 0 and {n}")]
    Checkpoints {
        /// Tokens of the batch.
        n: usize,
    },
    /// A token that the model does not have.
    #[error("token {id} is not in the vocabulary of {n_vocab} rows")]
    Token {
        /// The token.
        id: u32,
        /// Rows of the vocabulary.
        n_vocab: usize,
    },
    /// An embedding, or hidden states, of another width than the model's.
    #[error("{found} values, expected {expected}: rows as wide as the model")]
    Width {
        /// Values given.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// Settings by which nothing could be read.
    #[error("batches of 0 tokens: expected 1 or more")]
    NoBatch,
    /// Keys and values cannot be stored as the settings say.
    #[error(transparent)]
    HeadSize(#[from] HeadSize),
    /// Drafts were asked for and not enabled.
    #[error("drafts are not enabled")]
    NoDrafts,
    /// Rows cannot be taken back.
    #[error(transparent)]
    NotLogged(#[from] NotLogged),
    /// A weight that does not stay in memory could not be read when it was used. Of this error alone sequences do not survive: what
    /// they remember was computed without it.
    #[error("a weight cannot be read from the model's file: {0}")]
    Weights(std::io::ErrorKind),
    /// A sequence that another runner made.
    #[error("the sequence is another runner's: expected one of this runner")]
    Foreign,
}
