//! The forward pass of the trunk (`MODEL.md` §3): embed, then every layer, in one place.

use super::rope::{Position, Rope};
use super::weights::{Layer, Mixer, Model};
use super::{Config, attention, deltanet, ffn};
use crate::compute::Compute;
use crate::compute::batch::Batch;
use crate::platform::machine::touch;
use kernels::decode;

/// One position of the input: what stands there, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// What stands there.
    pub input: Input<'a>,
    /// Position on the t, h and w axes; all equal for text.
    pub position: Position,
}

/// What stands at a position of the input.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A token of the vocabulary.
    Token(u32),
    /// An embedding row `[n_embd]` from elsewhere: the vision tower.
    Embedding(&'a [f32]),
}

/// What a layer remembers of the tokens so far.
pub enum Cache {
    /// Keys and values by position.
    Attention(attention::KvCache),
    /// State of fixed size, and the log of the last batch if that was to be kept.
    DeltaNet(deltanet::State, Option<deltanet::Log>),
}

/// Buffers of a forward pass over up to `n_batch` tokens; shapes are those of a batch of n.
pub struct Scratch {
    /// Residual stream `[n, n_embd]`.
    pub(crate) x: Vec<f32>,
    /// Output of the last mixer or feed-forward, not yet added to the residual stream `[n, n_embd]`.
    out: Vec<f32>,
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
    pub fn touch(&mut self) {
        let Scratch { x, out, h, core, wide, proj, up, alpha_beta, angles, .. } = self;
        [x, out, proj, up, alpha_beta, angles].into_iter().for_each(|buffer| touch(buffer));
        [h, core, wide].into_iter().for_each(Batch::touch);
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

/// What the parts of a layer work with: the batch, the buffers, functions and threads.
pub(super) struct Pass<'a> {
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
    ) -> (&'a mut [f32], Pass<'a>) {
        let Scratch { x, out, h, core, wide, proj, up, alpha_beta, angles, partials } = self;
        let out = &mut out[..n * config.n_embd];
        h.reshape(n, config.n_embd);
        wide.reshape(n, config.n_ff);
        let x = &mut x[..n * config.n_embd];
        (x, Pass { compute, config, n, n_past, h, core, wide, proj, up, alpha_beta, angles, partials, out })
    }
}

impl Pass<'_> {
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

/// One run of the trunk over a batch.
pub struct Forward<'a> {
    /// The weights.
    pub model: &'a Model,
    /// The functions and threads.
    pub compute: &'a mut Compute,
    /// Rotary tables.
    pub rope: &'a Rope,
    /// What each layer remembers.
    pub caches: &'a mut [Cache],
    /// Buffers.
    pub scratch: &'a mut Scratch,
    /// Tokens before the batch.
    pub n_past: usize,
}

/// Told the input of each layer, `(layer, x [n, n_embd])`, as it is computed.
pub type Observer<'o> = &'o mut dyn FnMut(usize, &[f32]);

impl Forward<'_> {
    /// Runs the batch through the trunk and advances the caches. Afterwards the first `want` rows of the residual
    /// stream `scratch.x` are the outputs, before the final norm, of the last `want` slots.
    ///
    /// With `log`, each DeltaNet layer keeps what a rewind into this batch needs.
    ///
    /// # Panics
    /// If the batch is empty, larger than the buffers, `want` is larger than it, or a token is outside the vocabulary.
    pub fn run(&mut self, slots: &[Slot<'_>], want: usize, log: bool, mut observer: Option<Observer<'_>>) {
        let (model, config) = (self.model, &self.model.config);
        let n_embd = config.n_embd;
        let n = slots.len();
        assert!(n > 0 && want <= n, "{want} outputs of {n} slots");
        self.embed(slots);

        let mut rows = n;
        for (il, (layer, cache)) in model.layers.iter().zip(self.caches.iter_mut()).enumerate() {
            let (x, mut pass) = self.scratch.pass(self.compute, config, n, self.n_past);
            pass.norm(x, il > 0, &layer.attn_norm);
            if let Some(observer) = &mut observer {
                observer(il, x);
            }
            mixer(layer, cache, log, &mut pass);
            if il + 1 == model.layers.len() && want < n && observer.is_none() {
                // Nobody reads the other rows any more: the last feed-forward is for the wanted ones alone.
                rows = want.max(1);
                x.copy_within((n - rows) * n_embd.., 0);
                pass.out.copy_within((n - rows) * n_embd.., 0);
            }
            let (x, mut pass) = self.scratch.pass(self.compute, config, rows, self.n_past);
            pass.norm(x, true, &layer.post_attention_norm);
            ffn::forward(&layer.ffn, &mut pass);
            if let Some(stream) = &model.stream {
                stream.used(il);
            }
        }
        let Scratch { x, out, .. } = &mut *self.scratch;
        if rows > want {
            x.copy_within((rows - want) * n_embd..rows * n_embd, 0);
            out.copy_within((rows - want) * n_embd..rows * n_embd, 0);
        }
        self.compute.kernels.add(&mut x[..want * n_embd], &out[..want * n_embd]);
    }

    /// Writes the embeddings of the slots into the residual stream, and their rotary angles.
    fn embed(&mut self, slots: &[Slot<'_>]) {
        let (token_embd, rope) = (self.model.token_embd.matrix(), self.rope);
        let config = &self.model.config;
        let (n_embd, n_rot) = (config.n_embd, config.rope.n_rot);
        let (x, angles) = self.scratch.inputs(config, slots.len());
        self.compute.team.split2((x, n_embd), (angles, n_rot), |i, x, angles| {
            rope.fill(slots[i].position, angles);
            match slots[i].input {
                Input::Token(id) => decode::decode_row(token_embd.format(), token_embd.row(id as usize), x),
                Input::Embedding(row) => x.copy_from_slice(row),
            }
        });
    }

    /// Sets the DeltaNet layers to what they were after the first `keep` tokens of the last logged batch.
    ///
    /// # Panics
    /// If the last batch was not logged, or was shorter.
    pub fn rewind(&mut self, keep: usize) {
        let config = &self.model.config;
        for (layer, cache) in self.model.layers.iter().zip(self.caches.iter_mut()) {
            if let (Mixer::DeltaNet(w), Cache::DeltaNet(state, log)) = (&layer.mixer, cache) {
                let log = log.take().expect("the last batch was logged");
                deltanet::rewind(w, state, log, keep, config, self.compute);
            }
        }
    }
}

fn mixer(layer: &Layer, cache: &mut Cache, keep_log: bool, pass: &mut Pass<'_>) {
    match (&layer.mixer, cache) {
        (Mixer::DeltaNet(w), Cache::DeltaNet(state, log)) => {
            *log = None;
            deltanet::forward(w, state, keep_log.then_some(log), pass);
        }
        (Mixer::Attention(w), Cache::Attention(cache)) => attention::forward(w, cache, pass),
        _ => unreachable!("caches are made from the same layer kinds"),
    }
}
