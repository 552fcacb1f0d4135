//! The guard against loops: what is done about an answer that goes round in circles.
//!
//! In the thinking, the mark that ends it becomes more likely with every token of the loop; a model that does not take the
//! hint has its thinking ended as by a budget. In the answer, the loop is its end. The guard acts by the tokens that
//! were chosen alone: the same answer comes with drafts and without, alone and in company.

use crate::sampler::loops::{LoopDetector, Token};
use crate::tokenizer::Tokenizer;

/// What is added to the logit of the ending mark, for every token since the loop was told.
const HINT: f32 = 0.5;

/// Tokens after which the thinking is ended.
const HINTS: usize = 48;

/// What is to be done before the next token is chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Advice {
    /// Nothing.
    GoOn,
    /// The mark that ends the thinking is so much more likely.
    Hint(f32),
    /// The thinking, or the answer, is to be ended.
    End,
}

/// Follows the tokens of an answer.
pub struct LoopGuard {
    /// None where nothing is guarded.
    detector: Option<LoopDetector>,
    thinks: bool,
    /// Tokens in a row that stood in a loop.
    n: usize,
}

impl LoopGuard {
    /// A guard, or one that never advises anything.
    pub fn new(is_on: bool) -> LoopGuard {
        LoopGuard { detector: is_on.then(LoopDetector::default), thinks: false, n: 0 }
    }

    /// Takes the token that was chosen, which belongs to the thinking or to the answer; between the two it begins anew.
    pub fn take(&mut self, id: u32, thinks: bool, tokenizer: &Tokenizer) {
        let Some(detector) = &mut self.detector else { return };
        if self.thinks != thinks {
            (*detector, self.thinks, self.n) = (LoopDetector::default(), thinks, 0);
        }
        self.n = if detector.push(token_of(tokenizer, id)) { self.n + 1 } else { 0 };
    }

    /// What is to be done now.
    pub fn advice(&self) -> Advice {
        match self.n {
            0 => Advice::GoOn,
            n if self.thinks && n < HINTS => Advice::Hint(HINT * n as f32),
            _ => Advice::End,
        }
    }
}

/// What the guard knows of a token.
pub fn token_of(tokenizer: &Tokenizer, id: u32) -> Token {
    // The text of the vocabulary has a character for every byte.
    let n_bytes = tokenizer.token_text(id).map_or(0, |text| text.chars().count());
    Token::new(id, &tokenizer.decode(&[id]), n_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::synth::{Dims, Options, Quant, Size, Synth};

    fn tokenizer() -> Tokenizer {
        let options = Options { dims: Dims::of(Size::Tiny), quant: Quant::Q8_0, mtp: false, newer: false, seed: 1 };
        Tokenizer::from_gguf(&Gguf::from_bytes(Synth::text(&options).to_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn thinking_is_pressed_to_its_end_and_an_answer_ended() {
        let tokenizer = tokenizer();
        let mut guard = LoopGuard::new(true);
        let mut hints = Vec::new();
        while guard.advice() != Advice::End {
            guard.take(65, true, &tokenizer);
            hints.extend(match guard.advice() {
                Advice::Hint(hint) => Some(hint),
                Advice::GoOn | Advice::End => None,
            });
        }
        assert!(hints.is_sorted() && hints.len() == HINTS - 1 && hints.last() > Some(&20.0));
        // The answer is another text.
        for _ in 0..200 {
            guard.take(65, false, &tokenizer);
            assert_eq!(guard.advice(), Advice::GoOn);
        }
        (0..100).for_each(|_| guard.take(65, false, &tokenizer));
        assert_eq!(guard.advice(), Advice::End);

        let mut off = LoopGuard::new(false);
        (0..1000).for_each(|_| off.take(65, true, &tokenizer));
        assert_eq!(off.advice(), Advice::GoOn);
    }

    #[test]
    fn words_and_bytes_are_those_of_the_text() {
        let tokenizer = tokenizer();
        let of = |text: &str| token_of(&tokenizer, tokenizer.encode(text, crate::tokenizer::Special::Parse)[0]);
        assert!(of("7").count.is_some() && of("é").n_bytes <= 2 && !of("\n").is_word);
        assert_eq!((of("a").n_bytes, of("\n").n_bytes), (1, 1));
    }
}
