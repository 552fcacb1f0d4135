//! The forward pass of the trunk (`MODEL.md` §3): embed, then every layer, in one place.

use super::input::{Input, InputRow};
use super::memory::{Checkpoint, LayerMemory, Memory};
use super::pages::PagePool;
use super::pass::{BatchLimits, Scratch, Span};
use super::rope::Rope;
use super::state::{LOG_ROWS, Log, State};
use super::weights::{Mixer, Model};
use super::{Config, attention, deltanet, ffn};
use crate::compute::Compute;
use crate::compute::batch::RowCounts;
use kernels::Way;
use std::ops::Range;

/// The rows of one sequence in a pass.
pub struct Part<'a> {
    /// What is remembered of the sequence, with room for these rows.
    pub memory: &'a mut Memory,
    /// The rows; at least one.
    pub rows: &'a [InputRow],
    /// How they are computed.
    pub way: Way,
    /// So many of them, the last ones, have outputs.
    pub want: usize,
    /// Of so many of them, the last ones, the hidden states behind the trunk are wanted, for the block behind it. They are computed as
    /// the rows are: their bits are not those of the outputs.
    pub trail: usize,
    /// Rows before which the states are kept, ascending; none is 0 or past the end. The rows before the last of them are committed
    /// at once, however few.
    pub checkpoint_at: &'a [usize],
}

impl Part<'_> {
    /// Its last rows, as many of them as go to the logs and not to the states.
    fn n_logged(&self) -> usize {
        let n = self.rows.len() - self.checkpoint_at.last().copied().unwrap_or(0);
        if n <= LOG_ROWS { n } else { 0 }
    }
}

/// What a pass leaves of a part.
#[derive(Default)]
pub struct Passed {
    /// Where its outputs are among those of the pass.
    pub outputs: Range<usize>,
    /// A checkpoint for each of [`Part::checkpoint_at`].
    pub checkpoints: Vec<Checkpoint>,
}

/// What runs the trunk.
pub struct Forward<'a> {
    /// The weights.
    pub model: &'a Model,
    /// The functions and threads.
    pub compute: &'a mut Compute,
    /// Rotary tables.
    pub rope: &'a Rope,
    /// Keys and values of all sequences.
    pub pool: &'a mut PagePool,
    /// Logs of no sequence, one for each part of a pass: what they change places with.
    pub spare_logs: &'a mut Vec<Log>,
    /// Buffers.
    pub scratch: &'a mut Scratch,
    /// Where the hidden states go that [`Part::trail`] asks for, after the final norm, in the order of the parts: `[n, n_embd]`.
    pub trail: &'a mut Vec<f32>,
}

/// Values that a batch within `limits` takes of the arena of each of `threads` threads.
pub fn arena_len(config: &Config, limits: BatchLimits, threads: usize) -> usize {
    let attention = attention::arena_len(config.group(), config.head_dim, limits.rows);
    attention.max(deltanet::arena_len(config, limits.rows, threads))
}

/// Told the input of each layer, `(layer, x [n, n_embd])`, as it is computed.
pub type Observer<'o> = &'o mut dyn FnMut(usize, &[f32]);

impl Forward<'_> {
    /// Runs the rows of all parts through the trunk and advances their memories. Afterwards the first rows of the residual
    /// stream `scratch.x` are the outputs, before the final norm; whose they are is returned.
    ///
    /// # Panics
    /// If a part is empty or wants more outputs than it has rows, all together are larger than the buffers, a memory has no
    /// room, or a token is outside the vocabulary.
    pub fn run(&mut self, parts: &mut [Part<'_>], mut observer: Option<Observer<'_>>) -> Vec<Passed> {
        let (model, config) = (self.model, &self.model.config);
        let batch = Layout::new(parts);
        let (counts, spans) = (batch.counts, &batch.spans[..]);
        self.embed(&batch, parts);
        let mut passed: Vec<Passed> = parts.iter().map(|_| Passed::default()).collect();
        let mut kept: Vec<Vec<Vec<State>>> =
            parts.iter().map(|part| vec![Vec::new(); part.checkpoint_at.len()]).collect();

        let n_layer = model.layers.len();
        for (il, layer) in model.layers.iter().enumerate() {
            let (x, mut pass) = self.scratch.pass(self.compute, config, counts, spans, 0);
            pass.norm(x, il > 0, &layer.attn_norm);
            if let Some(observer) = &mut observer {
                observer(il, x);
            }
            match &layer.mixer {
                Mixer::Attention(w) => {
                    let tables = batch.order.iter().map(|&part| match &parts[part].memory.layers[il] {
                        LayerMemory::Attention(table) => table,
                        LayerMemory::DeltaNet(..) => unreachable!("made from the same layer kinds"),
                    });
                    attention::forward(w, self.pool, &tables.collect::<Vec<_>>(), &mut pass);
                }
                Mixer::DeltaNet(w) => {
                    let mut memories: Vec<deltanet::Remembered<'_>> = Vec::with_capacity(parts.len());
                    for ((part, kept), log) in parts.iter_mut().zip(&mut kept).zip(&mut *self.spare_logs) {
                        let LayerMemory::DeltaNet(state, own) = &mut part.memory.layers[il] else {
                            unreachable!("made from the same layer kinds")
                        };
                        memories.push(deltanet::Remembered {
                            state,
                            log: own,
                            spare: log,
                            checkpoint_at: part.checkpoint_at,
                            kept,
                        });
                    }
                    batch.sort(&mut memories);
                    deltanet::forward(w, &mut memories, &mut pass);
                }
            }
            if il + 1 < n_layer {
                let (x, mut pass) = self.scratch.pass(self.compute, config, counts, spans, 0);
                pass.norm(x, true, &layer.post_attention_norm);
                ffn::forward(&layer.ffn, &mut pass);
            } else {
                // Nobody reads the other rows any more: the last feed-forward is for the wanted ones alone. They are written
                // rows from here on, however they came: their bits are to be the same in any company.
                let wanted = batch.wanted(parts, &mut passed);
                self.trail(&batch, parts, &wanted);
                self.scratch.gather(config, &wanted);
                let at_once = self.scratch.limits.written;
                for first in (0..wanted.len()).step_by(at_once) {
                    let counts = RowCounts { prompt: 0, written: at_once.min(wanted.len() - first) };
                    let (x, mut pass) = self.scratch.pass(self.compute, config, counts, &[], first);
                    pass.norm(x, true, &layer.post_attention_norm);
                    ffn::forward(&layer.ffn, &mut pass);
                    pass.compute.kernels.add(x, pass.out);
                }
            }
            if let Some(stream) = &model.stream {
                stream.used(il);
            }
        }
        for ((part, passed), kept) in parts.iter_mut().zip(&mut passed).zip(kept) {
            let (n_past, n_logged) = (part.memory.n_past(), part.n_logged());
            part.memory.went_on(part.rows.len(), n_logged);
            let checkpoints = part.checkpoint_at.iter().zip(kept);
            passed.checkpoints = checkpoints.map(|(at, states)| Checkpoint::committed(n_past + at, states)).collect();
            // What the states are left as behind it need not be copied.
            if let Some(last) = passed.checkpoints.last_mut().filter(|_| n_logged > 0) {
                *last = part.memory.checkpoint_base();
            }
        }
        passed
    }

    /// The last feed-forward for the rows whose hidden states are wanted beside the outputs; those of `wanted` are left as they
    /// are.
    fn trail(&mut self, batch: &Layout, parts: &[Part<'_>], wanted: &[usize]) {
        let (config, kernels) = (&self.model.config, self.compute.kernels);
        let (n_embd, layer) = (config.n_embd, &self.model.layers[self.model.layers.len() - 1]);
        self.trail.clear();
        if parts.iter().all(|part| part.trail == 0) {
            return;
        }
        let kept = self.scratch.copy(config, wanted);
        for (i, &Part { trail, .. }) in parts.iter().enumerate() {
            let at = batch.order.iter().position(|&part| part == i);
            let Some(span) = at.map(|at| batch.spans[at]).filter(|_| trail > 0) else { continue };
            let counts = match span.way {
                Way::Prompt => RowCounts { prompt: trail, written: 0 },
                Way::Written => RowCounts { prompt: 0, written: trail },
            };
            let (x, mut pass) = self.scratch.pass(self.compute, config, counts, &[], span.start + span.n - trail);
            pass.norm(x, true, &layer.post_attention_norm);
            ffn::forward(&layer.ffn, &mut pass);
            let first = self.trail.len();
            self.trail.resize(first + x.len(), 0.0);
            let out = &*pass.out;
            let hidden = &mut self.trail[first..];
            pass.compute.team.split2((x, n_embd), (hidden, n_embd), |r, x, hidden| {
                kernels.add(x, &out[r * n_embd..][..n_embd]);
                kernels.rms_norm(x, &self.model.output_norm, config.rms_eps, hidden);
            });
        }
        self.scratch.put_back(config, wanted, &kept);
    }

    /// Writes the embeddings of all rows into the residual stream, and their rotary angles.
    fn embed(&mut self, batch: &Layout, parts: &[Part<'_>]) {
        let (token_embd, rope) = (self.model.token_embd.matrix(), self.rope);
        let config = &self.model.config;
        let (n_embd, n_rot) = (config.n_embd, config.rope.n_rot);
        let inputs: Vec<&InputRow> = batch.order.iter().flat_map(|&part| parts[part].rows).collect();
        let (x, angles) = self.scratch.inputs(config, inputs.len());
        self.compute.team.split2((x, n_embd), (angles, n_rot), |i, x, angles| {
            rope.fill(inputs[i].position, angles);
            match &inputs[i].input {
                Input::Token(id) => token_embd.decode(*id as usize, x),
                Input::Embedding(row) => x.copy_from_slice(row),
            }
        });
    }
}

/// How the rows of parts lie in a batch: those of prompts first, each part's together.
struct Layout {
    counts: RowCounts,
    /// The parts in the order of their rows.
    order: Vec<usize>,
    spans: Vec<Span>,
}

impl Layout {
    fn new(parts: &[Part<'_>]) -> Layout {
        let of_way = |way| (0..parts.len()).filter(move |&i| parts[i].way == way);
        let order: Vec<usize> = of_way(Way::Prompt).chain(of_way(Way::Written)).collect();
        let (mut counts, mut spans) = (RowCounts::default(), Vec::with_capacity(parts.len()));
        for &i in &order {
            let Part { memory, rows, way, want, .. } = &parts[i];
            let n = rows.len();
            assert!(n > 0 && *want <= n, "{want} outputs of {n} rows");
            let (start, to_log) = (counts.total(), parts[i].n_logged());
            let (n_past, n_logged) = (memory.n_past(), memory.n_logged());
            spans.push(Span { way: *way, start, n, n_past, n_logged, to_log });
            match way {
                Way::Prompt => counts.prompt += n,
                Way::Written => counts.written += n,
            }
        }
        Layout { counts, order, spans }
    }

    /// Brings what stands in the order of the parts into that of their rows.
    fn sort<T>(&self, parts: &mut Vec<T>) {
        let mut taken: Vec<Option<T>> = parts.drain(..).map(Some).collect();
        parts.extend(self.order.iter().map(|&i| taken[i].take().expect("each comes once")));
    }

    /// The rows with outputs, in ascending order; notes which are whose.
    fn wanted(&self, parts: &[Part<'_>], passed: &mut [Passed]) -> Vec<usize> {
        let mut rows = Vec::new();
        for (span, &part) in self.spans.iter().zip(&self.order) {
            let end = span.start + span.n;
            let first = rows.len();
            rows.extend(end - parts[part].want..end);
            passed[part].outputs = first..rows.len();
        }
        rows
    }
}
