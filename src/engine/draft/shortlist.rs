//! The rows of the head that drafts are chosen from.
//!
//! The ids of byte-pair tokens are about in the order of how frequent the tokens are. So the first rows of the head, which lie
//! together, have most of what is written; control tokens, and what this prompt and answer have brought, are added one by
//! one. A token that is not on the list is never drafted, and costs no more than a draft that is not accepted.

use std::collections::HashMap;

/// Rows from the first on.
const CORE: usize = 16 << 10;

/// A vocabulary up to this size is taken whole.
const SMALL: usize = 2 * CORE;

/// Rows beside them at most.
pub const MOST_MORE: usize = 4096;

/// Bytes of a list at most: ids and where each of them is, with room to grow.
pub const BYTES: usize = MOST_MORE * (4 + 32);

/// Rows of the head.
#[derive(Clone, Debug)]
pub struct Shortlist {
    n_core: usize,
    n_vocab: usize,
    more: Vec<u32>,
    places: HashMap<u32, u32>,
}

impl Shortlist {
    /// The beginning of a vocabulary of `n_vocab` rows.
    pub fn new(n_vocab: usize) -> Shortlist {
        let n_core = if n_vocab <= SMALL { n_vocab } else { CORE };
        Shortlist { n_core, n_vocab, more: Vec::new(), places: HashMap::new() }
    }

    /// Adds a row, if there is such a row and room for it.
    pub fn add(&mut self, id: u32) {
        let place = self.more.len();
        let is_more = (self.n_core..self.n_vocab).contains(&(id as usize));
        if is_more && place < MOST_MORE && !self.places.contains_key(&id) {
            self.places.insert(id, place as u32);
            self.more.push(id);
        }
    }

    /// Rows from the first on.
    pub fn n_core(&self) -> usize {
        self.n_core
    }

    /// Rows beside them.
    pub fn more(&self) -> &[u32] {
        &self.more
    }

    /// The row at a place of the list.
    pub fn id(&self, place: usize) -> u32 {
        place.checked_sub(self.n_core).map_or(place as u32, |place| self.more[place])
    }

    /// The place of a row, if it is on the list.
    pub fn place(&self, id: u32) -> Option<usize> {
        if (id as usize) < self.n_core {
            Some(id as usize)
        } else {
            self.places.get(&id).map(|&place| self.n_core + place as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_places_belong_together() {
        let mut list = Shortlist::new(248_320);
        for id in [248_045, 5, 20_000, 248_045, 248_320] {
            list.add(id);
        }
        assert_eq!(list.more(), [248_045, 20_000]);
        for id in [0, 5, 16_383, 20_000, 248_045] {
            assert_eq!(list.place(id).map(|place| list.id(place)), Some(id));
        }
        assert_eq!((list.place(16_384), list.place(248_320)), (None, None));
        (0..248_320).for_each(|id| list.add(id));
        assert_eq!(list.more().len(), MOST_MORE);
    }

    #[test]
    fn a_small_vocabulary_is_taken_whole() {
        let mut list = Shortlist::new(4096);
        list.add(4095);
        assert_eq!((list.n_core(), list.more().len(), list.place(4095)), (4096, 0, Some(4095)));
    }
}
