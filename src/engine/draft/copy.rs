//! Copying from the context: where the longest end of a text has stood before, what followed there is a guess at what follows.
//!
//! Two tokens that stand side by side lead to the places where they did before, the latest first. The places are chained
//! through the text, and a table of the latest has as many slots as there are tokens, so that an index takes some 30 bytes a
//! token and another token one step.

/// Places that are looked at for one guess, the latest ones.
const PLACES: usize = 32;

/// A match is followed back so far.
const LONGEST: usize = 32;

/// No token: what is no text, such as a row of a picture.
const NONE: u32 = u32::MAX;

/// No place.
const NOWHERE: u32 = u32::MAX;

/// Bytes of an index for each token of its text, at most: the text, the chain and the table, each with room to grow.
pub const BYTES_A_TOKEN: usize = 8 + 8 + 16;

/// A text, and where its pairs of neighbours stand.
#[derive(Clone, Default, Debug)]
pub struct CopyIndex {
    ids: Vec<u32>,
    /// For each position, the one before it that has the same slot.
    before: Vec<u32>,
    /// The latest position of each slot; a power of two of them.
    slots: Vec<u32>,
}

/// What a text is guessed to go on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Tokens at the end of the text that stand before them there too.
    pub matched: usize,
}

impl CopyIndex {
    /// Tokens of the text.
    pub fn n_token(&self) -> usize {
        self.ids.len()
    }

    /// The tokens of the text from the `first` position on.
    pub fn tokens(&self, first: usize) -> impl Iterator<Item = u32> {
        self.ids.iter().skip(first).copied().filter(|&id| id != NONE)
    }

    /// Adds a token, or what is none.
    pub fn push(&mut self, id: Option<u32>) {
        self.ids.push(id.unwrap_or(NONE));
        self.before.push(NOWHERE);
        if self.ids.len() > self.slots.len() {
            self.slots = vec![NOWHERE; (2 * self.slots.len()).max(64)];
            (0..self.ids.len()).for_each(|at| self.enter(at));
        } else {
            self.enter(self.ids.len() - 1);
        }
    }

    /// Enters the pair that ends at this position.
    fn enter(&mut self, at: usize) {
        if let Some(slot) = self.slot(at) {
            self.before[at] = std::mem::replace(&mut self.slots[slot], at as u32);
        }
    }

    /// The slot of the pair that ends at this position.
    fn slot(&self, at: usize) -> Option<usize> {
        let (a, b) = (*self.ids.get(at.checked_sub(1)?)?, self.ids[at]);
        let hash = (u64::from(a) << 32 | u64::from(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (a != NONE && b != NONE).then(|| (hash >> 32) as usize & (self.slots.len() - 1))
    }

    /// What followed, up to `most` tokens, where the longest end of the text stood before; of equals the latest.
    pub fn guess(&self, most: usize) -> Option<Copy> {
        let last = self.ids.len().checked_sub(1)?;
        self.slot(last)?;
        let (mut best, mut at) = ((1, 0), self.before[last]);
        for _ in 0..PLACES {
            if at == NOWHERE {
                break;
            }
            let matched = self.matched(at as usize, last);
            if matched > best.0 {
                best = (matched, at as usize);
            }
            at = self.before[at as usize];
        }
        let (matched, at) = best;
        let mut ids = Vec::with_capacity(most);
        if matched > 1 {
            for place in at + 1..=at + most {
                // What would stand behind the end goes round.
                let id = self.ids.get(place).or_else(|| ids.get(place - self.ids.len())).copied();
                match id.filter(|&id| id != NONE) {
                    Some(id) => ids.push(id),
                    None => break,
                }
            }
        }
        (!ids.is_empty()).then_some(Copy { ids, matched })
    }

    /// How many tokens up to `at` are those up to `last`.
    fn matched(&self, at: usize, last: usize) -> usize {
        let same = |&i: &usize| self.ids[at - i] == self.ids[last - i] && self.ids[at - i] != NONE;
        (0..=at.min(LONGEST - 1)).take_while(same).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(ids: &[u32]) -> CopyIndex {
        let mut index = CopyIndex::default();
        ids.iter().for_each(|&id| index.push(Some(id)));
        index
    }

    #[test]
    fn the_longest_end_that_stood_before_says_what_follows() {
        let guess = |ids: &[u32], most| index(ids).guess(most).map(|copy| (copy.ids, copy.matched));
        assert_eq!(guess(&[1, 2, 3, 4, 9, 2, 3], 2), Some((vec![4, 9], 2)));
        // Of two places the one with more before it, though the other is later.
        assert_eq!(guess(&[7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 1), Some((vec![3], 3)));
        assert_eq!(guess(&[1, 2, 3, 1, 2, 4, 1, 2], 1), Some((vec![4], 2)));
        assert_eq!(guess(&[1, 2, 3], 4), None);
        assert_eq!(guess(&[], 4), None);
        assert_eq!(guess(&[1, 2, 1, 2], 0), None);
    }

    #[test]
    fn a_text_that_repeats_itself_goes_on_repeating() {
        let guess = index(&[5, 1, 2, 3, 1, 2, 3, 1, 2]).guess(7).unwrap();
        assert_eq!(guess.ids, [3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(index(&[4, 4, 4]).guess(3).unwrap().ids, [4, 4, 4]);
    }

    #[test]
    fn pictures_are_neither_matched_nor_copied() {
        let mut index = index(&[1, 2]);
        index.push(None);
        index.push(None);
        [1, 2].into_iter().for_each(|id| index.push(Some(id)));
        assert_eq!(index.guess(3), None);
        index.push(None);
        assert_eq!(index.guess(3), None);
    }

    proptest! {
        #[test]
        fn guesses_are_those_of_a_search_through_all_of_the_text(ids in prop::collection::vec(0..6u32, 2..120)) {
            let last = ids.len() - 1;
            let matched = |at: usize| (0..=at.min(LONGEST - 1)).take_while(|i| ids[at - i] == ids[last - i]).count();
            let places: Vec<usize> = (1..last).rev().filter(|&at| matched(at) > 1).take(PLACES).collect();
            let longest = places.iter().copied().max_by_key(|&at| (matched(at), at));
            let found = index(&ids).guess(1);
            match longest {
                // Other pairs of the same slot may take places from those of this one.
                Some(_) if places.len() == PLACES => {}
                Some(at) => prop_assert_eq!(found, Some(Copy { ids: vec![ids[at + 1]], matched: matched(at) })),
                None => prop_assert_eq!(found, None),
            }
        }

        #[test]
        fn an_index_takes_no_more_memory_than_is_planned(n in 64..5000usize) {
            let mut index = CopyIndex::default();
            (0..n).for_each(|i| index.push(Some((i * i % 97) as u32)));
            let bytes = 4 * (index.ids.capacity() + index.before.capacity() + index.slots.capacity());
            prop_assert!(bytes <= n * BYTES_A_TOKEN, "{} of {}", bytes, n * BYTES_A_TOKEN);
        }
    }
}
