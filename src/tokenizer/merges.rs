//! The merges: which two neighbouring tokens become which one, and in what order of precedence.

use super::Error;
use super::hash::{self, Seed};
use super::vocab::{Index, Vocab};
use crate::gguf::Note;

/// A merge that applies to some pair. The lower rank goes first; ranks are distinct, so the derived order is by rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Merge {
    /// Place in the list of merges.
    pub rank: u32,
    /// What the pair becomes.
    pub token: u32,
}

impl Merge {
    /// Stands for a pair that does not merge; later than every merge.
    pub const NONE: Self = Self { rank: u32::MAX, token: u32::MAX };
}

#[derive(Clone, Copy)]
struct Slot {
    left: u32,
    right: u32,
    merge: Merge,
}

/// Pair of tokens → merge: open addressing over one flat table, at most half full.
pub struct Merges {
    seed: Seed,
    /// The length is a power of two; a slot is free where its merge is [`Merge::NONE`].
    slots: Vec<Slot>,
}

impl Merges {
    /// Reads the merges, each two token texts with a blank between them. One of or to a token that is not in the vocabulary
    /// can never apply: it is ignored, and `notes` says so.
    pub fn new<'a>(
        merges: impl ExactSizeIterator<Item = &'a [u8]>,
        vocab: &Vocab,
        index: &Index<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, Error> {
        if merges.len() == 0 {
            return Err(Error::NoMerges);
        }
        let n_merges = merges.len();
        let n_slots = (n_merges * 2).next_power_of_two();
        if u32::try_from(n_slots).is_err() {
            return Err(Error::TooLarge);
        }
        let mut table =
            Self { seed: Seed::new(), slots: vec![Slot { left: 0, right: 0, merge: Merge::NONE }; n_slots] };
        let mut joined = Vec::new();
        let mut ignored = Ignored::default();
        // Vocabularies list tokens in the order of the merges that make them, so the next token is nearly always the
        // wanted one, and looking there costs less than a search.
        let mut expected = 256;
        for (text, rank) in merges.zip(0..) {
            let Some(blank) = text.iter().position(|&byte| byte == b' ') else {
                ignored.add(rank, text, "is not two tokens with a blank between them");
                continue;
            };
            let (left, right) = (&text[..blank], &text[blank + 1..]);
            let token_is_expected = vocab.text(expected).is_some_and(|token| {
                token.as_bytes().split_at_checked(blank).is_some_and(|halves| halves == (left, right))
            });
            let token = if token_is_expected {
                Some(expected)
            } else {
                joined.clear();
                joined.extend_from_slice(left);
                joined.extend_from_slice(right);
                index.get(&joined)
            };
            let Some(token) = token else {
                ignored.add(rank, text, "makes a token that is not in the vocabulary");
                continue;
            };
            expected = token + 1;
            match (index.get(left), index.get(right)) {
                (Some(left), Some(right)) => table.insert(left, right, Merge { rank, token }),
                _ => ignored.add(rank, text, "joins a token that is not in the vocabulary"),
            }
        }
        match ignored.n {
            0 => {}
            n if n == n_merges => return Err(Error::NoMerge { n }),
            _ => notes.extend(ignored.note()),
        }
        Ok(table)
    }

    /// Of two merges of the same pair the first counts.
    fn insert(&mut self, left: u32, right: u32, merge: Merge) {
        let slot = self.slot(left, right);
        if self.slots[slot].merge == Merge::NONE {
            self.slots[slot] = Slot { left, right, merge };
        }
    }

    /// The merge of a pair, or [`Merge::NONE`].
    #[inline]
    pub fn get(&self, left: u32, right: u32) -> Merge {
        self.slots[self.slot(left, right)].merge
    }

    /// The slot of a pair, or the free one where it would go.
    #[inline]
    fn slot(&self, left: u32, right: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash::slot(self.seed.hash_pair(left, right), self.slots.len());
        loop {
            let slot = &self.slots[at];
            if (slot.left == left && slot.right == right) || slot.merge == Merge::NONE {
                return at;
            }
            at = (at + 1) & mask;
        }
    }
}

/// Merges that are ignored: how many, and the first.
#[derive(Default)]
struct Ignored {
    n: usize,
    first: Option<(u32, String, &'static str)>,
}

impl Ignored {
    fn add(&mut self, rank: u32, text: &[u8], problem: &'static str) {
        self.n += 1;
        self.first.get_or_insert_with(|| (rank, String::from_utf8_lossy(text).escape_debug().to_string(), problem));
    }

    fn note(self) -> Option<Note> {
        let (rank, text, problem) = self.first?;
        let what = match self.n {
            1 => format!("merge {rank} of tokenizer.ggml.merges"),
            n => format!("merge {rank} of tokenizer.ggml.merges (and {} more)", n - 1),
        };
        Some(Note { what, why: format!("\"{text}\" {problem}") })
    }
}
