//! A writer that tells what passes through it: for counts and hashes of what is written.

use std::io::{self, Write};

/// Passes on what is written, and tells `told` of every byte that was taken.
pub(crate) struct ToldWriter<W, F> {
    pub out: W,
    pub told: F,
}

impl<W: Write, F: FnMut(&[u8])> Write for ToldWriter<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        (self.told)(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
