//! Added tokens: those that are found in the text itself, before anything else is done to it.

use std::collections::HashMap;

/// Which added tokens a text may contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// What a user wrote: control tokens are text like any other; words such as `<think>` are still tokens.
    None,
    /// Trusted text, such as that of a template: control tokens are recognised.
    Parse,
}

#[derive(Clone, Copy)]
struct Token {
    id: u32,
    control: bool,
}

/// The added tokens of a vocabulary.
pub struct Added {
    by_text: HashMap<Box<str>, Token>,
    /// The lengths in bytes that occur, longest first.
    lengths: Vec<usize>,
    /// Whether a token starts with this byte.
    starts: [bool; 256],
}

/// A part of a text.
pub enum Segment<'a> {
    /// Ordinary text.
    Text(&'a str),
    /// An added token.
    Token(u32),
}

impl Added {
    /// The tokens given by text, id and whether they control the model. Of equal texts the first counts.
    pub fn new<'a>(tokens: impl Iterator<Item = (&'a str, u32, bool)>) -> Self {
        let mut added = Self { by_text: HashMap::new(), lengths: Vec::new(), starts: [false; 256] };
        for (text, id, control) in tokens {
            if let Some(&first) = text.as_bytes().first() {
                added.starts[usize::from(first)] = true;
                added.lengths.push(text.len());
                added.by_text.entry(text.into()).or_insert(Token { id, control });
            }
        }
        added.lengths.sort_unstable_by(|a, b| b.cmp(a));
        added.lengths.dedup();
        added
    }

    /// The id of the added token with this text.
    pub fn get(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).map(|token| token.id)
    }

    /// Cuts `text` at the added tokens that it may contain, from the left, the longest first.
    ///
    /// No control token starts at an offset in `literal`, which ascends.
    pub fn split<'a>(
        &'a self,
        text: &'a str,
        special: Special,
        literal: &'a [usize],
    ) -> impl Iterator<Item = Segment<'a>> {
        let mut at = 0;
        let mut found = None;
        std::iter::from_fn(move || {
            if found.is_none() {
                found = self.find(text, at, special, literal);
            }
            let start = found.map_or(text.len(), |(start, ..)| start);
            if at < start {
                let segment = Segment::Text(&text[at..start]);
                at = start;
                return Some(segment);
            }
            let (_, id, end) = found.take()?;
            at = end;
            Some(Segment::Token(id))
        })
    }

    /// Start, id and end of the first added token at `from` or later.
    fn find(&self, text: &str, from: usize, special: Special, literal: &[usize]) -> Option<(usize, u32, usize)> {
        let mut candidates = (from..text.len()).filter(|&start| self.starts[usize::from(text.as_bytes()[start])]);
        candidates.find_map(|start| {
            let control = special == Special::Parse && literal.binary_search(&start).is_err();
            // A byte that starts a token starts a character, so this cuts between characters.
            self.longest_at(&text[start..], control).map(|(id, len)| (start, id, start + len))
        })
    }

    /// Id and length of the longest token that `text` starts with.
    fn longest_at(&self, text: &str, control: bool) -> Option<(u32, usize)> {
        self.lengths.iter().find_map(|&len| {
            let token = self.by_text.get(text.get(..len)?)?;
            (control || !token.control).then_some((token.id, len))
        })
    }
}
