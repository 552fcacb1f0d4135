//! What can be wrong with a model file, beyond its container.

use super::FileKind;
use crate::gguf;

/// A file that is a sound GGUF but not a model this program can run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container's own errors: a key of the wrong type, a broken array.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// Another architecture.
    #[error(
        "architecture {found:?} is not supported; supported: \"qwen35\" (Qwen3.5 0.8B to 27B) and \"qwen35moe\" (35B-A3B and its kind)"
    )]
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
    /// A tensor that is no part of the computation, and that would change its result.
    #[error("tensor {} is {what}{}: {advice}", name.escape_debug(), others(*more))]
    Unused {
        /// The tensor's name.
        name: String,
        /// What it seems to be.
        what: &'static str,
        /// What to do.
        advice: &'static str,
        /// How many more there are.
        more: usize,
    },
    /// A model's keys without weights.
    #[error("the file holds no tensors: expected the weights of a model")]
    NoTensors,
}

impl Error {
    /// The error about a tensor that nobody asked for, and `more` like it.
    pub(crate) fn unused(name: &str, more: usize) -> Error {
        let known = UNUSED.iter().find(|(part, ..)| match part.strip_prefix('*') {
            Some(ending) => name.ends_with(ending),
            None => name.contains(part),
        });
        let (_, what, advice) = *known.unwrap_or(&(
            "",
            "not known here, and answers without it would be wrong",
            "take a file of a plain Qwen3.5 model, as llama.cpp's or Ollama's converter writes it",
        ));
        Error::Unused { name: name.to_owned(), what, advice, more }
    }
}

/// What tensors that no plain Qwen3.5 model has are, by the end (after a `*`) or a part of their names, and what to do.
const UNUSED: &[(&str, &str, &str)] = &[
    (
        "*.input_scale",
        "a factor on a product's input (as of FP8 and NVFP4), which is not applied here",
        "take another quantisation of this model, such as Q4_K_M or Q8_0",
    ),
    (
        "*.scale",
        "a factor on a product (as of FP8 and NVFP4), which is not applied here",
        "take another quantisation of this model, such as Q4_K_M or Q8_0",
    ),
    (
        "rope_f",
        "factors on the rotary frequencies, which are not applied here",
        "take a file without them; this model stretches its context with YaRN alone",
    ),
    (".lora_", "a part of a LoRA adapter", "take a file into which the adapter has been merged"),
    ("_exps.", "a part of a mixture of experts", "take one of the dense models"),
    ("ffn_gate_inp", "a part of a mixture of experts", "take one of the dense models"),
    ("deepstack", "a part of the deep-stack layers of Qwen3-VL", "take the vision file of a Qwen3.5 model"),
    (
        "*.bias",
        "a bias that Qwen3.5 does not have, and answers without it would be wrong",
        "take a file of a plain Qwen3.5 model, as llama.cpp's or Ollama's converter writes it",
    ),
];

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " (and there is another one like it)".to_owned(),
        n => format!(" (and there are {n} more like it)"),
    }
}

fn supported_types() -> String {
    kernels::Format::ALL.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ")
}
