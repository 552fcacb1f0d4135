//! What the parts of a layer work with: the buffers of a batch, and a view of them for one pass over a layer.

use super::Config;
use crate::compute::Compute;
use crate::compute::batch::Batch;
use crate::platform::machine::commit_memory;

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
    /// Partial results of attention split over the context.
    partials: Vec<f32>,
}

impl Scratch {
    /// Buffers for batches of up to `n_batch` tokens.
    pub fn new(config: &Config, n_batch: usize) -> Scratch {
        let proj = config.conv_channels().max(config.query_dim() + 2 * config.kv_dim());
        let zeros = |cols: usize| vec![0.0; n_batch * cols];
        Scratch {
            x: zeros(config.n_embd),
            out: zeros(config.n_embd),
            h: Batch::new(config.forms, n_batch, config.n_embd),
            core: Batch::new(config.forms, n_batch, config.value_dim().max(config.n_head * config.head_dim)),
            wide: Batch::new(config.forms, n_batch, config.n_ff),
            proj: zeros(proj),
            up: zeros(config.n_ff.max(config.value_dim())),
            alpha_beta: zeros(2 * config.n_v_head),
            angles: zeros(config.rope.n_rot),
            partials: Vec::new(),
        }
    }

    /// Makes the system give the memory of a full batch now.
    pub fn commit_memory(&mut self) {
        let Scratch { x, out, h, core, wide, proj, up, alpha_beta, angles, .. } = self;
        [x, out, proj, up, alpha_beta, angles].into_iter().for_each(|buffer| commit_memory(buffer));
        [h, core, wide].into_iter().for_each(Batch::commit_memory);
    }

    /// Bytes the buffers of a batch take.
    pub fn bytes(config: &Config, n_batch: usize) -> usize {
        let core = config.value_dim().max(config.n_head * config.head_dim);
        let proj = config.conv_channels().max(config.query_dim() + 2 * config.kv_dim());
        let up = config.n_ff.max(config.value_dim());
        let plain = 2 * config.n_embd + proj + up + 2 * config.n_v_head + config.rope.n_rot;
        let batches = Batch::row_bytes(config.forms, config.n_embd, true)
            + Batch::row_bytes(config.forms, core, false)
            + Batch::row_bytes(config.forms, config.n_ff, false);
        n_batch.saturating_mul(4 * plain + batches)
    }
}

/// What the parts of a layer work with: the batch, its buffers, functions and threads.
pub(super) struct LayerPass<'a> {
    pub compute: &'a mut Compute,
    pub config: &'a Config,
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
    pub partials: &'a mut Vec<f32>,
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
        h.reshape(n, config.n_embd);
        wide.reshape(n, config.n_ff);
        let x = &mut x[..n * config.n_embd];
        (x, LayerPass { compute, config, n, n_past, h, core, wide, proj, up, alpha_beta, angles, partials, out })
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
