//! The hash of the two tables of a tokenizer: folded multiplications, keyed anew in every process so that no file can
//! be written whose tokens all fall into one slot. Only speed depends on it.

use std::hash::{BuildHasher, RandomState};

/// The key of a hash function.
#[derive(Clone, Copy)]
pub struct Seed(u64);

/// Odd, with as many ones as zeros; otherwise arbitrary.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The 128-bit product, its halves combined: every input bit reaches every part of the result.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Seed {
    /// A random key.
    pub fn new() -> Self {
        Self(RandomState::new().hash_one(MULTIPLIER) | 1)
    }

    /// Hash of a pair of token ids.
    #[inline]
    pub fn hash_pair(self, left: u32, right: u32) -> u64 {
        fold((u64::from(left) << 32 | u64::from(right)) ^ self.0, MULTIPLIER)
    }

    /// Hash of a text.
    #[inline]
    pub fn hash(self, text: &[u8]) -> u64 {
        let mut hash = self.0;
        let (words, tail) = text.as_chunks::<8>();
        for &word in words {
            hash = fold(hash ^ u64::from_le_bytes(word), MULTIPLIER);
        }
        // The length is in the factor, where no byte of the text can undo it.
        fold(hash ^ little_endian(tail), self.0.wrapping_add((text.len() as u64) << 1))
    }
}

/// Up to seven bytes as a number.
#[inline]
fn little_endian(tail: &[u8]) -> u64 {
    let word = |bytes: &[u8], at: usize| bytes[at..].first_chunk().map_or(0, |&four| u32::from_le_bytes(four).into());
    match tail.len() {
        // Two words that overlap cover 4 to 7 bytes, and three bytes that may coincide cover 1 to 3: no loop.
        4.. => word(tail, 0) | word(tail, tail.len() - 4) << 32,
        1.. => {
            let byte = |at: usize| u64::from(tail[at]);
            byte(0) | byte(tail.len() / 2) << 8 | byte(tail.len() - 1) << 16
        }
        0 => 0,
    }
}

/// The slot of `hash` in a table of `len` slots, a power of two.
#[inline]
pub fn slot(hash: u64, len: usize) -> usize {
    hash as usize & (len - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn short_texts_and_pairs_do_not_collide() {
        let seed = Seed::new();
        let texts = (0..200_000u32).flat_map(|i| {
            let bytes = i.to_le_bytes();
            (0..=3).map(move |pad| [&bytes[..], &vec![0; pad * 3]].concat())
        });
        assert_eq!(texts.map(|text| seed.hash(&text)).collect::<HashSet<_>>().len(), 800_000);
        let pairs = (0..400).flat_map(|left| (0..400).map(move |right| seed.hash_pair(left, right)));
        assert_eq!(pairs.collect::<HashSet<_>>().len(), 160_000);
    }

    #[test]
    fn slots_fill_evenly() {
        let seed = Seed::new();
        let mut used = vec![0; 1 << 12];
        for i in 0..1 << 15 {
            used[slot(seed.hash_pair(i, i + 1), 1 << 12)] += 1;
        }
        assert!(used.iter().all(|&n| n < 40), "{:?}", used.iter().max());
    }
}
