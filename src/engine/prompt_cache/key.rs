//! What tells a beginning of a prompt from all others: a chain of hashes over its rows, begun with all that their bits
//! depend on beside them.

use crate::engine::runner::Runner;
use crate::gguf::Fingerprint;
use sha2::{Digest, Sha256};
use std::fmt;

/// What the first hash is made of begins with. The number is another one when the same rows get other bits, or are written
/// in another way.
const VERSION: &[u8] = b"qwen-edge prompt cache 1\n";

/// A hash of a beginning. `Display` gives the start of it, in hexadecimal digits: the name of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key(pub(super) [u8; 32]);

impl Key {
    /// That of no rows: of a model, the way its keys and values are stored, its rotary positions, and the instruction set.
    pub(super) fn of(runner: &Runner, model: &Fingerprint) -> Key {
        let mut hash = Sha256::new();
        hash.update(VERSION);
        hash.update(model.as_bytes());
        let settings = [
            runner.settings().kv.name().to_owned(),
            format!("{:?}", runner.model().config.rope),
            runner.kernels().isa().to_string(),
        ];
        for text in settings {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        Key(hash.finalize().into())
    }

    /// That of these rows and one more, a prompt row that [`crate::engine::sequence`] has made a key of.
    pub(super) fn then(self, row: u64) -> Key {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(row.to_le_bytes());
        Key(hash.finalize().into())
    }

    /// Whether this is how the name of a file gives a key.
    pub(super) fn is_name(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..16].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The keys of the beginnings of the rows that were looked at last: what was hashed once is not hashed again.
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
            self.keys.push(self.keys[self.keys.len() - 1].then(row));
        }
    }

    /// The key of the first `n` of those rows.
    pub(super) fn key(&self, n: usize) -> Key {
        self.keys[n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                key = key.then(row);
                assert_eq!(chain.key(i + 1), key, "{rows:?}");
            }
        }
    }
}
