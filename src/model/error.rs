//! What can be wrong with a model file, beyond its container.

use super::FileKind;
use crate::gguf;

/// A file that is a sound GGUF but not a model this program can run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's own errors: a key of the wrong type, a broken array.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// Another architecture.
    #[error("architecture {found:?} is not supported; supported: \"qwen35\" (Qwen3.5 0.8B, 2B, 4B, 9B)")]
    Architecture {
        /// The value of `general.architecture`.
        found: String,
    },
    /// What lies beside models and is none.
    #[error("not a model: the file is {}", .0.describe().unwrap_or("of another kind"))]
    NotAModel(FileKind),
    /// A key without which the model cannot be computed.
    #[error("the file has no key {key}")]
    MissingKey {
        /// The full key.
        key: String,
    },
    /// A key whose value makes no sense, alone or beside the others.
    #[error("key {key}: found {found}, expected {expected}")]
    Key {
        /// The full key.
        key: String,
        /// What would be right.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A tensor the architecture needs.
    #[error("the file has no tensor {name} (expected shape {expected:?}, slowest dimension first)")]
    MissingTensor {
        /// The tensor's name.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the hyper-parameters imply.
    #[error("tensor {name}: found shape {found:?}, expected {expected:?} (slowest dimension first)")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor of a type there are no kernels for.
    #[error("tensor {name}: type {found} is not supported; supported: {}", supported_types())]
    TensorType {
        /// The tensor's name.
        name: String,
        /// The type's name.
        found: String,
    },
    /// A model's keys without weights.
    #[error("the file holds no tensors: expected the weights of a model")]
    NoTensors,
}

fn supported_types() -> String {
    kernels::Format::ALL.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ")
}
