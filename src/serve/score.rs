//! The reading of a prompt whose tokens' probabilities were asked for, in pieces, between the passes of others.

use super::event::{BURST, Event};
use super::job::Job;
use super::logprobs::{self, Wanted};
use crate::engine::generate::Error;
use crate::engine::runner::Runner;
use crate::engine::scoring::{ROWS_AT_ONCE, Scoring};
use crate::engine::sequence::Sequence;
use crate::tokenizer::Tokenizer;
use std::time::{Duration, Instant};

/// The time that a piece is to take: others wait for it.
const PIECE: Duration = Duration::from_millis(100);

/// A prompt that is being read.
pub(super) struct Score {
    pub sequence: Sequence,
    scoring: Scoring,
    /// Rows of the next piece.
    n: usize,
}

impl Score {
    /// The prompt of a request, read from its beginning: of what another has read, nobody knows the probabilities.
    pub fn new(job: &Job, runner: &Runner) -> Score {
        Score { sequence: runner.sequence(), scoring: Scoring::new(job.ids.clone()), n: ROWS_AT_ONCE }
    }

    /// Whether all is read.
    pub fn is_done(&self) -> bool {
        self.scoring.n_left() == 0
    }

    /// Whether the client takes more now, or has left.
    pub fn is_ready(job: &Job) -> bool {
        job.events.is_closed() || job.events.capacity() >= BURST * job.n_shared
    }

    /// Pages that the next piece takes at most, as [`Sequence::n_missing`].
    pub fn n_page_wanted(&self, runner: &Runner) -> (usize, usize) {
        self.sequence.n_missing(self.n.min(runner.settings().n_batch).min(self.scoring.n_left()))
    }

    /// Reads a piece, and tells of its tokens.
    ///
    /// # Errors
    /// Those of [`Scoring::read`].
    pub fn read(&mut self, job: &Job, runner: &mut Runner, tokenizer: &Tokenizer) -> Result<(), Error> {
        let n_top = job.logprobs.map_or(0, |Wanted { n_top, .. }| n_top);
        let mut tokens = Vec::new();
        let start = Instant::now();
        let n = self.n.min(runner.settings().n_batch);
        self.scoring.read(n, runner, &mut self.sequence, &mut |id, logits| {
            tokens.push(logprobs::token(tokenizer, logits, id, n_top));
        })?;
        let fits = PIECE.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-6);
        self.n = ((n as f64 * fits.min(2.0)) as usize).max(ROWS_AT_ONCE);
        // There is room, or nobody listens.
        let _ = job.events.try_send((job.first_choice, Event::Scored(tokens)));
        Ok(())
    }
}
