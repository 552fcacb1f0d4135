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

/// Encodes pieces; keeps its memory from one to the next.
#[derive(Default)]
pub struct Encoder {
    tokens: Vec<u32>,
    /// `pairs[i]` is the merge of `tokens[i]` and `tokens[i + 1]`.
    pairs: Vec<Merge>,
    links: Vec<Link>,
    queue: BinaryHeap<Reverse<(Merge, usize)>>,
}

/// A token and its neighbours in a piece whose inner tokens disappear.
struct Link {
    /// `None` once it has been joined to its left neighbour.
    token: Option<u32>,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Encoder {
    /// Appends the tokens of one piece, given as the token of every byte.
    pub fn encode(&mut self, merges: &Merges, bytes: impl ExactSizeIterator<Item = u32>, out: &mut Vec<u32>) {
        if bytes.len() <= SHORT {
            self.encode_short(merges, bytes, out);
        } else {
            self.encode_long(merges, bytes, out);
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
        links.extend(bytes.enumerate().map(|(i, token)| Link {
            token: Some(token),
            previous: i.checked_sub(1),
            next: Some(i + 1),
        }));
        if let Some(last) = links.last_mut() {
            last.next = None;
        }
        queue.clear();
        let merge_at = |links: &[Link], at: usize| {
            let left = links[at].token?;
            let right = links[links[at].next?].token?;
            Some(merges.get(left, right)).filter(|&merge| merge != Merge::NONE)
        };
        let all = (0..links.len()).filter_map(|at| merge_at(links, at).map(|merge| Reverse((merge, at))));
        queue.extend(all);
        while let Some(Reverse((merge, at))) = queue.pop() {
            // A pair that changed since it was queued has queued what it became.
            if merge_at(links, at) != Some(merge) {
                continue;
            }
            let Some(joined) = links[at].next else { continue };
            let next = links[joined].next;
            links[joined].token = None;
            links[at].token = Some(merge.token);
            links[at].next = next;
            if let Some(next) = next {
                links[next].previous = Some(at);
            }
            for at in [links[at].previous, Some(at)].into_iter().flatten() {
                queue.extend(merge_at(links, at).map(|merge| Reverse((merge, at))));
            }
        }
        out.extend(links.iter().filter_map(|link| link.token));
    }
}
