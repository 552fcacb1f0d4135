//! One mutable timeline over a model: KV states, recurrent states, buffers, and the tokens read so far.
//!
//! A hybrid model's past cannot be cut back to an arbitrary position: the recurrent state holds all of it. A timeline
//! goes back only to a checkpoint ([`Context::checkpoint`], [`Context::rewind_to_common_prefix`]) or into the last
//! batch when that was logged ([`Context::forward_logged`], [`Context::rewind`]).

use super::context_error::ContextError;
use crate::compute::Compute;
use crate::compute::batch::{Batch, BatchShape, Exactness, products};
use crate::compute::team::Phase;
use crate::model::cache::{KvCache, KvType};
use crate::model::deltanet::State;
use crate::model::finite::{self, NotFinite};
use crate::model::forward::{self, Forward, LayerState, Observer};
use crate::model::input::{Input, InputRow};
use crate::model::mtp::Drafter;
use crate::model::pass::{Scratch, most, ways};
use crate::model::rope::{Position, Rope};
use crate::model::{Config, LayerKind, Model};
use kernels::Kernels;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Tokens read at once unless asked otherwise.
pub const DEFAULT_BATCH: usize = 512;

/// Rows of logits computed at once.
const HEAD_BATCH: usize = 8;

/// How a context is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Positions there is room for.
    pub n_ctx: usize,
    /// Largest batch of tokens.
    pub n_batch: usize,
    /// Storage of keys and values.
    pub kv: KvType,
    /// Checkpoints kept at most.
    pub n_checkpoint: usize,
}

/// Bytes of a context, by purpose.
#[derive(Clone, Copy, Debug)]
pub struct ContextBytes {
    /// Keys and values, when all positions are taken.
    pub kv: usize,
    /// Recurrent and convolution state.
    pub state: usize,
    /// Buffers of a batch, and logits.
    pub scratch: usize,
}

impl ContextBytes {
    /// What a context of these settings takes when it is full; sizes beyond the address space count as all of it.
    pub fn of(config: &Config, n_vocab: usize, settings: &Settings) -> ContextBytes {
        let Settings { n_ctx, n_batch, kv, .. } = *settings;
        let head = head(config).bytes().saturating_add(n_vocab.saturating_mul(4));
        ContextBytes {
            kv: KvCache::bytes(config, n_ctx, kv).saturating_mul(config.n_attention()),
            state: State::bytes(config).saturating_mul(config.n_deltanet()),
            scratch: Scratch::bytes(config, n_ctx, n_batch).saturating_add(head),
        }
    }

    /// All together.
    pub fn total(&self) -> usize {
        self.kv.saturating_add(self.state).saturating_add(self.scratch)
    }
}

/// One mutable timeline over a model.
pub struct Context {
    model: Arc<Model>,
    compute: Compute,
    rope: Rope,
    settings: Settings,
    states: Vec<LayerState>,
    scratch: Scratch,
    head: Batch,
    logits: Vec<f32>,
    /// Outputs of the last batch that are there for logits.
    n_outputs: usize,
    /// What stands at each position so far: see [`key`].
    history: Vec<u64>,
    /// Position of the next text token.
    next_position: u32,
    checkpoints: Vec<Checkpoint>,
    /// Where the last logged batch began: tokens and position.
    logged: Option<(usize, Vec<Position>)>,
    drafter: Option<Box<Drafter>>,
}

/// A point the timeline can go back to.
struct Checkpoint {
    n_past: usize,
    next_position: u32,
    states: Vec<State>,
}

impl Context {
    /// An empty timeline. All memory is taken here; that of keys and values is touched as positions are filled.
    ///
    /// # Errors
    /// [`ContextError::NoBatch`], [`ContextError::HeadSize`].
    pub fn new(model: Arc<Model>, mut compute: Compute, settings: Settings) -> Result<Self, ContextError> {
        let config = &model.config;
        settings.kv.check(config.head_dim)?;
        if settings.n_batch == 0 {
            return Err(ContextError::NoBatch);
        }
        compute.team.reserve(forward::arena_len(config, settings.n_batch, compute.team.threads()));
        let states = config
            .layers
            .iter()
            .map(|kind| match kind {
                LayerKind::Attention => LayerState::Attention(KvCache::new(config, settings.n_ctx, settings.kv)),
                LayerKind::DeltaNet => LayerState::DeltaNet(State::new(config), None),
            })
            .collect();
        Ok(Context {
            rope: Rope::new(&config.rope),
            states,
            scratch: Scratch::new(config, settings.n_ctx, settings.n_batch),
            head: Batch::new(head(config)),
            logits: vec![0.0; model.n_vocab],
            n_outputs: 0,
            history: Vec::new(),
            next_position: 0,
            checkpoints: Vec::new(),
            logged: None,
            drafter: None,
            model,
            compute,
            settings,
        })
    }

    /// Makes the system give all memory now that a full context takes, checkpoints included.
    pub fn commit_memory(&mut self) {
        for layer in &mut self.states {
            if let LayerState::Attention(cache) = layer {
                cache.commit_memory();
            }
        }
        self.scratch.commit_memory();
        (0..self.settings.n_checkpoint).for_each(|_| self.checkpoint());
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How the context is laid out.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Positions taken.
    pub fn n_past(&self) -> usize {
        self.history.len()
    }

    /// The position a text token would get next. It falls behind [`Context::n_past`] after images.
    pub fn next_position(&self) -> u32 {
        self.next_position
    }

    /// The functions at work.
    pub fn kernels(&self) -> &'static Kernels {
        self.compute.kernels
    }

    /// Bytes that decoding one token at `depth` reads and writes: weights, keys and values, recurrent state twice.
    pub fn bytes_per_token(&self, depth: usize) -> usize {
        let config = &self.model.config;
        let settings = Settings { n_ctx: depth, ..self.settings };
        let memory = ContextBytes::of(config, self.model.n_vocab, &settings);
        self.model.bytes_per_token() + memory.kv + 2 * memory.state
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.checkpoints.clear();
        self.rewind_to_common_prefix(&[]);
    }

    /// The functions and threads, for other work between two calls.
    pub fn compute(&mut self) -> &mut Compute {
        &mut self.compute
    }

    /// The number of threads at work.
    pub fn threads(&self) -> usize {
        self.compute.team.threads()
    }

    /// Rows for text that follows what is in the context.
    pub fn text<'a>(&self, ids: &'a [u32]) -> Vec<InputRow<'a>> {
        text_rows(ids, self.next_position)
    }

    /// Reads a prompt in batches; afterwards [`Context::compute_logits`] of row 0 are those behind its last token.
    /// `progress` is told the number of rows read so far and may stop the reading by returning false.
    ///
    /// # Errors
    /// If it does not fit, or a row is no input of this model; nothing has been read then.
    pub fn prefill(
        &mut self,
        rows: &[InputRow<'_>],
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<usize, ContextError> {
        self.check_room(rows.len())?;
        self.check_inputs(rows)?;
        let mut done = 0;
        for batch in rows.chunks(self.settings.n_batch) {
            let last = done + batch.len() == rows.len();
            self.forward(batch, usize::from(last))?;
            done += batch.len();
            if !progress(done) {
                break;
            }
        }
        Ok(done)
    }

    /// Reads one token and returns the logits behind it, `[n_vocab]`.
    ///
    /// # Errors
    /// If the context is full, or the model has no such token.
    pub fn decode(&mut self, id: u32) -> Result<&mut [f32], ContextError> {
        let position = [self.next_position; 3];
        self.forward(&[InputRow { input: Input::Token(id), position }], 1)?;
        Ok(self.compute_logits(0))
    }

    /// Reads a batch; the last `want` rows' outputs are then there for [`Context::compute_logits`].
    ///
    /// # Errors
    /// If it does not fit, is empty or larger than the settings allow, has fewer rows than `want`, or one that is no input
    /// of this model.
    pub fn forward(&mut self, rows: &[InputRow<'_>], want: usize) -> Result<(), ContextError> {
        self.advance(rows, want, false, None)
    }

    /// As [`Context::forward`], for tokens that may turn out wrong: a draft under verification. [`Context::rewind`]
    /// takes back any number of them.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn forward_logged(&mut self, rows: &[InputRow<'_>]) -> Result<(), ContextError> {
        let before = (self.n_past(), rows.iter().map(|s| s.position).collect());
        self.advance(rows, rows.len(), true, None)?;
        self.logged = Some(before);
        Ok(())
    }

    /// As [`Context::forward`] with the outputs of all rows wanted, telling `observer` the input of every layer.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn forward_observed(&mut self, rows: &[InputRow<'_>], observer: Observer<'_>) -> Result<(), ContextError> {
        self.advance(rows, rows.len(), false, Some(observer))
    }

    fn advance(
        &mut self,
        rows: &[InputRow<'_>],
        want: usize,
        log: bool,
        observer: Option<Observer<'_>>,
    ) -> Result<(), ContextError> {
        self.check_room(rows.len())?;
        self.check_batch(rows, want)?;
        self.logged = None;
        self.n_outputs = 0;
        self.pass().run(rows, want, log, observer);
        self.n_outputs = want;
        for row in rows {
            self.history.push(key(row));
            self.next_position = self.next_position.max(row.position.into_iter().max().unwrap_or(0).saturating_add(1));
        }
        Ok(())
    }

    fn pass(&mut self) -> Forward<'_> {
        Forward {
            model: &self.model,
            compute: &mut self.compute,
            rope: &self.rope,
            n_past: self.history.len(),
            states: &mut self.states,
            scratch: &mut self.scratch,
        }
    }

    /// Whether these rows can be read at once, and so many outputs be had of them.
    fn check_batch(&self, rows: &[InputRow<'_>], want: usize) -> Result<(), ContextError> {
        let (n, n_batch) = (rows.len(), self.settings.n_batch);
        match n {
            0 => Err(ContextError::EmptyBatch),
            n if n > n_batch => Err(ContextError::BatchTooLarge { n, n_batch }),
            n if want > n => Err(ContextError::TooManyOutputs { want, n }),
            _ => self.check_inputs(rows),
        }
    }

    /// Whether these rows are tokens and embeddings of this model.
    fn check_inputs(&self, rows: &[InputRow<'_>]) -> Result<(), ContextError> {
        let (n_vocab, n_embd) = (self.model.n_vocab, self.model.config.n_embd);
        let wrong = |row: &InputRow<'_>| match row.input {
            Input::Token(id) => (id as usize >= n_vocab).then_some(ContextError::Token { id, n_vocab }),
            Input::Embedding(x) => {
                (x.len() != n_embd).then_some(ContextError::Width { found: x.len(), expected: n_embd })
            }
        };
        rows.iter().find_map(wrong).map_or(Ok(()), Err)
    }

    /// Whether `n` more tokens fit.
    ///
    /// # Errors
    /// If they do not.
    pub fn check_room(&self, n: usize) -> Result<(), ContextError> {
        let (n_ctx, n_past) = (self.settings.n_ctx, self.n_past());
        if n > n_ctx - n_past { Err(ContextError::Full { n_ctx, n_past, n }) } else { Ok(()) }
    }

    /// The logits behind output `row` of the last batch, `[n_vocab]`. Row 0 is the first of the outputs wanted.
    ///
    /// # Panics
    /// If the last batch did not want that many outputs.
    pub fn compute_logits(&mut self, row: usize) -> &mut [f32] {
        self.compute_logits_of(row, 1)
    }

    /// The logits behind `n` outputs of the last batch from `row` on, `[n, n_vocab]`.
    ///
    /// # Panics
    /// If the last batch did not want that many outputs.
    pub fn compute_logits_of(&mut self, row: usize, n: usize) -> &mut [f32] {
        self.check_outputs(row, n);
        let n_vocab = self.model.n_vocab;
        self.logits.resize(n * n_vocab, 0.0);
        for (i, logits) in self.logits.chunks_mut(HEAD_BATCH * n_vocab).enumerate() {
            let rows = logits.len() / n_vocab;
            let row = row + i * HEAD_BATCH;
            normalize(&self.model, &mut self.compute, &self.scratch, row, rows, &mut self.head);
            let head = (self.model.output.matrix(), Exactness::Plain, logits);
            products(&mut self.compute, &self.head, Phase::Head, [head]);
        }
        &mut self.logits
    }

    /// The final hidden states of `n` outputs of the last batch from `row` on, after the final norm: `[n, n_embd]`.
    ///
    /// # Panics
    /// If the last batch did not want that many outputs.
    pub fn hidden(&mut self, row: usize, n: usize) -> &[f32] {
        self.check_outputs(row, n);
        normalize(&self.model, &mut self.compute, &self.scratch, row, n, &mut self.head);
        &self.head.x
    }

    /// The logits that the last [`Context::compute_logits`], [`Context::compute_logits_of`] or [`Context::decode`] left.
    pub fn last_logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    /// Whether the final hidden states behind the last [`Context::compute_logits`] are numbers, and with `logits_too`
    /// those logits. A damaged row of the head shows in every logit vector, so that to look at one of a text will do.
    pub fn is_finite(&self, logits_too: bool) -> bool {
        finite::is_finite(&self.head.x) && (!logits_too || finite::is_finite(&self.logits))
    }

    /// Reads `rows` again from the start and returns where values that are no numbers first appear; `None` if they do
    /// not. The context holds a part of the rows afterwards.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn find_not_finite(&mut self, rows: &[InputRow<'_>]) -> Result<Option<NotFinite>, ContextError> {
        let model = self.model.clone();
        let config = &model.config;
        self.clear();
        for batch in rows.chunks(self.settings.n_batch) {
            let (n_past, mut found) = (self.n_past(), None);
            self.forward_observed(batch, &mut |il, x| {
                found = found.or_else(|| NotFinite::in_input(config, il, x, n_past));
            })?;
            let n_layer = config.n_layer();
            let outputs = &self.scratch.x[..batch.len() * config.n_embd];
            found = found.or_else(|| NotFinite::in_input(config, n_layer, outputs, n_past));
            if found.is_none() {
                self.compute_logits(batch.len() - 1);
                let head = NotFinite { token: self.n_past() - 1, place: finite::Place::Head };
                found = (!self.is_finite(true)).then_some(head);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Buffers are larger than the outputs in them: what lies behind is of batches before.
    fn check_outputs(&self, row: usize, n: usize) {
        let there = self.n_outputs;
        assert!(row.checked_add(n).is_some_and(|end| end <= there), "outputs {row} and {n} on, of {there} wanted");
    }

    /// Takes back all but the first `keep` tokens of the last batch, which [`Context::forward_logged`] read.
    ///
    /// # Panics
    /// If the last batch was not logged, or was shorter.
    pub fn rewind(&mut self, keep: usize) {
        let (n_before, positions) = self.logged.take().expect("the last batch was logged");
        assert!(keep <= positions.len(), "{keep} of {} tokens", positions.len());
        self.pass().rewind(keep);
        self.history.truncate(n_before + keep);
        self.checkpoints.retain(|mark| mark.n_past <= n_before + keep);
        self.rewind_drafts(self.n_past().saturating_sub(1));
        // Every later position is larger, so the first one not kept is where text goes on.
        if let Some(position) = positions.get(keep) {
            self.next_position = position[0];
        }
    }

    /// Marks the present as a point [`Context::rewind_to_common_prefix`] can go back to. As many marks as the settings
    /// allow are kept, the youngest ones.
    pub fn checkpoint(&mut self) {
        if self.settings.n_checkpoint == 0 {
            return;
        }
        if self.checkpoints.len() == self.settings.n_checkpoint {
            self.checkpoints.remove(0);
        }
        let states = self.states.iter().filter_map(|layer| match layer {
            LayerState::DeltaNet(state, _) => Some(state.clone()),
            LayerState::Attention(_) => None,
        });
        let mark = Checkpoint { n_past: self.n_past(), next_position: self.next_position, states: states.collect() };
        self.checkpoints.push(mark);
    }

    /// Goes back to the latest known point that `rows` also begin with, and returns how many of them are therefore
    /// read already. At most all but one, so that there is something to read.
    pub fn rewind_to_common_prefix(&mut self, rows: &[InputRow<'_>]) -> usize {
        let same = self.history.iter().zip(rows).take_while(|(have, row)| **have == key(row)).count();
        let same = same.min(rows.len().saturating_sub(1));
        if self.n_past() <= same {
            return self.n_past();
        }
        self.checkpoints.retain(|mark| mark.n_past <= same);
        let (n_past, next_position) = match self.checkpoints.last() {
            Some(mark) => {
                let mut states = mark.states.iter();
                for layer in &mut self.states {
                    if let LayerState::DeltaNet(state, _) = layer {
                        state.clone_from(states.next().expect("a state for every such layer"));
                    }
                }
                (mark.n_past, mark.next_position)
            }
            None => {
                for layer in &mut self.states {
                    if let LayerState::DeltaNet(state, _) = layer {
                        state.reset();
                    }
                }
                (0, 0)
            }
        };
        self.history.truncate(n_past);
        self.next_position = next_position;
        self.logged = None;
        self.n_outputs = 0;
        self.rewind_drafts(n_past.saturating_sub(1));
        n_past
    }

    /// Makes room for drafting with the model's multi-token-prediction block; false if it has none.
    pub fn enable_drafts(&mut self) -> bool {
        if self.model.mtp.is_some() && self.drafter.is_none() {
            let Settings { n_ctx, kv, .. } = self.settings;
            self.drafter = Some(Box::new(Drafter::new(&self.model.config, n_ctx, kv)));
        }
        self.drafter.is_some()
    }

    /// Pairs the block has read: of the hidden state of a row and the row after it.
    pub fn n_draft_pair(&self) -> usize {
        self.drafter.as_ref().map_or(0, |drafter| drafter.n_pair())
    }

    /// Runs pairs through the block, behind those it has read: the trunk's `hidden [n, n_embd]` (from
    /// [`Context::hidden`]) and the rows that follow each, `next [n]`. To draft further, pass the block's own output and
    /// the drafted token. Returns the outputs `[n, n_embd]`.
    ///
    /// Does not disturb the trunk's timeline. [`Context::rewind`] and [`Context::rewind_to_common_prefix`] also take back
    /// the pairs of the rows they take back; those of guesses go with [`Context::rewind_drafts`].
    ///
    /// # Errors
    /// If the pairs do not fit, drafts were not enabled, the lengths do not fit each other, or a row is no input of this
    /// model.
    pub fn draft(&mut self, hidden: &[f32], next: &[InputRow<'_>]) -> Result<&[f32], ContextError> {
        let (found, expected) = (hidden.len(), next.len() * self.model.config.n_embd);
        if found != expected {
            return Err(ContextError::Width { found, expected });
        }
        self.check_inputs(next)?;
        let drafter = self.drafter.as_mut().ok_or(ContextError::NoDrafts)?;
        let (n_ctx, n_past, n) = (self.settings.n_ctx, drafter.n_pair(), next.len());
        if n > n_ctx - n_past {
            return Err(ContextError::Full { n_ctx, n_past, n });
        }
        drafter.run(&self.model, &self.rope, &mut self.compute, hidden, next);
        Ok(drafter.outputs())
    }

    /// The logits behind outputs of the block (or of the trunk) `y [n, n_embd]`, as they come from [`Context::draft`]:
    /// `[n, n_vocab]`. They take the place of those of [`Context::compute_logits`].
    pub fn compute_logits_behind(&mut self, y: &[f32]) -> &mut [f32] {
        let (n_embd, n_vocab) = (self.model.config.n_embd, self.model.n_vocab);
        assert!(y.len().is_multiple_of(n_embd), "whole rows");
        self.logits.resize(y.len() / n_embd * n_vocab, 0.0);
        for (y, logits) in y.chunks(HEAD_BATCH * n_embd).zip(self.logits.chunks_mut(HEAD_BATCH * n_vocab)) {
            self.head.reshape(ways(y.len() / n_embd), n_embd);
            self.head.fill(&mut self.compute, |r, h| h.copy_from_slice(&y[r * n_embd..][..n_embd]));
            let head = (self.model.output.matrix(), Exactness::Plain, logits);
            products(&mut self.compute, &self.head, Phase::Head, [head]);
        }
        &mut self.logits
    }

    /// Makes the block forget all pairs but the first `n`; fewer stay fewer.
    pub fn rewind_drafts(&mut self, n: usize) {
        if let Some(drafter) = &mut self.drafter {
            drafter.truncate(n);
        }
    }
}

/// The lengths of the rows that logits are computed of at once.
fn head(config: &Config) -> BatchShape {
    BatchShape { forms: config.forms, rows: most(HEAD_BATCH), cols: config.n_embd, refined: false }
}

/// Rows for text whose first token is at `position`.
pub fn text_rows(ids: &[u32], position: u32) -> Vec<InputRow<'_>> {
    let row = |(&id, position)| InputRow { input: Input::Token(id), position: [position; 3] };
    ids.iter().zip(position..).map(row).collect()
}

/// Writes the final norm of `n` outputs from `row` on into `head`.
fn normalize(model: &Model, compute: &mut Compute, scratch: &Scratch, row: usize, n: usize, head: &mut Batch) {
    let (kernels, n_embd) = (compute.kernels, model.config.n_embd);
    head.reshape(ways(n), n_embd);
    head.fill(compute, |r, h| {
        kernels.rms_norm(&scratch.x[(row + r) * n_embd..][..n_embd], &model.output_norm, model.config.rms_eps, h);
    });
}

/// What tells a row from others: its token or embedding, and its position. A token of a text has both in its key, any
/// other row a hash of them.
fn key(row: &InputRow<'_>) -> u64 {
    const HASHED: u64 = 1 << 63;
    let [t, h, w] = row.position;
    match row.input {
        Input::Token(id) if t == h && t == w && t < 1 << 31 => u64::from(t) << 32 | u64::from(id),
        Input::Token(id) => hash(&[id, t, h, w]) | HASHED,
        Input::Embedding(values) => hash(&(bytemuck::cast_slice::<f32, u8>(values), row.position)) | HASHED,
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
