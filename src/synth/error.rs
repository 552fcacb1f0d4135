//! What can be wrong with a vocabulary that is to be packed, unpacked or put into a model.

use crate::gguf;

/// An error of the vocabulary of a synthetic model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container's own errors.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// A key without which there is no vocabulary.
    #[error("the file has no vocabulary (key {key})")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// Arrays that contradict each other, or that the packed form cannot hold.
    #[error("{0}")]
    Vocabulary(String),
    /// Bytes that are no packed vocabulary.
    #[error("not a packed vocabulary: {0}")]
    Packed(String),
}
