//! What a sound GGUF file is when it is not a model: files that lie beside models and are taken for one.

use super::config::ARCHITECTURES;
use crate::gguf::Gguf;

/// What a GGUF file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A text model of the architecture this program runs.
    Model,
    /// A model of another architecture, or what does not say what it is.
    OtherArchitecture,
    /// A vision tower.
    VisionTower,
    /// A vocabulary without weights.
    Vocabulary,
    /// Statistics of activations, as quantisers use them.
    ImportanceMatrix,
    /// A low-rank adapter.
    Lora,
    /// A control vector.
    ControlVector,
    /// A block for multi-token prediction, without the trunk it belongs to.
    DraftBlock,
}

impl FileKind {
    /// What `gguf` holds, by its keys and the names of its tensors.
    pub fn of(gguf: &Gguf) -> FileKind {
        let text = |key| gguf.string(key).ok().flatten().unwrap_or_default();
        let architecture = text("general.architecture");
        let any = |end: &str| gguf.tensors().any(|tensor| tensor.name.ends_with(end));
        let begins = |start: &str| gguf.tensors().any(|tensor| tensor.name.starts_with(start));
        match text("general.type") {
            "imatrix" => return FileKind::ImportanceMatrix,
            "adapter" => return FileKind::Lora,
            "mmproj" => return FileKind::VisionTower,
            _ => {}
        }
        match architecture {
            "clip" => FileKind::VisionTower,
            "controlvector" => FileKind::ControlVector,
            _ if any(".lora_a") && !begins("token_embd.weight") || !text("adapter.type").is_empty() => FileKind::Lora,
            _ if any(".in_sum2") => FileKind::ImportanceMatrix,
            _ if gguf.n_tensors() == 0 && gguf.get("tokenizer.ggml.tokens").is_some() => FileKind::Vocabulary,
            other if !ARCHITECTURES.contains(&other) => FileKind::OtherArchitecture,
            _ if !begins("blk.0.") && any(".nextn.eh_proj.weight") => FileKind::DraftBlock,
            _ => FileKind::Model,
        }
    }

    /// What it is and what it is good for, as the end of a sentence; `None` of a model, and of what is not known.
    pub fn describe(self) -> Option<&'static str> {
        Some(match self {
            FileKind::Model | FileKind::OtherArchitecture => return None,
            FileKind::VisionTower => "a vision tower, which is given beside the text model it belongs to",
            FileKind::Vocabulary => {
                "a vocabulary without weights, which serves to tokenize and to render templates alone"
            }
            FileKind::ImportanceMatrix => {
                "an importance matrix (imatrix): statistics that guide the making of quantised files; the model is in \
                 another file"
            }
            FileKind::Lora => {
                "a LoRA adapter, which changes a model and is none: merge it into the model it was trained on (for \
                 example with llama-export-lora) and run the result"
            }
            FileKind::ControlVector => "a control vector, which changes a model and is none; it is not supported",
            FileKind::DraftBlock => {
                "a multi-token-prediction block alone, which drafts for a model: the trunk is in another file"
            }
        })
    }
}
