//! What was read before: where the next prompt begins, and what is kept of it for those to come, in memory and in a folder.

use super::job::Job;
use super::metrics::{Metrics, Share};
use crate::engine::answers::Answers;
use crate::engine::forks::Forks;
use crate::engine::prompt_cache::{PromptCache, Reuse, WORTH};
use crate::engine::runner::Runner;
use crate::engine::sequence::Sequence;
use crate::engine::shelf::{self, LEAST, Lease, Shelf};
use crate::tokenizer::Tokenizer;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where what was read is kept beyond the life of the server.
pub struct KeptInFolder {
    /// The folder.
    pub cache: PromptCache,
    /// How long nothing must have been answered before it is written: a conversation that goes on soon is written once.
    pub quiet: Duration,
    /// Is told what goes wrong with it.
    pub tell: Box<dyn Fn(&str)>,
}

/// What was read before.
pub(super) struct Known {
    shelf: Shelf,
    folder: Option<KeptInFolder>,
    /// When the folder is to be written.
    due: Option<Instant>,
    tokenizer: Arc<Tokenizer>,
    metrics: Arc<Metrics>,
    counted: Counted,
}

/// What of this is in the counters: bytes in memory, the most that they may be, points, bytes written to the folder.
#[derive(Default)]
struct Counted {
    bytes: Share,
    most: Share,
    points: Share,
    written: Share,
}

/// How a prompt begins.
pub(super) struct Beginning {
    /// A conversation with the rows that need not be read.
    pub sequence: Sequence,
    /// Why they are no more.
    pub reuse: Reuse,
    /// Rows of the prompt behind which others may begin.
    pub points: Vec<usize>,
}

impl Known {
    /// Nothing yet, but for what is in the folder.
    pub fn new(
        runner: &Runner,
        tokenizer: Arc<Tokenizer>,
        metrics: Arc<Metrics>,
        folder: Option<KeptInFolder>,
    ) -> Known {
        Known { shelf: Shelf::new(runner), folder, due: None, tokenizer, metrics, counted: Counted::default() }
    }

    /// Where the prompt of a request begins: behind what is kept, or what a conversation at work has.
    pub fn begin(&mut self, job: &Job, answers: &Answers<'_>, runner: &mut Runner) -> Beginning {
        let keys = shelf::keys(&job.rows);
        let found = self.shelf.find(&keys);
        let common = answers.sequences().map(|sequence| sequence.common_keys(&keys)).max().unwrap_or(0);
        let known = found.known.max(common);
        let at_work = answers.sequences().map(|sequence| (sequence.reach(&keys), sequence)).max_by_key(|(n, _)| *n);
        let at_work = at_work.filter(|(n, _)| *n > found.n.max(LEAST));
        let n = at_work.map_or(found.n, |(n, _)| n);
        let (recalled, why) = self.recall(job, n, runner);
        let sequence = match (recalled, at_work) {
            (Some(recalled), _) => recalled,
            (None, Some((n, at_work))) => {
                let mut sequence = at_work.fork();
                let n_back = sequence.n_past() - n;
                sequence.take_back(n_back).expect("rows of its last pass");
                sequence
            }
            // Looking into the folder may have cost points.
            (None, None) => self.shelf.begin(&self.shelf.find(&keys), runner),
        };
        let (n, n_prompt) = (sequence.n_past(), keys.len());
        let reuse = match why {
            Some(why @ (Reuse::NoState { known: at } | Reuse::Differs { at })) if at > known => why,
            Some(Reuse::Damaged) => Reuse::Damaged,
            _ if n == n_prompt => Reuse::Whole,
            _ if known > n + LEAST => Reuse::NoState { known },
            _ if n + WORTH >= n_prompt => Reuse::End,
            _ if n > 0 => Reuse::Differs { at: n },
            _ => Reuse::Nothing,
        };
        let left_at = known.max(why.and_then(|why| why.differs_at()).unwrap_or(0));
        let forks = Forks::of(&job.ids, &self.tokenizer, (left_at > n).then_some(left_at));
        let mut points = forks.points(LEAST);
        points.extend(forks.tail().filter(|tail| !points.contains(tail)));
        points.sort_unstable();
        points.retain(|&at| at > n);
        Beginning { sequence, reuse, points }
    }

    /// Rows of a prompt with these keys that need not be read, for all that is kept in memory.
    pub fn n_kept(&self, keys: &[u64]) -> usize {
        self.shelf.find(keys).n
    }

    /// Takes up from the folder what is worth the time, beyond the `n_have` first rows of a prompt; and says why it is no more, if
    /// it was asked.
    fn recall(&mut self, job: &Job, n_have: usize, runner: &mut Runner) -> (Option<Sequence>, Option<Reuse>) {
        let Some(KeptInFolder { cache, .. }) = &mut self.folder else { return (None, None) };
        let rows = &job.rows[..];
        if rows.len() < n_have + WORTH {
            return (None, None);
        }
        let n_have = if n_have > 0 { n_have + WORTH } else { 0 };
        if let Some(n) = cache.find(runner, rows, n_have) {
            let pages = runner.sequence().n_missing(n);
            self.shelf.free_pages(runner, pages.0);
        }
        let (sequence, reuse) = cache.recall(runner, rows, n_have);
        if let Some(sequence) = &sequence {
            self.metrics.recalled(sequence.n_past());
            self.shelf.keep_recalled(sequence);
        }
        self.tell();
        (sequence, Some(reuse))
    }

    /// Sets memory aside for a conversation at work: [`Shelf::lease`].
    pub fn lease(&mut self, n_have: usize, n_prompt: usize, points: &[usize]) -> Lease {
        let lease = self.shelf.lease(n_have, n_prompt, points);
        self.count();
        lease
    }

    /// Sets memory aside for a point behind `n` rows more: [`Shelf::lease_point`].
    pub fn lease_point(&mut self, lease: &mut Lease, n: usize) -> bool {
        self.shelf.lease_point(lease, n)
    }

    /// Sets memory aside for a point more: [`Shelf::lease_spare`].
    pub fn lease_spare(&mut self, lease: &mut Lease, n: usize) {
        self.shelf.lease_spare(lease, n);
        self.count();
    }

    /// Keeps another end of a conversation at work.
    pub fn keep_spare(&mut self, lease: &mut Lease, sequence: &Sequence) {
        self.shelf.keep_spare(lease, sequence);
    }

    /// Sees to it that so many pages of keys and values are free, and of what the block for drafting remembers.
    pub fn free_pages(&mut self, (pages, drafts): (usize, usize), runner: &Runner) {
        self.shelf.free_pages(runner, pages);
        self.shelf.free_draft_pages(runner, drafts);
    }

    /// Keeps the checkpoints of a conversation at work.
    pub fn keep_checkpoints(&mut self, lease: &mut Lease, sequence: &mut Sequence) {
        self.shelf.keep_checkpoints(lease, sequence);
    }

    /// Keeps the end of a conversation whose work is over.
    pub fn keep(&mut self, lease: Lease, sequence: Sequence) {
        self.shelf.keep(lease, sequence);
        self.due = self.folder.as_ref().map(|folder| Instant::now() + folder.quiet);
        self.count();
    }

    /// Ends a lease of a conversation of which nothing more is kept.
    pub fn end(&mut self, lease: &Lease) {
        self.shelf.end(lease);
        self.count();
    }

    /// Forgets what is kept in memory.
    pub fn clear(&mut self) {
        self.shelf.clear();
        self.count();
    }

    /// How long it is until the folder is to be written, if it is.
    pub fn until_due(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Writes one thing to the folder, if it is time and there is one.
    pub fn save_due(&mut self, runner: &Runner) {
        if self.until_due().is_some_and(|left| left.is_zero()) && !self.save(runner) {
            self.due = None;
        }
    }

    /// Writes all to the folder that is to be kept there.
    pub fn save_all(&mut self, runner: &Runner) {
        while self.save(runner) {}
    }

    /// Writes one thing to the folder, if there is one.
    fn save(&mut self, runner: &Runner) -> bool {
        let Some(KeptInFolder { cache, .. }) = &mut self.folder else { return false };
        let Some(sequence) = self.shelf.unsaved(WORTH, runner) else { return false };
        cache.keep(runner, &sequence);
        self.counted.written.set(&self.metrics.written_bytes, cache.written().0);
        self.tell();
        true
    }

    /// Tells what went wrong with the folder.
    fn tell(&mut self) {
        let Some(KeptInFolder { cache, tell, .. }) = &mut self.folder else { return };
        cache.take_notes().iter().for_each(|note| tell(&format!("note: {note}")));
    }

    fn count(&mut self) {
        let Known { shelf, metrics, counted, .. } = self;
        counted.bytes.set(&metrics.kept_bytes, shelf.bytes());
        counted.most.set(&metrics.most_kept_bytes, shelf.most());
        counted.points.set(&metrics.kept_points, shelf.n_point() as u64);
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let Known { metrics, counted, .. } = self;
        counted.bytes.set(&metrics.kept_bytes, 0);
        counted.most.set(&metrics.most_kept_bytes, 0);
        counted.points.set(&metrics.kept_points, 0);
    }
}
