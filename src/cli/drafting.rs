//! The option that says how tokens are drafted, and the report of what came of it.

use anyhow::Context as _;
use qwen_edge::engine::draft::{Draft, Drafts, MOST_BLOCK, Tally};
use qwen_edge::gguf::Gguf;
use serde_json::{Value, json};
use std::path::Path;

/// The file that `--draft-model` names, if it was given.
pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Option<Gguf>> {
    path.map(|path| Gguf::open(path).with_context(|| path.display().to_string())).transpose()
}

/// The mode that `--draft` names.
pub(super) fn parse(text: &str) -> Result<Draft, String> {
    match text {
        "auto" => Ok(Draft::Auto),
        "off" | "0" => Ok(Draft::Off),
        n => match n.parse() {
            Ok(n @ 1..=MOST_BLOCK) => Ok(Draft::Fixed(n)),
            _ => Err(format!("expected auto, off, or 1 to {MOST_BLOCK}")),
        },
    }
}

/// What drafting did, for `--json`.
pub(super) fn report(drafts: &Drafts) -> Value {
    let of = |tally: Tally| json!({"drafted": tally.drafted, "accepted": tally.accepted});
    json!({"block": of(drafts.block), "copy": of(drafts.copy), "passes": drafts.passes})
}

/// What drafting did, as a part of a sentence; nothing if it did nothing.
pub(super) fn told(drafts: &Drafts) -> Option<String> {
    let of = |tally: Tally, name: &str| {
        (tally.drafted > 0).then(|| format!("{} of {} {name}", tally.accepted, tally.drafted))
    };
    let parts: Vec<String> =
        [of(drafts.block, "drafts"), of(drafts.copy, "copied drafts")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{} accepted", parts.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_words_or_small_numbers() {
        assert_eq!((parse("auto"), parse("off"), parse("0")), (Ok(Draft::Auto), Ok(Draft::Off), Ok(Draft::Off)));
        assert_eq!(parse("3"), Ok(Draft::Fixed(3)));
        for wrong in ["", "9", "-1", "on"] {
            assert_eq!(parse(wrong), Err("expected auto, off, or 1 to 8".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn only_what_was_drafted_is_told() {
        let mut drafts = Drafts::default();
        assert_eq!(told(&drafts), None);
        drafts.copy = Tally { drafted: 9, accepted: 7 };
        assert_eq!(told(&drafts).unwrap(), "7 of 9 copied drafts accepted");
        drafts.block = Tally { drafted: 5, accepted: 2 };
        assert_eq!(told(&drafts).unwrap(), "2 of 5 drafts and 7 of 9 copied drafts accepted");
    }
}
