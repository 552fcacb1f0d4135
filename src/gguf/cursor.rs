//! A reading position in the header bytes. Every read is checked against what is left, in one place.

use super::Error;

/// Reads little-endian numbers and strings from `bytes`, front to back.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The longest string, in bytes, and the longest array, in elements, that any implementation accepts.
const LIMIT: u64 = 1 << 30;

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte from the start of the file.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes; `what` names them in the error.
    pub(super) fn take(&mut self, n: u64, what: &'static str) -> Result<&'a [u8], Error> {
        let left = self.left();
        match usize::try_from(n) {
            Ok(n) if n <= left => {
                let taken = &self.bytes[self.at..self.at + n];
                self.at += n;
                Ok(taken)
            }
            _ => Err(Error::Truncated { at: self.at, what, wanted: n, left: left as u64 }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A u64 that may be `limit` at most. Negative numbers of signed fields fail here, as they are huge.
    pub(super) fn bounded(&mut self, limit: u64, what: &'static str) -> Result<u64, Error> {
        let at = self.at;
        let found = self.u64(what)?;
        if found > limit {
            return Err(Error::TooLarge { at, what, found, limit });
        }
        Ok(found)
    }

    /// The length of an array.
    pub(super) fn count(&mut self, what: &'static str) -> Result<u64, Error> {
        self.bounded(LIMIT, what)
    }

    /// A string: u64 length, then its bytes.
    pub(super) fn string(&mut self, what: &'static str) -> Result<&'a [u8], Error> {
        let n = self.bounded(LIMIT, what)?;
        self.take(n, what)
    }

    /// A non-empty UTF-8 string of `limit` bytes at most; `what` is "key" or "tensor name".
    pub(super) fn name(&mut self, limit: usize, what: &'static str) -> Result<&'a str, Error> {
        let at = self.at;
        let bytes = self.string(what)?;
        let problem = |problem| Error::Name { at, what, problem };
        if bytes.is_empty() {
            return Err(problem("is empty"));
        }
        if bytes.len() > limit {
            return Err(problem("is longer than the format allows"));
        }
        std::str::from_utf8(bytes).map_err(|_| problem("is not valid UTF-8"))
    }
}
