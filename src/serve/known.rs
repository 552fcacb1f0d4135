//! What was read before: where the next prompt begins, and what is kept of it for those to come.

use super::job::Job;
use crate::engine::answers::Answers;
use crate::engine::forks::Forks;
use crate::engine::runner::Runner;
use crate::engine::sequence::Sequence;
use crate::engine::shelf::{self, LEAST, Lease, Shelf};
use crate::tokenizer::Tokenizer;
use std::sync::Arc;

/// What was read before.
pub(super) struct Known {
    pub shelf: Shelf,
    tokenizer: Arc<Tokenizer>,
}

/// How a prompt begins.
pub(super) struct Beginning {
    /// A conversation with the rows that need not be read.
    pub sequence: Sequence,
    /// Rows of the prompt behind which others may begin.
    pub points: Vec<usize>,
}

impl Known {
    /// Nothing yet.
    pub fn new(runner: &Runner, tokenizer: Arc<Tokenizer>) -> Known {
        Known { shelf: Shelf::new(runner), tokenizer }
    }

    /// Where the prompt of a request begins: behind what is kept, or what a conversation at work has.
    pub fn begin(&mut self, job: &Job, answers: &Answers<'_>, runner: &Runner) -> Beginning {
        let keys = shelf::keys(&job.rows);
        let found = self.shelf.find(&keys);
        let at_work = answers.sequences().map(|sequence| (sequence.reach(&keys), sequence)).max_by_key(|(n, _)| *n);
        let sequence = match at_work.filter(|(n, _)| *n > found.n.max(LEAST)) {
            Some((n, at_work)) => {
                let mut sequence = at_work.fork();
                let n_back = sequence.n_past() - n;
                sequence.take_back(n_back).expect("rows of its last pass");
                sequence
            }
            None => self.shelf.begin(&found, runner),
        };
        let n = sequence.n_past();
        let at_work = answers.sequences().map(|sequence| sequence.common_keys(&keys)).max();
        let known = found.known.max(at_work.unwrap_or(0));
        let points = Forks::of(&job.ids, &self.tokenizer, (known > n).then_some(known)).points(LEAST);
        Beginning { sequence, points: points.into_iter().filter(|&at| at > n).collect() }
    }

    /// Sees to it that so many pages of keys and values are free, and of what the block for drafting remembers.
    pub fn free_pages(&mut self, (pages, drafts): (usize, usize), runner: &Runner) {
        self.shelf.free_pages(runner, pages);
        self.shelf.free_draft_pages(runner, drafts);
    }

    /// Keeps the end of a conversation whose work is over.
    pub fn keep(&mut self, lease: Lease, sequence: Sequence) {
        self.shelf.keep(lease, sequence);
    }
}
