//! One conversation and what runs it: a [`Runner`] with a [`Sequence`].

use super::draft::{Draft, Drafting};
use super::run_error::RunError;
use super::runner::{Runner, Settings, Step};
use super::sequence::{NotLogged, Sequence};
use crate::compute::Compute;
use crate::model::Model;
use crate::model::finite::{NotFinite, Place};
use crate::model::forward::Observer;
use crate::model::input::{Input, InputRow};
use kernels::Way;
use std::sync::Arc;

/// A conversation and what runs it.
pub struct Context {
    runner: Runner,
    sequence: Sequence,
    drafting: Drafting,
}

impl Context {
    /// An empty one. [`Settings::n_sequence`] is 1, unless others are made of its runner.
    ///
    /// # Errors
    /// Those of [`Runner::new`].
    pub fn new(model: Arc<Model>, compute: Compute, settings: Settings) -> Result<Context, RunError> {
        Ok(Context::of(Runner::new(model, compute, settings)?))
    }

    /// An empty one that `runner` runs.
    pub fn of(runner: Runner) -> Context {
        let (sequence, drafting) = (runner.sequence(), Drafting::new(&runner));
        Context { runner, sequence, drafting }
    }

    /// What runs the conversation.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// What runs the conversation, and the conversation.
    pub fn parts(&mut self) -> (&mut Runner, &mut Sequence) {
        (&mut self.runner, &mut self.sequence)
    }

    /// What runs the conversation, the conversation, and what drafts for it.
    pub(super) fn drafting_parts(&mut self) -> (&mut Runner, &mut Sequence, &mut Drafting) {
        (&mut self.runner, &mut self.sequence, &mut self.drafting)
    }

    /// The conversation.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// Makes the system give all memory now that a full conversation takes, checkpoints included.
    pub fn commit_memory(&mut self) {
        self.runner.commit_memory();
        (0..self.runner.settings().n_checkpoint).for_each(|_| self.sequence.checkpoint());
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        self.runner.model()
    }

    /// How the runner is laid out.
    pub fn settings(&self) -> &Settings {
        self.runner.settings()
    }

    /// Positions taken.
    pub fn n_past(&self) -> usize {
        self.sequence.n_past()
    }

    /// The position a text token would get next: see [`Sequence::next_position`].
    pub fn next_position(&self) -> u32 {
        self.sequence.next_position()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sequence.clear();
    }

    /// The functions and threads, for other work between two calls.
    pub fn compute(&mut self) -> &mut Compute {
        self.runner.compute()
    }

    /// Rows for text that follows what is in the context.
    pub fn text(&self, ids: &[u32]) -> Vec<InputRow> {
        text_rows(ids, self.next_position())
    }

    /// Reads a prompt in batches; afterwards [`Context::compute_logits`] of row 0 are those behind its last token.
    /// `progress` is told the number of rows read so far and may stop the reading by returning false. Where `checkpoint_at`
    /// rows are read, a checkpoint is made.
    ///
    /// # Errors
    /// If it does not fit, or a row is no input of this model; nothing has been read then.
    pub fn prefill(
        &mut self,
        rows: &[InputRow],
        checkpoint_at: Option<usize>,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<usize, RunError> {
        self.runner.check_room(&self.sequence, rows.len())?;
        self.runner.check_inputs(rows)?;
        let mut done = 0;
        for batch in rows.chunks(self.settings().n_batch) {
            let last = done + batch.len() == rows.len();
            let inside = checkpoint_at.and_then(|at| at.checked_sub(done)).filter(|&at| 0 < at && at < batch.len());
            let step = Step::prompt(&mut self.sequence, batch, usize::from(last));
            self.runner.run(&mut [Step { checkpoint_at: inside.as_slice(), ..step }])?;
            done += batch.len();
            if checkpoint_at == Some(done) {
                self.sequence.checkpoint();
            }
            if !progress(done) {
                break;
            }
        }
        Ok(done)
    }

    /// Writes one token and returns the logits behind it, `[n_vocab]`.
    ///
    /// # Errors
    /// If the context is full, or the model has no such token.
    pub fn decode(&mut self, id: u32) -> Result<&mut [f32], RunError> {
        let position = [self.next_position(); 3];
        self.write(&[InputRow { input: Input::Token(id), position }])?;
        Ok(self.compute_logits(0))
    }

    /// Computes rows; the last `want` rows' outputs are then there for [`Context::compute_logits`].
    ///
    /// # Errors
    /// Those of [`Runner::run`].
    pub fn run(&mut self, rows: &[InputRow], way: Way, want: usize) -> Result<(), RunError> {
        self.runner
            .run(&mut [Step { sequence: &mut self.sequence, rows, way, want, shown: 0, checkpoint_at: &[] }])
            .map(drop)
    }

    /// Reads a batch of prompt rows; the last `want` rows' outputs are then there for [`Context::compute_logits`].
    ///
    /// # Errors
    /// Those of [`Runner::run`].
    pub fn forward(&mut self, rows: &[InputRow], want: usize) -> Result<(), RunError> {
        self.run(rows, Way::Prompt, want)
    }

    /// Writes rows: sampled ones, or a draft under verification, of which [`Context::take_back`] takes back any number. The
    /// outputs of all are then there for [`Context::compute_logits`].
    ///
    /// # Errors
    /// Those of [`Runner::run`].
    pub fn write(&mut self, rows: &[InputRow]) -> Result<(), RunError> {
        self.run(rows, Way::Written, rows.len())
    }

    /// As [`Context::run`] with the outputs of all rows wanted, telling `observer` the input of every layer.
    ///
    /// # Errors
    /// Those of [`Runner::run`].
    pub fn run_observed(&mut self, rows: &[InputRow], way: Way, observer: Observer<'_>) -> Result<(), RunError> {
        let step = Step { sequence: &mut self.sequence, rows, way, want: rows.len(), shown: 0, checkpoint_at: &[] };
        self.runner.run_observed(&mut [step], Some(observer)).map(drop)
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
        self.runner.logits(row..row + n)
    }

    /// The final hidden states of `n` outputs of the last batch from `row` on, after the final norm: `[n, n_embd]`.
    ///
    /// # Panics
    /// If the last batch did not want that many outputs.
    pub fn hidden(&mut self, row: usize, n: usize) -> &[f32] {
        self.runner.hidden(row..row + n)
    }

    /// The logits that the last call that computes some has left.
    pub fn last_logits(&mut self) -> &mut [f32] {
        self.runner.last_logits()
    }

    /// As [`Runner::is_finite`].
    pub fn is_finite(&self, logits_too: bool) -> bool {
        self.runner.is_finite(logits_too)
    }

    /// Reads `rows` again from the start and returns where values that are no numbers first appear; `None` if they do
    /// not. The context holds a part of the rows afterwards.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn find_not_finite(&mut self, rows: &[InputRow]) -> Result<Option<NotFinite>, RunError> {
        let model = self.model().clone();
        let config = &model.config;
        self.clear();
        for batch in rows.chunks(self.settings().n_batch) {
            let (n_past, mut found) = (self.n_past(), None);
            self.run_observed(batch, Way::Prompt, &mut |il, x| {
                found = found.or_else(|| NotFinite::in_input(config, il, x, n_past));
            })?;
            found = found.or_else(|| NotFinite::in_input(config, config.n_layer(), self.runner.outputs(), n_past));
            if found.is_none() {
                self.compute_logits(batch.len() - 1);
                let head = NotFinite { token: self.n_past() - 1, place: Place::Head };
                found = (!self.is_finite(true)).then_some(head);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Takes back the last `n` rows: see [`Sequence::take_back`].
    ///
    /// # Errors
    /// If they are not all of the last pass, or that was a long one.
    pub fn take_back(&mut self, n: usize) -> Result<(), NotLogged> {
        self.sequence.take_back(n)
    }

    /// Makes a checkpoint of the present: see [`Sequence::checkpoint`].
    pub fn checkpoint(&mut self) {
        self.sequence.checkpoint();
    }

    /// Goes back to what is read already of `rows`: see [`Sequence::rewind_to_common_prefix`].
    pub fn rewind_to_common_prefix(&mut self, rows: &[InputRow]) -> usize {
        self.sequence.rewind_to_common_prefix(rows)
    }

    /// Drafts in this way from now on, and forgets everything; false if the model has no block for it.
    pub fn enable_drafts(&mut self, drafting: Draft) -> bool {
        let enabled = self.runner.enable_drafts(drafting);
        self.sequence = self.runner.sequence();
        self.drafting = Drafting::new(&self.runner);
        enabled
    }

    /// Pairs the block has read: of the hidden state of a row and the row after it.
    pub fn n_draft_pair(&self) -> usize {
        self.sequence.drafts.as_ref().map_or(0, |memory| memory.n_pair())
    }

    /// Runs pairs through the block for drafting: see [`Runner::draft`].
    ///
    /// # Errors
    /// Those of [`Runner::draft`].
    pub fn draft(&mut self, hidden: &[f32], next: &[InputRow], way: Way) -> Result<&[f32], RunError> {
        self.runner.draft(&mut self.sequence, hidden, next, way)
    }

    /// The logits behind outputs of the block: see [`Runner::logits_behind`].
    pub fn compute_logits_behind(&mut self, y: &[f32]) -> &mut [f32] {
        self.runner.logits_behind(y)
    }

    /// Makes the block forget all pairs but the first `n`; fewer stay fewer.
    pub fn rewind_drafts(&mut self, n: usize) {
        if let Some(memory) = &mut self.sequence.drafts {
            memory.truncate(n);
        }
    }
}

/// Rows for text whose first token is at `position`.
pub fn text_rows(ids: &[u32], position: u32) -> Vec<InputRow> {
    let row = |(&id, position)| InputRow { input: Input::Token(id), position: [position; 3] };
    ids.iter().zip(position..).map(row).collect()
}
