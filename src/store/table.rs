//! Short names of models, and the repositories they stand for.

use super::name::Repo;

/// Names and repositories, the first of a name preferred. The ones of unsloth are those that the model lists and install
/// scripts of several programs name, the one of ggml-org is named by llama.cpp's README (looked up in November 2026).
const TABLE: [(&str, &str); 5] = [
    ("qwen3.5:0.8b", "unsloth/Qwen3.5-0.8B-GGUF"),
    ("qwen3.5:0.8b", "ggml-org/Qwen3.5-0.8B-GGUF"),
    ("qwen3.5:2b", "unsloth/Qwen3.5-2B-GGUF"),
    ("qwen3.5:4b", "unsloth/Qwen3.5-4B-GGUF"),
    ("qwen3.5:9b", "unsloth/Qwen3.5-9B-GGUF"),
];

/// The repositories that a name stands for.
pub fn repos(name: &str) -> Vec<Repo> {
    let named = TABLE.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.filter_map(|(_, repo)| Repo::new(repo)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_stand_for_repositories() {
        for (name, repo) in TABLE {
            assert!(repos(name).iter().any(|found| found.id() == repo), "{name}");
        }
        assert_eq!(repos("qwen3.5:70b"), []);
    }
}
