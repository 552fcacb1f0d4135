//! How much thinking is wanted.

use serde::Deserialize;

/// How much thinking is wanted, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::serve) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// What a client says of thinking.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(in crate::serve) struct ThinkingWish {
    /// Whether there is to be any; the model's own way where nothing is said.
    pub on: Option<bool>,
    /// Most tokens of it.
    pub budget: Option<usize>,
}

impl Effort {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// Whether to think, and most tokens of it.
    pub fn wish(self) -> ThinkingWish {
        let (on, budget) = match self {
            Effort::None => (false, None),
            Effort::Minimal => (true, Some(512)),
            Effort::Low => (true, Some(2048)),
            Effort::Medium => (true, Some(8192)),
            Effort::High | Effort::Xhigh | Effort::Max => (true, None),
        };
        ThinkingWish { on: Some(on), budget }
    }
}
