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
    /// The word that was used.
    pub effort: Option<Effort>,
}

impl ThinkingWish {
    /// Thinking or none, and nothing said of how much.
    pub fn of(on: bool) -> ThinkingWish {
        ThinkingWish { on: Some(on), ..ThinkingWish::default() }
    }

    /// Most tokens of thinking, where a template has no levels for the word.
    pub fn most(&self) -> Option<usize> {
        self.budget.or_else(|| self.effort.and_then(Effort::budget))
    }
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

    /// Whether to think, and how hard.
    pub fn wish(self) -> ThinkingWish {
        ThinkingWish { on: Some(self != Effort::None), budget: None, effort: Some(self) }
    }

    /// Most tokens of thinking.
    fn budget(self) -> Option<usize> {
        match self {
            Effort::Minimal => Some(512),
            Effort::Low => Some(2048),
            Effort::Medium => Some(8192),
            Effort::None | Effort::High | Effort::Xhigh | Effort::Max => None,
        }
    }
}
