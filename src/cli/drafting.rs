//! The options that say how tokens are drafted, and the report of what came of it.

use anyhow::Context as _;
use clap::Args;
use qwen_edge::engine::draft::{Draft, Drafts, MOST_BLOCK, Tally};
use qwen_edge::gguf::Gguf;
use serde_json::{Value, json};
use std::path::PathBuf;

/// How tokens are drafted.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Drafting")]
pub struct Drafting {
    /// Guess tokens ahead: auto does as far as that is faster, a number is that many guesses of the model's own block in
    /// every pass, off is none. The text is the same
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = parse)]
    pub draft: Draft,

    /// GGUF file that has the model's block for multi-token prediction, where the model's own lacks it (mtp-NAME.gguf)
    #[arg(long, value_name = "FILE")]
    draft_model: Option<PathBuf>,
}

impl Drafting {
    /// Whether a file is named.
    #[cfg(feature = "serve")]
    pub(super) fn has_file(&self) -> bool {
        self.draft_model.is_some()
    }

    /// The file that `--draft-model` names, if it was given.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn file(&self) -> anyhow::Result<Option<Gguf>> {
        let open = |path: &PathBuf| Gguf::open(path).with_context(|| path.display().to_string());
        self.draft_model.as_ref().map(open).transpose()
    }
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
