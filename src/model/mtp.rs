//! The multi-token-prediction block (`MODEL.md` §10): one attention layer behind the trunk that guesses the
//! token after the next.
//!
//! A *pair* is the trunk's output at a position, after the final norm, and the row that follows it:
//!
//! ```text
//! t  = eh_proj · [ RMS(embedding of the row)·enorm ; RMS(hidden)·hnorm ]
//! y' = RMS(layer(t))·shared_head_norm          logits' = head · y'
//! ```
//!
//! The block remembers keys and values of the pairs so far. To draft further than one token, feed it its own `y'` as the
//! next hidden state; such pairs are guesses and have to be taken back once the trunk has spoken.

use super::attention;
use super::ffn;
use super::input::{Input, InputRow};
use super::kv_type::KvType;
use super::pages::{OutOfPages, PagePool, PageTable, pages_of};
use super::pass::{BatchLimits, Scratch, Span};
use super::rope::Rope;
use super::weights::{Model, Mtp};
use super::{Config, weights};
use crate::compute::Compute;
use crate::compute::batch::{Batch, BatchShape, Exactness, RowCounts, products};
use crate::compute::team::Phase;
use kernels::Way;
use kernels::attention::PAGE;
use std::ops::Range;

/// Pairs that go through the block at once.
const BATCH: usize = 64;

/// These may be rows of either way.
const LIMITS: BatchLimits = BatchLimits { rows: BATCH, written: BATCH };

/// Hidden states that wait to be shown to the block at most; it is shown them when there are more.
pub const MOST_WAITING: usize = 64;

/// What the block remembers of a sequence: keys and values of pairs. Pair `p` joins the hidden state of row `p` and row `p + 1`.
/// Pairs may be missing, those of the beginning above all: the block then guesses from the rest. A clone shares the full pages.
#[derive(Clone, Default)]
pub struct DraftMemory {
    table: PageTable,
    /// The numbers of the pairs, ascending; the place of a pair's keys and values is that of its number.
    pairs: Vec<u32>,
    /// Hidden states behind the last rows of the sequence, whose pairs are not in the memory yet: `[n, n_embd]`.
    waiting: Vec<f32>,
    /// The row of the first of them.
    first_waiting: usize,
}

impl DraftMemory {
    /// Bytes of one with `n_place` pairs, its pages apart, and of a call that shows the block what waits; sizes beyond the
    /// address space count as all of it.
    pub fn bytes(config: &Config, n_place: usize) -> usize {
        // States that wait, that room is left for, that are taken, and the outputs behind them.
        let states = (6 * MOST_WAITING).saturating_mul(config.n_embd).saturating_mul(4);
        n_place.saturating_mul(8).saturating_add(states)
    }

    /// Bytes of one behind `n` rows at most, its pages apart.
    pub fn bytes_behind(config: &Config, n: usize) -> usize {
        let waiting = MOST_WAITING.saturating_mul(config.n_embd).saturating_mul(size_of::<f32>());
        n.saturating_mul(size_of::<u32>()).saturating_add(PageTable::bytes_of(n)).saturating_add(waiting)
    }

    /// Bytes that it has now, its pages apart.
    pub fn bytes_held(&self) -> usize {
        size_of_val(&self.pairs[..]) + size_of_val(&self.waiting[..]) + self.table.bytes()
    }

    /// Pairs in the memory.
    pub fn n_pair(&self) -> usize {
        self.pairs.len()
    }

    /// Pages that `n` rows more take at most, with those that wait.
    pub fn n_missing(&self, n: usize) -> usize {
        self.table.n_missing(self.n_pair(), n.saturating_add(MOST_WAITING))
    }

    /// The number behind that of the last pair.
    pub fn next_pair(&self) -> usize {
        self.pairs.last().map_or(0, |&pair| pair as usize + 1)
    }

    /// Forgets all pairs but those with numbers below `n`.
    pub fn truncate(&mut self, n: usize) {
        self.pairs.truncate(self.pairs.partition_point(|&pair| (pair as usize) < n));
        self.table.truncate(self.pairs.len());
    }

    /// Forgets what is known of the rows from `n_past` on.
    pub fn cut(&mut self, n_past: usize, n_embd: usize) {
        self.truncate(n_past.saturating_sub(1));
        self.waiting.truncate(n_past.saturating_sub(self.first_waiting) * n_embd);
    }

    /// Room for the hidden states `[n, n_embd]` of the rows from `first` on, which wait there until the rows behind them are known.
    pub fn keep_waiting(&mut self, first: usize, n: usize, n_embd: usize) -> &mut [f32] {
        if self.first_waiting + self.waiting.len() / n_embd != first {
            self.waiting.clear();
        }
        if self.waiting.is_empty() {
            self.first_waiting = first;
        }
        let before = self.waiting.len();
        self.waiting.resize(before + n * n_embd, 0.0);
        &mut self.waiting[before..]
    }

    /// The row of the first hidden state that waits, and how many wait.
    pub fn waiting(&self, n_embd: usize) -> (usize, usize) {
        (self.first_waiting, self.waiting.len() / n_embd)
    }

    /// Takes the first `n` of the hidden states that wait.
    pub fn take_waiting(&mut self, n: usize, n_embd: usize) -> Vec<f32> {
        let rest = self.waiting.split_off(n * n_embd);
        self.first_waiting += n;
        std::mem::replace(&mut self.waiting, rest)
    }

    /// Makes room for `n` pairs more where `n_place` fit: the oldest go, a page at a time.
    fn make_room(&mut self, n: usize, n_place: usize) {
        while !self.pairs.is_empty() && self.pairs.len() + n > n_place {
            self.pairs.drain(..PAGE.min(self.pairs.len()));
            self.table.drop_first();
        }
    }
}

/// Whose outputs are wanted of the pairs that the block is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outputs {
    /// Those of all.
    All,
    /// Nobody's: keys and values are enough.
    None,
}

/// Pairs to be shown to the block: those of consecutive rows of a sequence.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    /// The number of the first.
    pub first: usize,
    /// The trunk's hidden states, after the final norm `[n, n_embd]`.
    pub hidden: &'a [f32],
    /// The rows that follow each `[n]`.
    pub next: &'a [InputRow],
    /// How they are computed.
    pub way: Way,
}

/// The block's buffers, and the pages of all sequences' pairs.
pub struct Drafter {
    pool: PagePool,
    /// Pairs of a sequence that are remembered at most.
    n_place: usize,
    joint: Batch,
    scratch: Scratch,
    /// Outputs of the last call `[n, n_embd]`.
    y: Vec<f32>,
}

impl Drafter {
    /// One that remembers the last `n_place` pairs of each of `n_sequence` sequences.
    pub fn new(config: &Config, n_place: usize, n_sequence: usize, kv: KvType) -> Drafter {
        Drafter {
            pool: PagePool::new(config, kv, pages_of(n_place) * n_sequence),
            n_place,
            joint: Batch::new(joint(config)),
            scratch: Scratch::new(config, n_place, LIMITS),
            y: Vec::new(),
        }
    }

    /// Bytes of [`Drafter::new`] when it is full, the outputs of a call apart; sizes beyond the address space count as all
    /// of it.
    pub fn bytes(config: &Config, n_place: usize, n_sequence: usize, kv: KvType) -> usize {
        let pages = PagePool::bytes(config, kv, pages_of(n_place).saturating_mul(n_sequence));
        pages.saturating_add(Scratch::bytes(config, n_place, LIMITS)).saturating_add(joint(config).bytes())
    }

    /// Outputs of the last call, after the block's own norm: `[n, n_embd]`.
    pub fn outputs(&self) -> &[f32] {
        &self.y
    }

    /// Pairs of a sequence that are remembered at most.
    pub fn n_place(&self) -> usize {
        self.n_place
    }

    /// Pages that no sequence holds.
    pub fn n_free_page(&self) -> usize {
        self.pool.n_free()
    }

    /// Makes the system give the memory of all pairs now.
    pub fn commit_memory(&mut self) {
        self.pool.commit_memory();
        self.scratch.commit_memory();
    }

    /// Shows pairs to the block, behind those in the memory; the oldest make room for them.
    ///
    /// # Errors
    /// If the pool has too few pages. The pairs before the batch that would need them are in the memory then.
    ///
    /// # Panics
    /// If the model has no such block, the two lengths do not fit, or a token is outside the vocabulary.
    pub fn run(
        &mut self,
        model: &Model,
        rope: &Rope,
        compute: &mut Compute,
        memory: &mut DraftMemory,
        pairs: Pairs<'_>,
        outputs: Outputs,
    ) -> Result<(), OutOfPages> {
        let (n_embd, Pairs { first, hidden, next, way }) = (model.config.n_embd, pairs);
        assert_eq!(hidden.len(), next.len() * n_embd, "a hidden state for every row");
        let at_once = BATCH.min(self.n_place.max(1));
        self.y.resize(if outputs == Outputs::All { hidden.len() } else { 0 }, 0.0);
        for (i, next) in next.chunks(at_once).enumerate() {
            let rows = i * at_once * n_embd..(i * at_once + next.len()) * n_embd;
            let n = next.len();
            memory.make_room(n, self.n_place);
            let n_past = memory.n_pair();
            memory.table.check(&self.pool, n_past, n)?;
            memory.table.reserve(&mut self.pool, n_past, n);
            let span = Span { way, start: 0, n, n_past, n_logged: 0, to_log: 0 };
            self.join(model, rope, compute, &hidden[rows.clone()], next, span.counts());
            match outputs {
                Outputs::All => self.layer(model, compute, &memory.table, span, rows),
                Outputs::None => self.remember(model, compute, &memory.table, span),
            }
            let first = first + i * at_once;
            memory.pairs.extend((first..first + n).map(|pair| pair as u32));
        }
        Ok(())
    }

    /// Writes `t` of a batch into the residual stream, and the rotary angles.
    fn join(
        &mut self,
        model: &Model,
        rope: &Rope,
        compute: &mut Compute,
        hidden: &[f32],
        next: &[InputRow],
        counts: RowCounts,
    ) {
        let (block, config, token_embd) = (block(model), &model.config, model.token_embd.matrix());
        let kernels = compute.kernels;
        let n_embd = config.n_embd;
        self.joint.reshape(counts, 2 * n_embd);
        self.joint.fill(compute, |i, row| {
            let (e, h) = row.split_at_mut(n_embd);
            match &next[i].input {
                Input::Token(id) => token_embd.decode(*id as usize, e),
                Input::Embedding(row) => e.copy_from_slice(row),
            }
            kernels.rms_norm_in_place(e, &block.enorm, config.rms_eps);
            kernels.rms_norm(&hidden[i * n_embd..][..n_embd], &block.hnorm, config.rms_eps, h);
        });
        let (x, angles) = self.scratch.inputs(config, next.len());
        compute.team.split(angles, config.rope.n_rot, |i, angles| rope.fill(next[i].position, angles));
        products(compute, &self.joint, Phase::Products, [(block.eh_proj.matrix(), Exactness::Plain, x)]);
    }

    /// The attention layer over the residual stream, and the norm behind it, into the given values of `y`.
    fn layer(&mut self, model: &Model, compute: &mut Compute, table: &PageTable, span: Span, rows: Range<usize>) {
        let (kernels, block, config) = (compute.kernels, block(model), &model.config);
        let weights::Mixer::Attention(mixer) = &block.layer.mixer else { unreachable!("bound as attention") };
        let spans = [span];
        let (x, mut pass) = self.scratch.pass(compute, config, span.counts(), &spans, 0);
        pass.norm(x, false, &block.layer.attn_norm);
        attention::forward(mixer, &mut self.pool, &[table], &mut pass);
        pass.norm(x, true, &block.layer.post_attention_norm);
        ffn::forward(&block.layer.ffn, &mut pass);
        kernels.add(x, pass.out);
        for (x, y) in x.chunks(config.n_embd).zip(self.y[rows].chunks_mut(config.n_embd)) {
            kernels.rms_norm(x, &block.shared_head_norm, config.rms_eps, y);
        }
    }

    /// What the layer remembers of the residual stream.
    fn remember(&mut self, model: &Model, compute: &mut Compute, table: &PageTable, span: Span) {
        let (block, config) = (block(model), &model.config);
        let weights::Mixer::Attention(mixer) = &block.layer.mixer else { unreachable!("bound as attention") };
        let spans = [span];
        let (x, mut pass) = self.scratch.pass(compute, config, span.counts(), &spans, 0);
        pass.norm(x, false, &block.layer.attn_norm);
        attention::remember(mixer, &mut self.pool, table, &mut pass);
    }
}

/// The lengths of the joints of a batch of pairs.
fn joint(config: &Config) -> BatchShape {
    LIMITS.shape(config, 2 * config.n_embd, false)
}

fn block(model: &Model) -> &Mtp {
    model.mtp.as_ref().expect("the model has the block")
}
