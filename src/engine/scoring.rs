//! How likely the tokens of a text are, each behind those before it.
//!
//! The text is read as a prompt, in pieces. The logits of a vocabulary are a megabyte, so that those of a piece are never
//! all there: they are computed for a few rows at a time, looked at, and overwritten.

use super::context::text_rows;
use super::generate::Error;
use super::runner::{Runner, Step};
use super::sequence::Sequence;
use crate::model::finite;

/// Rows whose logits are in memory at once.
pub const ROWS_AT_ONCE: usize = 8;

/// A text that is being read for the probabilities of its tokens: of all but the first, before which there is nothing.
pub struct Scoring {
    ids: Vec<u32>,
    done: usize,
}

impl Scoring {
    /// The reading of a text by a sequence that has no rows.
    pub fn new(ids: Vec<u32>) -> Scoring {
        Scoring { ids, done: 0 }
    }

    /// Tokens whose probabilities are still to come: rows that are still to be read. The last token of the text is not
    /// read, since nothing comes behind it.
    pub fn n_left(&self) -> usize {
        self.ids.len().saturating_sub(1) - self.done
    }

    /// Reads up to `n` rows, and tells of each token behind one of them and the logits `[n_vocab]` that it was one of.
    ///
    /// # Errors
    /// [`Error::Run`], and [`Error::NotFinite`] where the logits are no numbers.
    pub fn read(
        &mut self,
        n: usize,
        runner: &mut Runner,
        sequence: &mut Sequence,
        tell: &mut dyn FnMut(u32, &[f32]),
    ) -> Result<(), Error> {
        let n = n.min(self.n_left());
        let rows = text_rows(&self.ids[self.done..self.done + n], self.done as u32);
        let outputs = runner.run(&mut [Step::prompt(sequence, &rows, n)])?.remove(0);
        let behind = &self.ids[self.done + 1..][..n];
        for (i, ids) in behind.chunks(ROWS_AT_ONCE).enumerate() {
            let first = outputs.start + i * ROWS_AT_ONCE;
            let logits = runner.logits(first..first + ids.len());
            for (&id, logits) in ids.iter().zip(logits.chunks(logits.len() / ids.len())) {
                if !finite::is_finite(logits) {
                    return Err(Error::NotFinite { found: None });
                }
                tell(id, logits);
            }
        }
        self.done += n;
        Ok(())
    }
}
