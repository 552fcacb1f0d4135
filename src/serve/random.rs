//! Names and seeds that nobody chose.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that differs from call to call and from run to run.
pub(super) fn number() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(CALLS.fetch_add(1, Ordering::Relaxed))
}

/// A seed, short enough to be typed.
pub(super) fn seed() -> u64 {
    number() >> 32
}

/// A name of 24 letters and digits behind a prefix.
pub(super) fn id(prefix: &'static str) -> String {
    Names::new(prefix).of(0, 0)
}

/// Names that nobody chose, which can be told again.
#[derive(Clone)]
pub(super) struct Names {
    prefix: &'static str,
    keys: [RandomState; 3],
}

impl Names {
    /// Names of 24 letters and digits behind a prefix.
    pub fn new(prefix: &'static str) -> Names {
        Names { prefix, keys: std::array::from_fn(|_| RandomState::new()) }
    }

    /// The name of the `i`-th thing of its kind in a choice.
    pub fn of(&self, choice: usize, i: usize) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut id = self.prefix.to_owned();
        for key in &self.keys {
            let mut n = key.hash_one((choice, i));
            for _ in 0..8 {
                id.push(char::from(DIGITS[(n % 62) as usize]));
                n /= 62;
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_differ_and_are_plain() {
        let (a, b) = (super::id("chatcmpl-"), super::id("chatcmpl-"));
        let names = super::Names::new("call_");
        assert!(names.of(0, 1) != names.of(1, 0) && names.of(2, 3) == names.of(2, 3));
        assert!(a != b && a.len() == 33 && a.bytes().skip(9).all(|c| c.is_ascii_alphanumeric()), "{a} {b}");
    }
}
