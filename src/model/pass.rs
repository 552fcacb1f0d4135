//! What the parts of a layer work with: the buffers of a batch, and a view of them for one pass over a layer.

use super::Config;
use crate::compute::Compute;
use crate::compute::batch::{Batch, BatchShape, RowCounts};
use crate::platform::machine::commit_memory;
use kernels::attention::CONTEXT_CHUNK;

/// Buffers of a forward pass over up to `n_batch` tokens; shapes are those of a batch of n.
pub struct Scratch {
    /// Residual stream `[n, n_embd]`.
    pub(crate) x: Vec<f32>,
    /// Output of the last mixer or feed-forward, not yet added to the residual stream `[n, n_embd]`.
    pub(super) out: Vec<f32>,
    /// Normalised residual stream `[n, n_embd]`.
    h: Batch,
    /// Concatenated head outputs `[n, value_dim]` or `[n, n_head·head_dim]`.
    core: Batch,
    /// Feed-forward gate, then its product with up `[n, n_ff]`.
    wide: Batch,
    /// Projections of a mixer: `[n, C]`, or queries, keys and values of attention.
    proj: Vec<f32>,
    /// The other half of a gate: z of DeltaNet `[n, value_dim]`, up of the feed-forward `[n, n_ff]`.
    up: Vec<f32>,
    /// Decay and write strength `[n, 2·n_v_head]`.
    alpha_beta: Vec<f32>,
    /// cos and sin of the batch `[n, n_rot]`.
    angles: Vec<f32>,
    /// Partial results of attention split over the context: `[n_head_kv, chunks, n·group, head_dim + 2]`, few tokens alone.
    partials: Vec<f32>,
}

/// Batches up to this many tokens are written rows; the rows of larger ones are all prompt rows.
const MOST_WRITTEN: usize = 4;

/// How the rows of a batch of `n` are multiplied.
pub fn ways(n: usize) -> RowCounts {
    if n <= MOST_WRITTEN { RowCounts { prompt: 0, written: n } } else { RowCounts { prompt: n, written: 0 } }
}

/// Rows of each way at most, in batches of up to `n`.
pub fn most(n: usize) -> RowCounts {
    RowCounts { prompt: ways(n).prompt, written: n.min(MOST_WRITTEN) }
}

/// Batches up to this many tokens share out the context over the threads; larger ones share out the tokens.
pub(super) const FEW_TOKENS: usize = 8;

/// The lengths of a [`Scratch`], in values; those beyond the address space count as all of it.
#[derive(Clone, Copy, Debug)]
struct Shapes {
    x: usize,
    h: BatchShape,
    core: BatchShape,
    wide: BatchShape,
    proj: usize,
    up: usize,
    alpha_beta: usize,
    angles: usize,
    partials: usize,
}

impl Shapes {
    /// Those for batches of up to `rows` tokens in a context of up to `n_ctx`.
    fn new(config: &Config, n_ctx: usize, rows: usize) -> Shapes {
        let values = |cols: usize| rows.saturating_mul(cols);
        let batch = |cols: usize, refined: bool| BatchShape { forms: config.forms, rows: most(rows), cols, refined };
        let heads = config.n_head * config.head_dim;
        let few = rows.min(FEW_TOKENS) * config.n_head;
        Shapes {
            x: values(config.n_embd),
            h: batch(config.n_embd, true),
            core: batch(config.value_dim().max(heads), false),
            wide: batch(config.n_ff, false),
            proj: values(config.conv_channels().max(config.query_dim() + 2 * config.kv_dim())),
            up: values(config.n_ff.max(config.value_dim())),
            alpha_beta: values(2 * config.n_v_head),
            angles: values(config.rope.n_rot),
            partials: n_ctx.div_ceil(CONTEXT_CHUNK).saturating_mul(few).saturating_mul(config.head_dim + 2),
        }
    }

    fn bytes(&self) -> usize {
        let Shapes { x, h, core, wide, proj, up, alpha_beta, angles, partials } = *self;
        let values = [x, x, proj, up, alpha_beta, angles, partials].into_iter().fold(0, usize::saturating_add);
        [h, core, wide].iter().map(BatchShape::bytes).fold(values.saturating_mul(4), usize::saturating_add)
    }
}

impl Scratch {
    /// Buffers for batches of up to `n_batch` tokens in a context of up to `n_ctx`.
    pub fn new(config: &Config, n_ctx: usize, n_batch: usize) -> Scratch {
        let Shapes { x, h, core, wide, proj, up, alpha_beta, angles, partials } = Shapes::new(config, n_ctx, n_batch);
        Scratch {
            x: vec![0.0; x],
            out: vec![0.0; x],
            h: Batch::new(h),
            core: Batch::new(core),
            wide: Batch::new(wide),
            proj: vec![0.0; proj],
            up: vec![0.0; up],
            alpha_beta: vec![0.0; alpha_beta],
            angles: vec![0.0; angles],
            partials: vec![0.0; partials],
        }
    }

    /// Bytes of [`Scratch::new`], and of what a batch is refined into; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config, n_ctx: usize, n_batch: usize) -> usize {
        Shapes::new(config, n_ctx, n_batch).bytes()
    }

    /// Makes the system give the memory of a full batch in a full context now.
    pub fn commit_memory(&mut self) {
        let Scratch { x, out, h, core, wide, proj, up, alpha_beta, angles, partials } = self;
        [x, out, proj, up, alpha_beta, angles, partials].into_iter().for_each(|buffer| commit_memory(buffer));
        [h, core, wide].into_iter().for_each(Batch::commit_memory);
    }
}

/// What the parts of a layer work with: the batch, its buffers, functions and threads.
pub(super) struct LayerPass<'a> {
    pub compute: &'a mut Compute,
    pub config: &'a Config,
    /// Tokens in the batch, by the ways in which their rows are multiplied.
    pub rows: RowCounts,
    /// Tokens in the batch.
    pub n: usize,
    /// Tokens before the batch.
    pub n_past: usize,
    pub h: &'a mut Batch,
    pub core: &'a mut Batch,
    pub wide: &'a mut Batch,
    pub proj: &'a mut [f32],
    pub up: &'a mut [f32],
    pub alpha_beta: &'a mut [f32],
    pub angles: &'a [f32],
    pub partials: &'a mut [f32],
    pub out: &'a mut [f32],
}

impl Scratch {
    /// The residual stream `[n, n_embd]` and the rotary angles `[n, n_rot]` of a batch to be filled.
    pub(super) fn inputs(&mut self, config: &Config, n: usize) -> (&mut [f32], &mut [f32]) {
        (&mut self.x[..n * config.n_embd], &mut self.angles[..n * config.rope.n_rot])
    }

    /// The residual stream and the rest of the buffers, cut to `n` rows.
    pub(super) fn pass<'a>(
        &'a mut self,
        compute: &'a mut Compute,
        config: &'a Config,
        n: usize,
        n_past: usize,
    ) -> (&'a mut [f32], LayerPass<'a>) {
        let Scratch { x, out, h, core, wide, proj, up, alpha_beta, angles, partials } = self;
        let out = &mut out[..n * config.n_embd];
        let rows = ways(n);
        h.reshape(rows, config.n_embd);
        wide.reshape(rows, config.n_ff);
        let x = &mut x[..n * config.n_embd];
        (x, LayerPass { compute, config, rows, n, n_past, h, core, wide, proj, up, alpha_beta, angles, partials, out })
    }
}

impl LayerPass<'_> {
    /// Adds `out` to the residual rows `x` if there is one, then writes their norm into `h`.
    pub(super) fn norm(&mut self, x: &mut [f32], add: bool, w: &[f32]) {
        let (kernels, out, n_embd, eps) = (self.compute.kernels, &*self.out, self.config.n_embd, self.config.rms_eps);
        self.h.fill_beside(self.compute, (x, n_embd), |r, x, h| {
            if add {
                kernels.add(x, &out[r * n_embd..][..n_embd]);
            }
            kernels.rms_norm(x, w, eps, h);
        });
    }
}
