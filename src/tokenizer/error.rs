//! What can be wrong with the tokenizer of a file.

use crate::gguf;

/// Why a file's tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Error {
    /// The file has a key of another type than expected.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    #[error("the file has no `{key}`")]
    Missing { key: &'static str },
    #[error("`{key}` is {found:?}; supported: \"{supported}\"")]
    Unsupported { key: &'static str, found: String, supported: &'static str },
    #[error("the vocabulary has no tokens")]
    NoTokens,
    #[error("the vocabulary has no merges: without `tokenizer.ggml.merges` text cannot be encoded")]
    NoMerges,
    #[error("{tokens} tokens, but {types} token types")]
    TypeCount { tokens: usize, types: usize },
    #[error("token {id} has type {found}; expected 1 to 6")]
    Type { id: usize, found: i32 },
    #[error("the text of token {id} is not UTF-8")]
    NotUtf8 { id: usize },
    #[error("the vocabulary has no token for the byte 0x{byte:02x}")]
    NoByte { byte: u8 },
    #[error("none of the {n} merges joins tokens of the vocabulary: `tokenizer.ggml.merges` is that of another one")]
    NoMerge { n: usize },
    #[error("the vocabulary does not fit 32-bit ids and offsets")]
    TooLarge,
}
