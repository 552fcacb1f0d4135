//! What can be wrong with a GGUF file, in words a user can act on.

use std::path::{Path, PathBuf};

/// An error of opening or reading a GGUF file. Byte offsets count from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error in the file at `path`.
    #[error("{}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<Error>,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A directory, pipe or device was given.
    #[error("not a regular file, so it cannot be mapped (expected a GGUF file)")]
    NotAFile,
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: {}expected the magic \"GGUF\" at byte 0, found \"{}\"",
        is.map_or(String::new(), |is| format!("{is}; ")), found.escape_ascii())]
    Magic {
        /// The first bytes of the file, four at most.
        found: Vec<u8>,
        /// What the file is, where its first bytes tell, and what to do.
        is: Option<&'static str>,
    },
    /// A version other than 2 or 3.
    #[error("GGUF version {found} is not supported: expected 2 or 3")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// A file written for a machine of the other byte order.
    #[error("big-endian GGUF file: expected little-endian")]
    BigEndian,
    /// The file ends inside its header.
    #[error(
        "the file ends too early: byte {at}: expected {wanted} more bytes for {what}, found {left}; \
         is the download complete?"
    )]
    Truncated {
        /// Offset of the thing being read.
        at: usize,
        /// The thing being read.
        what: &'static str,
        /// Bytes it needs.
        wanted: u64,
        /// Bytes there are.
        left: u64,
    },
    /// A count or a length no valid file has.
    #[error("byte {at}: {what} is {found}: expected {limit} at most")]
    TooLarge {
        /// Offset of the number.
        at: usize,
        /// What it counts.
        what: &'static str,
        /// The number.
        found: u64,
        /// The largest accepted number.
        limit: u64,
    },
    /// A key or tensor name that is not UTF-8, or empty, or too long.
    #[error("byte {at}: {what} {problem}")]
    Name {
        /// Offset of the name.
        at: usize,
        /// `key` or `tensor name`.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value type id that does not exist, or an array of arrays.
    #[error("byte {at}: key {key}: value type {found} is not supported: expected {expected}")]
    ValueType {
        /// Offset of the type id.
        at: usize,
        /// The key.
        key: String,
        /// The id.
        found: u32,
        /// The ids that would be accepted.
        expected: &'static str,
    },
    /// Two keys or two tensors of one name.
    #[error("byte {at}: {what} {name} occurs twice")]
    Duplicate {
        /// Offset of the second one.
        at: usize,
        /// `key` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// `general.alignment` is no power of two.
    #[error("key general.alignment: expected a power of two from 1 to 65536, found {found}")]
    Alignment {
        /// The value.
        found: u64,
    },
    /// A key holds a value of another type than its meaning needs.
    #[error("key {key}: expected {expected}, found {found}")]
    WrongType {
        /// The key.
        key: String,
        /// The type, or range, that was asked for.
        expected: &'static str,
        /// The type, or value, in the file.
        found: String,
    },
    /// A tensor type id that no version of GGUF in use defines, or that was removed.
    #[error("tensor {tensor}{}: type {id} is {problem}", others(more))]
    TensorType {
        /// The first tensor of the type.
        tensor: String,
        /// The type id.
        id: u32,
        /// `unknown`, or the name of a removed type and what to use in its place.
        problem: String,
        /// The other tensors of the type.
        more: Vec<String>,
    },
    /// A shape that cannot be: too many dimensions, an empty one, a size that overflows, a row of no whole number of
    /// blocks.
    #[error("byte {at}: tensor {tensor}: {problem}")]
    TensorShape {
        /// Offset of the tensor's entry.
        at: usize,
        /// The tensor.
        tensor: String,
        /// What is wrong, with expected and found.
        problem: String,
    },
    /// A tensor whose bytes are misaligned, outside the file, or shared with another tensor.
    #[error("tensor {tensor}: {problem}")]
    TensorData {
        /// The tensor.
        tensor: String,
        /// What is wrong, with expected and found.
        problem: String,
    },
    /// The files of a split model do not belong together.
    #[error("split model: {0}")]
    Split(String),
}

impl Error {
    /// Names the file the error is in.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::InFile { .. } => self,
            error => Self::InFile { path: path.to_owned(), source: Box::new(error) },
        }
    }

    /// The error itself, without the name of the file.
    pub fn kind(&self) -> &Error {
        match self {
            Self::InFile { source, .. } => source.kind(),
            error => error,
        }
    }
}

/// The names of further tensors, in words: not all, where there are many.
fn others(names: &[String]) -> String {
    const MOST: usize = 4;
    match names {
        [] => String::new(),
        all if all.len() <= MOST => format!(" (and {})", all.join(", ")),
        all => format!(" (and {}, and {} more)", all[..MOST].join(", "), all.len() - MOST),
    }
}
