//! The settings that the model cards recommend; the files themselves carry none.

use super::Settings;

/// Sizes of the series that behave alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizeClass {
    /// 0.8B and 2B: they answer without thinking unless told to.
    Small,
    /// 4B and 9B: they think first unless told not to.
    Large,
}

/// What the model is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    /// Whether it thinks before it answers.
    pub thinking: bool,
    /// Whether it is shown pictures.
    pub vision: bool,
}

impl SizeClass {
    /// The class of a model by the width of its residual stream: 1024 (0.8B), 2048 (2B), 2560 (4B), 4096 (9B).
    pub fn of(n_embd: usize) -> Self {
        if n_embd < 2560 { Self::Small } else { Self::Large }
    }

    /// Whether models of this class think unless told otherwise.
    pub fn thinks_by_default(self) -> bool {
        self == Self::Large
    }

    /// The recommended settings. What the cards say of 0.8B is taken to hold for 2B, and of 4B for 9B; the card of 4B
    /// names none for pictures.
    pub fn settings(self, mode: Mode) -> Settings {
        let (temperature, top_p, presence_penalty) = match (self, mode.thinking, mode.vision) {
            (Self::Small, false, false) => (1.0, 1.0, 2.0),
            (Self::Small, true, true) => (0.6, 0.95, 0.0),
            (_, true, _) => (1.0, 0.95, 1.5),
            (_, false, _) => (0.7, 0.8, 1.5),
        };
        Settings { temperature, top_p, top_k: 20, presence_penalty, ..Settings::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_the_cards() {
        let of = |class: SizeClass, thinking, vision| {
            let s = class.settings(Mode { thinking, vision });
            assert_eq!((s.top_k, s.min_p, s.frequency_penalty, s.repetition_penalty), (20, 0.0, 0.0, 1.0));
            (s.temperature, s.top_p, s.presence_penalty)
        };
        assert_eq!(of(SizeClass::Small, false, false), (1.0, 1.0, 2.0));
        assert_eq!(of(SizeClass::Small, false, true), (0.7, 0.8, 1.5));
        assert_eq!(of(SizeClass::Small, true, false), (1.0, 0.95, 1.5));
        assert_eq!(of(SizeClass::Small, true, true), (0.6, 0.95, 0.0));
        assert_eq!(of(SizeClass::Large, true, false), (1.0, 0.95, 1.5));
        assert_eq!(of(SizeClass::Large, false, false), (0.7, 0.8, 1.5));
    }

    #[test]
    fn small_models_answer_at_once_and_large_ones_think() {
        assert_eq!([1024, 2048, 2560, 4096].map(|n| SizeClass::of(n).thinks_by_default()), [false, false, true, true]);
    }
}
