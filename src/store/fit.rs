//! What of this machine's memory the weights of a model may take, when it is chosen by name alone.

use crate::engine::plan::{Load, Plan};
use crate::engine::runner::{DEFAULT_BATCH, Settings};
use crate::model::kv_type::KvType;
use crate::platform::machine;
use crate::synth::{Dims, Size};

/// Tokens of context that are to fit beside the weights.
pub const CONTEXT: usize = 8_192;

/// The published sizes.
const SIZES: [Size; 6] = [Size::B0_8, Size::B2, Size::B4, Size::B9, Size::B27, Size::B35A3];

/// Which of them a model is taken for whose name says none: the 9B, and few are larger.
const USUAL: usize = 3;

/// The memory there is, and what models take of it beside their weights.
///
/// Before a file is fetched only its name and its bytes are known. The name tells the size of the model, and the size all that
/// the plan counts beside weights: keys and values in f16, states and two checkpoints of them, buffers for batches of the usual
/// length, threads. Drafts and pictures are left out, for the plan gives them up first. All bytes of the file count as weights,
/// also those of an embedding that is not the head, of which a token reads one row: of the 9B more is asked for than it needs.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes of memory that are free, where the system says that.
    pub free: Option<u64>,
    /// Bytes beside the weights, of each of [`SIZES`].
    beside: [u64; SIZES.len()],
}

/// Bytes that a model of these dimensions takes beside its weights.
fn beside(dims: &Dims, threads: usize) -> u64 {
    let config = dims.config();
    let load = Load::without_weights(&config, dims.n_vocab, threads);
    let settings = Settings { n_ctx: CONTEXT, n_sequence: 1, n_batch: DEFAULT_BATCH, kv: KvType::F16, n_checkpoint: 2 };
    Plan::unlimited(&load, settings).total()
}

/// Which of [`SIZES`] a name says.
fn size(name: &str) -> usize {
    let name = name.to_ascii_lowercase();
    let is = |size: &Size| {
        let label = Dims::of(*size).label.to_ascii_lowercase();
        name.match_indices(&label).any(|(at, _)| {
            let ends = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '.');
            let behind = name[at + label.len()..].chars().next().filter(|&c| c != '.');
            ends(name[..at].chars().next_back()) && ends(behind)
        })
    };
    SIZES.iter().position(is).unwrap_or(USUAL)
}

impl Room {
    /// What this machine has.
    pub fn of_machine() -> Room {
        Room::of(machine::free_memory().map(|(free, _)| free), machine::performance_cores())
    }

    /// The room in `free` bytes of memory, for so many threads.
    pub fn of(free: Option<u64>, threads: usize) -> Room {
        Room { free, beside: SIZES.map(|size| beside(&Dims::of(size), threads)) }
    }

    /// Bytes that the model of that name takes beside its weights, with [`CONTEXT`] tokens of context.
    pub fn beside(&self, name: &str) -> u64 {
        self.beside[size(name)]
    }

    /// Bytes that its weights may take.
    pub fn for_weights(&self, name: &str) -> u64 {
        self.free.map_or(u64::MAX, |free| free.saturating_sub(self.beside(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_what_the_name_says() {
        for (name, is) in [
            ("unsloth/Qwen3.5-0.8B-GGUF:Q8_0", 0),
            ("Qwen3.5-2B-Q4_K_M.gguf", 1),
            ("qwen3.5:2b", 1),
            ("unsloth/Qwen3.5-4B-GGUF", 2),
            ("ollama:qwen3.5:9b", 3),
            ("Qwen3.5-27B-Q4_K_M.gguf", 4),
            ("unsloth/Qwen3.5-35B-A3B-GGUF", 5),
            ("m.gguf", 3),
            ("Qwen-12B", 3),
            ("Qwen3.2B", 3),
        ] {
            assert_eq!(size(name), is, "{name}");
        }
    }

    #[test]
    fn weights_may_take_what_is_free_beside_the_rest() {
        let room = Room::of(Some(8_000_000_000), 4);
        for name in ["qwen3.5:0.8b", "qwen3.5:9b"] {
            assert_eq!(room.for_weights(name) + room.beside(name), 8_000_000_000);
        }
        assert!(room.beside("x-9b") > room.beside("x-4b") && room.beside("x-4b") > room.beside("x-0.8b"));
        assert_eq!((Room::of(Some(1), 4).for_weights("x"), Room::of(None, 4).for_weights("x")), (0, u64::MAX));
    }
}
