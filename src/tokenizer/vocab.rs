//! The vocabulary: the text and the type of every token, and the search for a token by its text.

use super::Error;
use super::alphabet;
use super::hash::{self, Seed};

/// What a token is for, as `tokenizer.ggml.token_type` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenType {
    /// Made by byte-pair merges; its text is in the byte alphabet.
    Normal,
    /// Stands for input that no other token covers; byte-level vocabularies have none.
    Unknown,
    /// Steers the model (`<|im_end|>`). Never made from what a user wrote.
    Control,
    /// A word of its own (`<think>`), found in any text and always printed.
    UserDefined,
    /// Padding of the table; the model has a row for it, and it means nothing.
    Unused,
    /// One byte, of vocabularies that are not byte-level.
    Byte,
}

impl TokenType {
    fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// Texts and types of all tokens.
pub struct Vocab {
    /// All texts, one after the other, as the file has them.
    texts: String,
    /// End of every text in `texts`.
    ends: Vec<u32>,
    types: Vec<TokenType>,
}

impl Vocab {
    /// Copies the vocabulary; `texts` and `types` have one entry a token.
    pub fn new<'a>(texts: impl ExactSizeIterator<Item = &'a [u8]>, types: &[i32]) -> Result<Self, Error> {
        if texts.len() != types.len() {
            return Err(Error::TypeCount { tokens: texts.len(), types: types.len() });
        }
        let mut bytes = Vec::with_capacity(texts.len().saturating_mul(12));
        let mut ends = Vec::with_capacity(texts.len());
        for text in texts {
            bytes.extend_from_slice(text);
            ends.push(u32::try_from(bytes.len()).map_err(|_| Error::TooLarge)?);
        }
        let of_number = |(id, &number)| TokenType::from_number(number).ok_or(Error::Type { id, found: number });
        let types = types.iter().enumerate().map(of_number).collect::<Result<Vec<_>, _>>()?;

        // One check of all texts at once, then one of every cut, says the same as a check of each.
        let texts = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            Error::NotUtf8 { id: ends.partition_point(|&end| end as usize <= offset) }
        })?;
        if let Some(id) = ends.iter().position(|&end| !texts.is_char_boundary(end as usize)) {
            return Err(Error::NotUtf8 { id });
        }
        let mut vocab = Self { texts, ends, types };
        vocab.find_padding();
        Ok(vocab)
    }

    /// Ollama's converter fills the table up with words `[PAD0]`, `[PAD1]`, ...: at its end these are padding as any other.
    fn find_padding(&mut self) {
        let padding = |text: &str| {
            let number = text.strip_prefix("[PAD").and_then(|text| text.strip_suffix(']'));
            number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        for id in (0..self.len()).rev() {
            match self.types[id] {
                TokenType::Unused => {}
                TokenType::UserDefined if self.text(id as u32).is_some_and(padding) => {
                    self.types[id] = TokenType::Unused;
                }
                _ => break,
            }
        }
    }

    /// Number of tokens, padding included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a token as the file has it.
    pub fn text(&self, id: u32) -> Option<&str> {
        let end = *self.ends.get(id as usize)? as usize;
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] as usize };
        Some(&self.texts[start..end])
    }

    /// The type of a token.
    pub fn token_type(&self, id: u32) -> Option<TokenType> {
        self.types.get(id as usize).copied()
    }

    /// Appends the bytes that a token stands for: nothing for padding and for ids outside the vocabulary.
    pub fn push_bytes(&self, id: u32, out: &mut Vec<u8>) {
        match (self.text(id), self.token_type(id)) {
            (Some(text), Some(TokenType::Normal)) => alphabet::decode(text, out),
            (None, _) | (_, None | Some(TokenType::Unused)) => {}
            (Some(text), _) => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// All tokens with their texts and types, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str, TokenType)> {
        let mut start = 0;
        self.ends.iter().zip(&self.types).zip(0..).map(move |((&end, &ty), id)| {
            let text = &self.texts[start..end as usize];
            start = end as usize;
            (id, text, ty)
        })
    }
}

/// Finds tokens by their text: open addressing over one flat table, at most half full.
///
/// It serves while a tokenizer is being made; afterwards merges go by id.
pub struct Index<'a> {
    vocab: &'a Vocab,
    seed: Seed,
    /// Upper half of the hash, then id + 1; 0 is free. The length is a power of two.
    slots: Vec<u64>,
}

impl<'a> Index<'a> {
    /// Indexes every token that merges may name. Of tokens with the same text the first counts.
    pub fn new(vocab: &'a Vocab) -> Self {
        let seed = Seed::new();
        let mut index = Self { vocab, seed, slots: vec![0; (vocab.len() * 2).next_power_of_two()] };
        for (id, text, ty) in vocab.iter() {
            if ty != TokenType::Unused {
                let hash = seed.hash(text.as_bytes());
                if let Err(free) = index.probe(hash, |id| vocab.text(id) == Some(text)) {
                    index.slots[free] = tag(hash) | u64::from(id + 1);
                }
            }
        }
        index
    }

    /// The token with this text.
    pub fn get(&self, text: &[u8]) -> Option<u32> {
        let same = |id| self.vocab.text(id).is_some_and(|found| found.as_bytes() == text);
        self.probe(self.seed.hash(text), same).ok()
    }

    /// The id that `same` accepts, or the slot where it would go.
    fn probe(&self, hash: u64, same: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash::slot(hash, self.slots.len());
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return Err(slot);
            }
            let id = entry as u32 - 1;
            if tag(entry) == tag(hash) && same(id) {
                return Ok(id);
            }
            slot = (slot + 1) & mask;
        }
    }
}

fn tag(hash: u64) -> u64 {
    hash & !u64::from(u32::MAX)
}
