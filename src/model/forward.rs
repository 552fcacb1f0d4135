//! The forward pass of the trunk (`MODEL.md` §3): embed, then every layer, in one place.

use super::cache::KvCache;
use super::input::{Input, InputRow};
use super::pass::{LayerPass, Scratch};
use super::rope::Rope;
use super::weights::{Layer, Mixer, Model};
use super::{Config, attention, deltanet, ffn};
use crate::compute::Compute;
use kernels::decode;

/// What a layer remembers of the tokens so far.
pub enum LayerState {
    /// Keys and values by position.
    Attention(KvCache),
    /// State of fixed size, and the log of the last batch if that was to be kept.
    DeltaNet(deltanet::State, Option<deltanet::Log>),
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
    pub states: &'a mut [LayerState],
    /// Buffers.
    pub scratch: &'a mut Scratch,
    /// Tokens before the batch.
    pub n_past: usize,
}

/// Values that a batch of up to `n_batch` tokens takes of the arena of each of `threads` threads.
pub fn arena_len(config: &Config, n_batch: usize, threads: usize) -> usize {
    let attention = attention::arena_len(config.group(), config.head_dim, n_batch);
    attention.max(deltanet::arena_len(config, n_batch, threads))
}

/// Told the input of each layer, `(layer, x [n, n_embd])`, as it is computed.
pub type Observer<'o> = &'o mut dyn FnMut(usize, &[f32]);

impl Forward<'_> {
    /// Runs the batch through the trunk and advances the states. Afterwards the first `want` rows of the residual
    /// stream `scratch.x` are the outputs, before the final norm, of the last `want` rows of `inputs`.
    ///
    /// With `log`, each DeltaNet layer keeps what a rewind into this batch needs.
    ///
    /// # Panics
    /// If the batch is empty, larger than the buffers, `want` is larger than it, or a token is outside the vocabulary.
    pub fn run(&mut self, inputs: &[InputRow<'_>], want: usize, log: bool, mut observer: Option<Observer<'_>>) {
        let (model, config) = (self.model, &self.model.config);
        let n_embd = config.n_embd;
        let n = inputs.len();
        assert!(n > 0 && want <= n, "{want} outputs of {n} rows");
        self.embed(inputs);

        let mut rows = n;
        for (il, (layer, state)) in model.layers.iter().zip(self.states.iter_mut()).enumerate() {
            let (x, mut pass) = self.scratch.pass(self.compute, config, n, self.n_past);
            pass.norm(x, il > 0, &layer.attn_norm);
            if let Some(observer) = &mut observer {
                observer(il, x);
            }
            mixer(layer, state, log, &mut pass);
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

    /// Writes the embeddings of `inputs` into the residual stream, and their rotary angles.
    fn embed(&mut self, inputs: &[InputRow<'_>]) {
        let (token_embd, rope) = (self.model.token_embd.matrix(), self.rope);
        let config = &self.model.config;
        let (n_embd, n_rot) = (config.n_embd, config.rope.n_rot);
        let (x, angles) = self.scratch.inputs(config, inputs.len());
        self.compute.team.split2((x, n_embd), (angles, n_rot), |i, x, angles| {
            rope.fill(inputs[i].position, angles);
            match inputs[i].input {
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
        for (layer, layer_state) in self.model.layers.iter().zip(self.states.iter_mut()) {
            if let (Mixer::DeltaNet(w), LayerState::DeltaNet(state, log)) = (&layer.mixer, layer_state) {
                let log = log.take().expect("the last batch was logged");
                deltanet::rewind(w, state, log, keep, config, self.compute);
            }
        }
    }
}

fn mixer(layer: &Layer, state: &mut LayerState, keep_log: bool, pass: &mut LayerPass<'_>) {
    match (&layer.mixer, state) {
        (Mixer::DeltaNet(w), LayerState::DeltaNet(state, log)) => {
            *log = None;
            deltanet::forward(w, state, keep_log.then_some(log), pass);
        }
        (Mixer::Attention(w), LayerState::Attention(cache)) => attention::forward(w, cache, pass),
        _ => unreachable!("states are made from the same layer kinds"),
    }
}
