//! What of this machine's memory the weights of a model may take, when it is chosen by name alone.

/// Bytes that a context of 8,192 tokens takes beside the weights of the two smaller and of the two larger models: keys and
/// values in f16, states, buffers of batches of 512, and the program. The plan of the 0.8B says 304 MB; those of the 2B, 4B
/// and 9B, at 32,768 tokens in q8_0, come to 0.3, 0.6 and 0.7 GB.
const BESIDE: [u64; 2] = [350_000_000, 700_000_000];

/// Bytes that weights may take of `free` bytes of memory, so that 8,192 tokens of context fit beside them. `name` says which
/// size of model it is; one of an unknown size is taken for a large one.
pub fn weights_within(free: u64, name: &str) -> u64 {
    let name = name.to_ascii_lowercase();
    let is = |size: &str| {
        name.match_indices(size).any(|(at, _)| {
            let ends = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '.');
            ends(name[..at].chars().next_back()) && ends(name[at + size.len()..].chars().next().filter(|&c| c != '.'))
        })
    };
    let small = is("0.8b") || is("2b");
    free.saturating_sub(BESIDE[usize::from(!small)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_model_needs_more_beside_its_weights() {
        let gb = 1_000_000_000;
        for name in ["unsloth/Qwen3.5-0.8B-GGUF:Q8_0", "Qwen3.5-2B-Q4_K_M.gguf", "qwen3.5:2b"] {
            assert_eq!(weights_within(gb, name), 650_000_000, "{name}");
        }
        for name in ["unsloth/Qwen3.5-4B-GGUF", "m.gguf", "Qwen-12B", "Qwen3.2B"] {
            assert_eq!(weights_within(gb, name), 300_000_000, "{name}");
        }
        assert_eq!(weights_within(1, "x"), 0);
    }
}
