//! Byte-pair encoding of one piece: the neighbours whose merge ranks lowest are joined until none can be.
//!
//! Of equal ranks the leftmost goes first. There is no look-up of whole pieces: some 230 words of the published
//! vocabulary cannot be reached by merges and must not appear.

use super::merges::{Merge, Merges};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Longest piece, in bytes, whose merges are found by going through all of them each time; that is quadratic but
/// without overhead. Longer ones take the queue: O(n log n), so that a megabyte of one letter is nothing special.
const SHORT: usize = 48;

/// Longest piece that is merged as a whole, so that places in it fit 32 bits. Four gigabytes without a blank are cut.
const LONGEST: usize = u32::MAX as usize - 1;

/// Encodes pieces; keeps its memory from one to the next.
#[derive(Default)]
pub struct Encoder {
    tokens: Vec<u32>,
    /// `pairs[i]` is the merge of `tokens[i]` and `tokens[i + 1]`.
    pairs: Vec<Merge>,
    links: Vec<Link>,
    /// Rank of a merge in the upper half and the place of its left token in the lower: the smallest goes first.
    queue: BinaryHeap<Reverse<u64>>,
}

/// A token and the places of its neighbours, in a piece whose inner tokens disappear. [`NONE`] stands for no token (it
/// was joined to its left neighbour) and for no neighbour.
#[derive(Clone, Copy)]
struct Link {
    token: u32,
    previous: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Encoder {
    /// Appends the tokens of one piece, given as the token of every byte.
    pub fn encode(&mut self, merges: &Merges, mut bytes: impl ExactSizeIterator<Item = u32>, out: &mut Vec<u32>) {
        if bytes.len() <= SHORT {
            return self.encode_short(merges, bytes, out);
        }
        while bytes.len() > 0 {
            self.encode_long(merges, bytes.by_ref().take(LONGEST), out);
        }
    }

    fn encode_short(&mut self, merges: &Merges, bytes: impl Iterator<Item = u32>, out: &mut Vec<u32>) {
        let Self { tokens, pairs, .. } = self;
        tokens.clear();
        tokens.extend(bytes);
        pairs.clear();
        pairs.extend(tokens.windows(2).map(|pair| merges.get(pair[0], pair[1])));
        // `min_by_key` returns the first of equals.
        while let Some((at, &merge)) = pairs.iter().enumerate().min_by_key(|(_, merge)| merge.rank)
            && merge != Merge::NONE
        {
            tokens[at] = merge.token;
            tokens.remove(at + 1);
            pairs.remove(at);
            if at > 0 {
                pairs[at - 1] = merges.get(tokens[at - 1], merge.token);
            }
            if at < pairs.len() {
                pairs[at] = merges.get(merge.token, tokens[at + 1]);
            }
        }
        out.extend_from_slice(tokens);
    }

    fn encode_long(&mut self, merges: &Merges, bytes: impl Iterator<Item = u32>, out: &mut Vec<u32>) {
        let Self { links, queue, .. } = self;
        links.clear();
        links.extend(bytes.zip(0..).map(|(token, at): (u32, u32)| Link {
            token,
            previous: at.wrapping_sub(1),
            next: at + 1,
        }));
        if let Some(last) = links.last_mut() {
            last.next = NONE;
        }
        // The merge of the tokens at a place and behind it, if there are both.
        let merge_at = |links: &[Link], at: u32| {
            let left = links.get(at as usize)?;
            let right = links.get(left.next as usize)?;
            Some(merges.get(left.token, right.token)).filter(|&merge| merge != Merge::NONE && left.token != NONE)
        };
        let entry = |links: &[Link], at: u32| {
            merge_at(links, at).map(|merge| Reverse(u64::from(merge.rank) << 32 | u64::from(at)))
        };
        queue.clear();
        queue.extend((0..links.len() as u32).filter_map(|at| entry(links, at)));
        while let Some(Reverse(first)) = queue.pop() {
            let (rank, at) = ((first >> 32) as u32, first as u32);
            // A pair that changed since it was queued has queued what it became.
            let Some(merge) = merge_at(links, at).filter(|merge| merge.rank == rank) else { continue };
            let joined = links[at as usize].next;
            let next = links[joined as usize].next;
            links[joined as usize].token = NONE;
            let link = &mut links[at as usize];
            (link.token, link.next) = (merge.token, next);
            let previous = link.previous;
            if let Some(next) = links.get_mut(next as usize) {
                next.previous = at;
            }
            queue.extend(entry(links, previous));
            queue.extend(entry(links, at));
        }
        out.extend(links.iter().map(|link| link.token).filter(|&token| token != NONE));
    }
}
