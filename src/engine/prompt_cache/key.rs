//! What tells a beginning of a prompt from all others: a chain of hashes over its rows, begun with all that their bits
//! depend on beside them.

use crate::engine::numerics::Numerics;
use crate::engine::runner::Runner;
use crate::gguf::Fingerprint;
use crate::hex::Hex;
use crate::platform::told_writer::ToldWriter;
use kernels::Way;
use sha2::{Digest, Sha256};
use std::{fmt, io};

/// What the first hash is made of begins with. The number is another one when what is kept of rows is written in another way.
const VERSION: &[u8] = b"qwen-edge prompt cache 3\n";

/// A hash of a beginning. `Display` gives the start of it, in hexadecimal digits: the name of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key(pub(super) [u8; 32]);

impl Key {
    /// That of no rows of a runner, whose model has this fingerprint.
    pub(super) fn of(runner: &Runner, model: &Fingerprint) -> Key {
        let mut hash = Sha256::new();
        hash.update(VERSION);
        let mut out = ToldWriter { out: io::sink(), told: |bytes: &[u8]| hash.update(bytes) };
        Numerics::of(runner, model).write(&mut out).expect("a hash takes all that is written");
        Key(hash.finalize().into())
    }

    /// That of these rows and one more, which [`crate::engine::sequence`] has made a key of.
    pub(super) fn then(self, row: u64, way: Way) -> Key {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(row.to_le_bytes());
        if way == Way::Written {
            hash.update(b"written");
        }
        Key(hash.finalize().into())
    }

    /// Whether this is how the name of a file gives a key.
    pub(super) fn is_name(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0[..16]).fmt(f)
    }
}

/// The keys of the beginnings of the rows that were looked at last, as if all were prompt rows: what was hashed once is not
/// hashed again.
#[derive(Default)]
pub(super) struct Chain {
    rows: Vec<u64>,
    /// That of no rows, then one for every row: the key of all rows up to it.
    keys: Vec<Key>,
}

impl Chain {
    /// Looks at these rows, behind the key of no rows.
    pub(super) fn follow(&mut self, base: Key, rows: &[u64]) {
        if self.keys.first() != Some(&base) {
            self.rows.clear();
            self.keys = vec![base];
        }
        let same = self.rows.iter().zip(rows).take_while(|(a, b)| a == b).count();
        // Rows behind a beginning that is looked at again stay: the next look is likely to be at more of them.
        if same < rows.len() {
            self.rows.truncate(same);
            self.keys.truncate(same + 1);
        }
        for &row in &rows[same..] {
            self.rows.push(row);
            self.keys.push(self.keys[self.keys.len() - 1].then(row, Way::Prompt));
        }
    }

    /// The key of the first `n` of those rows.
    pub(super) fn key(&self, n: usize) -> Key {
        self.keys[n]
    }

    /// The keys of the first `step`, `2 * step`, .. rows, computed in these ways.
    pub(super) fn keys_in(&self, ways: &[Way], step: usize) -> Vec<Key> {
        let n_prompt = ways.iter().take_while(|&&way| way == Way::Prompt).count();
        let mut keys: Vec<Key> = (1..=n_prompt / step).map(|i| self.keys[i * step]).collect();
        let mut key = self.keys[n_prompt];
        for (i, &way) in ways.iter().enumerate().skip(n_prompt) {
            key = key.then(self.rows[i], way);
            if (i + 1).is_multiple_of(step) {
                keys.push(key);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_written_have_other_keys() {
        let mut chain = Chain::default();
        let rows: Vec<u64> = (0..12).collect();
        chain.follow(Key([1; 32]), &rows);
        let prompt = chain.keys_in(&[Way::Prompt; 12], 3);
        assert_eq!(prompt, [3, 6, 9, 12].map(|n| chain.key(n)));
        for written in 0..12 {
            let mut ways = [Way::Prompt; 12];
            ways[written] = Way::Written;
            let keys = chain.keys_in(&ways, 3);
            let same = keys.iter().zip(&prompt).filter(|(a, b)| a == b).count();
            assert_eq!((keys.len(), same), (4, written / 3), "{written}");
        }
    }

    #[test]
    fn the_keys_of_rows_do_not_depend_on_what_was_looked_at_before() {
        let (base, other) = (Key([1; 32]), Key([2; 32]));
        let mut chain = Chain::default();
        let looks: [(Key, &[u64]); 6] = [
            (base, &[1, 2, 3]),
            (base, &[1, 2]),
            (base, &[1, 2, 3, 4]),
            (base, &[1, 5]),
            (other, &[1, 5]),
            (base, &[]),
        ];
        for (base, rows) in looks {
            chain.follow(base, rows);
            let mut key = base;
            assert_eq!(chain.key(0), key);
            for (i, &row) in rows.iter().enumerate() {
                key = key.then(row, Way::Prompt);
                assert_eq!(chain.key(i + 1), key, "{rows:?}");
            }
        }
    }
}
