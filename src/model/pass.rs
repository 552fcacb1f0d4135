//! What the parts of a layer work with: the rows of a batch, its buffers, and a view of them for one pass over a layer.

use super::Config;
use super::experts::ExpertScratch;
use crate::compute::Compute;
use crate::compute::batch::{Batch, BatchShape, RowCounts};
use crate::platform::machine::commit_memory;
use kernels::Way;
use kernels::attention::CONTEXT_CHUNK;
use std::ops::Range;

/// How large a batch may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchLimits {
    /// Rows.
    pub rows: usize,
    /// Written rows among them.
    pub written: usize,
}

impl BatchLimits {
    /// The shape of rows of up to `cols` values.
    pub(super) fn shape(self, config: &Config, cols: usize, refined: bool) -> BatchShape {
        let rows = RowCounts { prompt: self.rows, written: self.written };
        BatchShape { forms: config.forms, rows, total: self.rows, cols, refined }
    }
}

/// The rows of one sequence in a batch: consecutive ones, prompt rows before all written ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub way: Way,
    /// The first of them.
    pub start: usize,
    /// How many.
    pub n: usize,
    /// Rows that the sequence had before.
    pub n_past: usize,
    /// Of these the last ones, which its DeltaNet layers have in their logs.
    pub n_logged: usize,
    /// Of its own rows the last ones, which go to the logs and not to the states.
    pub to_log: usize,
}

impl Span {
    /// The counts of a batch of these rows alone.
    pub fn counts(&self) -> RowCounts {
        match self.way {
            Way::Prompt => RowCounts { prompt: self.n, written: 0 },
            Way::Written => RowCounts { prompt: 0, written: self.n },
        }
    }

    /// Where its values are among rows of `width`.
    pub fn values(&self, width: usize) -> Range<usize> {
        self.start * width..(self.start + self.n) * width
    }
}

/// Buffers of a forward pass; shapes are those of a batch of n rows.
pub struct Scratch {
    /// The largest batch.
    pub(super) limits: BatchLimits,
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
    /// Partial results of the attention of written rows, split over the context: `[n_head_kv, chunks, n·group, head_dim + 2]`.
    partials: Vec<f32>,
    /// Buffers of experts, of a sparse model.
    experts: Option<ExpertScratch>,
}

/// Written rows whose partial results are kept at once in the longest context; more take turns there.
const ROWS_AT_ONCE: usize = 8;

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
    /// Those for batches within `limits` in contexts of up to `n_ctx`.
    fn new(config: &Config, n_ctx: usize, limits: BatchLimits) -> Shapes {
        let values = |cols: usize| limits.rows.saturating_mul(cols);
        let batch = |cols: usize, refined: bool| limits.shape(config, cols, refined);
        let heads = config.n_head * config.head_dim;
        let few = limits.written.min(ROWS_AT_ONCE) * config.n_head;
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
    /// Buffers for batches within `limits` in contexts of up to `n_ctx`.
    pub fn new(config: &Config, n_ctx: usize, limits: BatchLimits) -> Scratch {
        let Shapes { x, h, core, wide, proj, up, alpha_beta, angles, partials } = Shapes::new(config, n_ctx, limits);
        Scratch {
            limits,
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
            experts: ExpertScratch::new(config),
        }
    }

    /// Bytes of [`Scratch::new`], and of what a batch is refined into; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config, n_ctx: usize, limits: BatchLimits) -> usize {
        Shapes::new(config, n_ctx, limits).bytes().saturating_add(ExpertScratch::bytes(config, limits))
    }

    /// Makes the system give the memory of a full batch in a full context now.
    pub fn commit_memory(&mut self) {
        let Scratch { x, out, h, core, wide, proj, up, alpha_beta, angles, partials, .. } = self;
        [x, out, proj, up, alpha_beta, angles, partials].into_iter().for_each(|buffer| commit_memory(buffer));
        [h, core, wide].into_iter().for_each(Batch::commit_memory);
    }
}

/// What the parts of a layer work with: the batch, its buffers, functions and threads.
pub(super) struct LayerPass<'a> {
    pub compute: &'a mut Compute,
    pub config: &'a Config,
    /// Rows of the batch, by their ways.
    pub counts: RowCounts,
    /// The sequences in it, in the order of their rows.
    pub spans: &'a [Span],
    pub h: &'a mut Batch,
    pub core: &'a mut Batch,
    pub wide: &'a mut Batch,
    pub proj: &'a mut [f32],
    pub up: &'a mut [f32],
    pub alpha_beta: &'a mut [f32],
    pub angles: &'a [f32],
    pub partials: &'a mut [f32],
    pub experts: Option<&'a mut ExpertScratch>,
    pub out: &'a mut [f32],
}

impl Scratch {
    /// The residual stream `[n, n_embd]` and the rotary angles `[n, n_rot]` of a batch to be filled.
    pub(super) fn inputs(&mut self, config: &Config, n: usize) -> (&mut [f32], &mut [f32]) {
        (&mut self.x[..n * config.n_embd], &mut self.angles[..n * config.rope.n_rot])
    }

    /// The residual stream from row `first` on and the rest of the buffers, cut to so many rows.
    pub(super) fn pass<'a>(
        &'a mut self,
        compute: &'a mut Compute,
        config: &'a Config,
        counts: RowCounts,
        spans: &'a [Span],
        first: usize,
    ) -> (&'a mut [f32], LayerPass<'a>) {
        let Scratch { x, out, h, core, wide, proj, up, alpha_beta, angles, partials, experts, .. } = self;
        let n = counts.total();
        let rows = first * config.n_embd..(first + n) * config.n_embd;
        let (x, out) = (&mut x[rows.clone()], &mut out[rows]);
        h.reshape(counts, config.n_embd);
        wide.reshape(counts, config.n_ff);
        let experts = experts.as_mut();
        let pass = LayerPass {
            compute,
            config,
            counts,
            spans,
            h,
            core,
            wide,
            proj,
            up,
            alpha_beta,
            angles,
            partials,
            experts,
            out,
        };
        (x, pass)
    }

    /// Copies of the given rows of the residual stream, then of what is to be added to them.
    pub(super) fn copy(&self, config: &Config, rows: &[usize]) -> Vec<f32> {
        let mut copies = Vec::with_capacity(2 * rows.len() * config.n_embd);
        for buffer in [&self.x, &self.out] {
            rows.iter().for_each(|row| copies.extend_from_slice(&buffer[row * config.n_embd..][..config.n_embd]));
        }
        copies
    }

    /// Puts back what [`Scratch::copy`] has copied.
    pub(super) fn put_back(&mut self, config: &Config, rows: &[usize], copies: &[f32]) {
        let mut copies = copies.chunks(config.n_embd);
        for buffer in [&mut self.x, &mut self.out] {
            for (row, copy) in rows.iter().zip(&mut copies) {
                buffer[row * config.n_embd..][..config.n_embd].copy_from_slice(copy);
            }
        }
    }

    /// Moves the given rows, in ascending order, of the residual stream and of what is to be added to it to the front.
    pub(super) fn gather(&mut self, config: &Config, rows: &[usize]) {
        let n_embd = config.n_embd;
        for (to, &from) in rows.iter().enumerate() {
            for buffer in [&mut self.x, &mut self.out] {
                buffer.copy_within(from * n_embd..(from + 1) * n_embd, to * n_embd);
            }
        }
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
