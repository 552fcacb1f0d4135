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
use kernels::{Way, decode};
use std::ops::Range;

/// Pairs that go through the block at once.
const BATCH: usize = 64;

/// These may be rows of either way.
const LIMITS: BatchLimits = BatchLimits { rows: BATCH, written: BATCH };

/// What the block remembers of a sequence: keys and values, which have the pairs' numbers as places. Pair `p` joins the hidden
/// state of row `p` and row `p + 1`. A clone shares the full pages.
#[derive(Clone, Default)]
pub struct DraftMemory {
    table: PageTable,
    n_pair: usize,
}

impl DraftMemory {
    /// Pairs in the memory.
    pub fn n_pair(&self) -> usize {
        self.n_pair
    }

    /// Forgets all pairs but the first `n`; fewer stay fewer.
    pub fn truncate(&mut self, n: usize) {
        self.n_pair = self.n_pair.min(n);
        self.table.truncate(self.n_pair);
    }
}

/// The block's buffers, and the pages of all sequences' pairs.
pub struct Drafter {
    pool: PagePool,
    joint: Batch,
    scratch: Scratch,
    /// Outputs of the last call `[n, n_embd]`.
    y: Vec<f32>,
}

impl Drafter {
    /// One with room for `n_ctx` pairs of each of `n_sequence` sequences.
    pub fn new(config: &Config, n_ctx: usize, n_sequence: usize, kv: KvType) -> Drafter {
        Drafter {
            pool: PagePool::new(config, kv, pages_of(n_ctx) * n_sequence),
            joint: Batch::new(joint(config)),
            scratch: Scratch::new(config, n_ctx, LIMITS),
            y: Vec::new(),
        }
    }

    /// Bytes of [`Drafter::new`] when it is full, the outputs of a call apart; sizes beyond the address space count as all
    /// of it.
    pub fn bytes(config: &Config, n_ctx: usize, n_sequence: usize, kv: KvType) -> usize {
        let pages = PagePool::bytes(config, kv, pages_of(n_ctx).saturating_mul(n_sequence));
        pages.saturating_add(Scratch::bytes(config, n_ctx, LIMITS)).saturating_add(joint(config).bytes())
    }

    /// Outputs of the last call, after the block's own norm: `[n, n_embd]`.
    pub fn outputs(&self) -> &[f32] {
        &self.y
    }

    /// Runs the pairs of `hidden [n, n_embd]` and `next [n]` through the block, behind those in the memory.
    ///
    /// # Errors
    /// If the pool has too few pages. The pairs before the batch that would need them are in the memory then.
    ///
    /// # Panics
    /// If the model has no such block, the two lengths do not fit, or a token is outside the vocabulary.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &mut self,
        model: &Model,
        rope: &Rope,
        compute: &mut Compute,
        memory: &mut DraftMemory,
        hidden: &[f32],
        next: &[InputRow],
        way: Way,
    ) -> Result<(), OutOfPages> {
        let n_embd = model.config.n_embd;
        assert_eq!(hidden.len(), next.len() * n_embd, "a hidden state for every row");
        self.y.resize(hidden.len(), 0.0);
        for (i, next) in next.chunks(BATCH).enumerate() {
            let rows = i * BATCH * n_embd..(i * BATCH + next.len()) * n_embd;
            let (n, n_past) = (next.len(), memory.n_pair);
            memory.table.check(&self.pool, n_past, n)?;
            memory.table.reserve(&mut self.pool, n_past, n);
            let span = Span { way, start: 0, n, n_past, n_logged: 0, logged: false };
            self.join(model, rope, compute, &hidden[rows.clone()], next, span.counts());
            self.layer(model, compute, &memory.table, span, rows);
            memory.n_pair += n;
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
                Input::Token(id) => decode::decode_row(token_embd.format(), token_embd.row(*id as usize), e),
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
}

/// The lengths of the joints of a batch of pairs.
fn joint(config: &Config) -> BatchShape {
    LIMITS.shape(config, 2 * config.n_embd, false)
}

fn block(model: &Model) -> &Mtp {
    model.mtp.as_ref().expect("the model has the block")
}
