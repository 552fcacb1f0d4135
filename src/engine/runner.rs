//! What runs a model: weights, threads, buffers and the pools of memory. A pass computes rows of one or of several sequences.
//!
//! There are two [ways](Way) to compute a row. The rows of a prompt are computed as prompt rows, however few they are; what
//! was sampled, drafted or forced is written. A row's bits depend on the tokens, pictures and ways of the rows of its
//! sequence from the first to it, and on nothing else: not on the number of threads, on where a pass begins or ends, or on
//! what shares it.

use super::draft::Draft;
use super::draft::shortlist::Shortlist;
use super::expert_uses::{ExpertUses, Remembered};
use super::run_error::RunError;
use super::sequence::Sequence;
use crate::compute::Compute;
use crate::compute::batch::{Batch, BatchShape, Exactness, RowCounts, products};
use crate::compute::team::Phase;
use crate::model::finite;
use crate::model::forward::{self, Forward, Observer, Part};
use crate::model::input::{Input, InputRow};
use crate::model::kv_type::KvType;
use crate::model::memory::Memory;
use crate::model::mtp::{DraftMemory, Drafter, Outputs, Pairs};
use crate::model::pages::{PagePool, pages_of};
use crate::model::pass::{BatchLimits, Scratch};
use crate::model::rope::Rope;
use crate::model::state::{LOG_ROWS, Log};
use crate::model::{Config, Model};
use kernels::{Kernels, Tile, Way};
use std::ops::Range;
use std::sync::Arc;

/// Rows read at once unless asked otherwise.
pub const DEFAULT_BATCH: usize = 512;

/// Most written rows of a pass, whatever the settings.
pub const MOST_WRITTEN: usize = 64;

/// Rows of the head beside its beginning that one work item multiplies.
const MORE_AT_ONCE: usize = 32;

/// How a runner is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Positions there is room for in a sequence.
    pub n_ctx: usize,
    /// Sequences of that length there is room for.
    pub n_sequence: usize,
    /// Rows of a pass at most.
    pub n_batch: usize,
    /// Storage of keys and values.
    pub kv: KvType,
    /// Checkpoints kept of a sequence at most.
    pub n_checkpoint: usize,
}

impl Settings {
    /// How large a pass may be: of written rows as many as the drafts of all sequences are.
    pub fn limits(&self) -> BatchLimits {
        let drafts = LOG_ROWS.saturating_mul(self.n_sequence);
        BatchLimits { rows: self.n_batch, written: drafts.min(MOST_WRITTEN).min(self.n_batch) }
    }
}

/// Bytes of a runner and its sequences, by purpose.
#[derive(Clone, Copy, Debug)]
pub struct RunnerBytes {
    /// Keys and values, when all positions are taken.
    pub kv: usize,
    /// Recurrent and convolution states of all sequences.
    pub state: usize,
    /// Buffers of a pass, logits, and the logs of the last passes.
    pub scratch: usize,
}

impl RunnerBytes {
    /// What a runner of these settings takes when it is full; sizes beyond the address space count as all of it.
    pub fn of(config: &Config, n_vocab: usize, settings: &Settings) -> RunnerBytes {
        let Settings { n_ctx, n_sequence, kv, .. } = *settings;
        // Logits behind a row of every sequence; drafts have more, which are counted as theirs.
        let logits = n_vocab.saturating_mul(n_sequence).saturating_mul(4);
        let head = head(config, settings.limits().written).bytes().saturating_add(logits);
        // Those of every layer, and one that changes places with them.
        let logs = Log::bytes(config).saturating_mul(config.n_deltanet() + 1).saturating_mul(n_sequence);
        // What is behind the last row of each.
        let tips = config.n_embd.saturating_mul(4).saturating_mul(n_sequence);
        RunnerBytes {
            kv: PagePool::bytes(config, kv, n_page(config, n_ctx, n_sequence)),
            state: Memory::state_bytes(config).saturating_mul(n_sequence),
            scratch: [head, logs, tips]
                .into_iter()
                .fold(Scratch::bytes(config, n_ctx, settings.limits()), usize::saturating_add),
        }
    }

    /// All together.
    pub fn total(&self) -> usize {
        self.kv.saturating_add(self.state).saturating_add(self.scratch)
    }
}

/// Pairs that are shown to the block for a guess, from which on the last of them goes apart.
const LEAST_APART: usize = 4;

/// Pages of `n_sequence` sequences of `n_ctx` positions.
fn n_page(config: &Config, n_ctx: usize, n_sequence: usize) -> usize {
    pages_of(n_ctx).saturating_mul(n_sequence).saturating_mul(config.n_attention())
}

/// The rows of one sequence in a pass.
pub struct Step<'a> {
    /// Whose they are.
    pub sequence: &'a mut Sequence,
    /// The rows, behind those it has.
    pub rows: &'a [InputRow],
    /// How they are computed.
    pub way: Way,
    /// So many of them, the last ones, have outputs.
    pub want: usize,
    /// So many of them, the last ones, are shown to the block for drafting, if there is one. It costs the rows of a prompt a
    /// feed-forward more; rows of an answer are shown by [`Runner::show`].
    pub shown: usize,
    /// Rows before which checkpoints of the sequence are made, ascending. Of such a step the rows behind the last of them can be
    /// taken back, if they are few.
    pub checkpoint_at: &'a [usize],
}

impl<'a> Step<'a> {
    /// The rows of a prompt, or a piece of it.
    pub fn prompt(sequence: &'a mut Sequence, rows: &'a [InputRow], want: usize) -> Step<'a> {
        Step { sequence, rows, way: Way::Prompt, want, shown: 0, checkpoint_at: &[] }
    }

    /// What was sampled, drafted or forced; all rows have outputs.
    pub fn written(sequence: &'a mut Sequence, rows: &'a [InputRow]) -> Step<'a> {
        Step { sequence, rows, way: Way::Written, want: rows.len(), shown: 0, checkpoint_at: &[] }
    }
}

/// A model, what computes it, and the memory its sequences are lent.
pub struct Runner {
    model: Arc<Model>,
    compute: Compute,
    rope: Rope,
    settings: Settings,
    pool: PagePool,
    spare_logs: Vec<Log>,
    scratch: Scratch,
    head: Batch,
    /// Logits, and behind the first `n_logit` room for more.
    logits: Vec<f32>,
    n_logit: usize,
    /// Outputs of the last pass.
    n_output: usize,
    drafter: Option<Box<Drafter>>,
    /// Hidden states of rows that are shown to it.
    trail: Vec<f32>,
    drafting: Draft,
    expert_uses: Option<Remembered>,
}

impl Runner {
    /// A runner. The memory of keys and values is touched as positions are filled, all other memory is taken here.
    ///
    /// # Errors
    /// [`RunError::NoBatch`], [`RunError::HeadSize`].
    pub fn new(model: Arc<Model>, mut compute: Compute, settings: Settings) -> Result<Runner, RunError> {
        let (config, limits) = (&model.config, settings.limits());
        let Settings { n_ctx, n_sequence, n_batch, kv, .. } = settings;
        kv.check(config.head_dim)?;
        if n_batch == 0 {
            return Err(RunError::NoBatch);
        }
        compute.team.reserve(forward::arena_len(config, limits, compute.team.threads()));
        Ok(Runner {
            rope: Rope::new(&config.rope),
            pool: PagePool::new(config, kv, n_page(config, n_ctx, n_sequence)),
            spare_logs: Vec::new(),
            scratch: Scratch::new(config, n_ctx, limits),
            head: Batch::new(head(config, limits.written)),
            logits: vec![0.0; model.n_vocab],
            n_logit: 0,
            n_output: 0,
            drafter: None,
            trail: Vec::new(),
            drafting: Draft::Off,
            expert_uses: None,
            model,
            compute,
            settings,
        })
    }

    /// Makes the system give all memory now that full sequences take, but for their states.
    pub fn commit_memory(&mut self) {
        self.pool.commit_memory();
        self.scratch.commit_memory();
        if let Some(drafter) = &mut self.drafter {
            drafter.commit_memory();
        }
    }

    /// Writes how often experts were used when the runner is dropped, if not all of them stay in memory.
    pub fn remember_expert_uses(&mut self, uses: ExpertUses) {
        self.expert_uses = self.model.slots.clone().map(|slots| Remembered { slots, uses });
    }

    /// A sequence without rows.
    pub fn sequence(&self) -> Sequence {
        let mut sequence = Sequence::new(&self.model.config, &self.pool, self.settings.n_checkpoint);
        sequence.drafts = self.drafter.as_ref().map(|_| DraftMemory::default());
        sequence
    }

    pub(super) fn pool(&self) -> &PagePool {
        &self.pool
    }

    pub(super) fn pool_mut(&mut self) -> &mut PagePool {
        &mut self.pool
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How the runner is laid out.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The functions and threads, for other work between two passes.
    pub fn compute(&mut self) -> &mut Compute {
        &mut self.compute
    }

    /// The functions at work.
    pub fn kernels(&self) -> &'static Kernels {
        self.compute.kernels
    }

    /// The number of threads at work.
    pub fn threads(&self) -> usize {
        self.compute.team.threads()
    }

    /// Pages of keys and values that no sequence holds.
    pub fn n_free_page(&self) -> usize {
        self.pool.n_free()
    }

    /// Pages of the block for drafting that no sequence holds; where there is none, there is no end of them.
    pub fn n_free_draft_page(&self) -> usize {
        self.drafter.as_ref().map_or(usize::MAX, |drafter| drafter.n_free_page())
    }

    /// Bytes that decoding one token at `depth` reads and writes: weights, keys and values, recurrent state twice.
    pub fn bytes_per_token(&self, depth: usize) -> usize {
        let config = &self.model.config;
        let kv = PagePool::bytes(config, self.settings.kv, n_page(config, depth, 1));
        self.model.bytes_per_token() + kv + 2 * Memory::state_bytes(config)
    }

    /// Computes rows of one or several sequences in one pass over the weights; returns for each step where its outputs are
    /// among those of the pass, for [`Runner::logits`].
    ///
    /// # Errors
    /// [`RunError`]; no sequence has changed then.
    pub fn run(&mut self, steps: &mut [Step<'_>]) -> Result<Vec<Range<usize>>, RunError> {
        self.run_observed(steps, None)
    }

    /// As [`Runner::run`], telling `observer` the input of every layer: rows of prompts first, each step's together.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run_observed(
        &mut self,
        steps: &mut [Step<'_>],
        observer: Option<Observer<'_>>,
    ) -> Result<Vec<Range<usize>>, RunError> {
        self.check(steps)?;
        self.pool.check(steps.iter().map(|step| step.sequence.memory.n_missing(step.rows.len())).sum())?;
        for step in &mut *steps {
            step.sequence.memory.reserve(&mut self.pool, step.rows.len());
        }
        while self.spare_logs.len() < steps.len() {
            self.spare_logs.push(Log::new(&self.model.config));
        }
        self.n_output = 0;
        let has_block = self.drafter.is_some();
        let mut parts: Vec<Part<'_>> = steps.iter_mut().map(|step| part(step, has_block)).collect();
        let passed = Forward {
            model: &self.model,
            compute: &mut self.compute,
            rope: &self.rope,
            pool: &mut self.pool,
            spare_logs: &mut self.spare_logs,
            scratch: &mut self.scratch,
            trail: &mut self.trail,
        }
        .run(&mut parts, observer);
        drop(parts);
        self.show_trails(steps);
        let finish = |(step, passed): (&mut Step<'_>, forward::Passed)| {
            step.sequence.went_on(step.rows, step.way, passed.checkpoints);
            passed.outputs
        };
        let outputs: Vec<Range<usize>> = steps.iter_mut().zip(passed).map(finish).collect();
        if let Some(failure) = self.model.slots.as_ref().and_then(|slots| slots.take_failure()) {
            return Err(RunError::Weights(failure));
        }
        self.n_output = outputs.iter().map(Range::len).sum();
        Ok(outputs)
    }

    /// Whether these steps can be a pass.
    fn check(&self, steps: &[Step<'_>]) -> Result<(), RunError> {
        let Settings { n_batch, .. } = self.settings;
        let of_way = |way: Way| steps.iter().filter(|step| step.way == way).map(|step| step.rows.len()).sum::<usize>();
        let (n_written, n) = (of_way(Way::Written), of_way(Way::Written) + of_way(Way::Prompt));
        if n > n_batch {
            return Err(RunError::BatchTooLarge { n, n_batch });
        }
        let most_written = self.settings.limits().written;
        if n_written > most_written {
            return Err(RunError::BatchTooLarge { n: n_written, n_batch: most_written });
        }
        for Step { sequence, rows, want, shown, checkpoint_at, .. } in steps {
            let n = rows.len();
            if !sequence.memory.is_of(&self.pool) {
                return Err(RunError::Foreign);
            }
            if n == 0 {
                return Err(RunError::EmptyBatch);
            }
            if *want > n {
                return Err(RunError::TooManyOutputs { want: *want, n });
            }
            if *shown > n {
                return Err(RunError::TooManyOutputs { want: *shown, n });
            }
            if !checkpoint_at.iter().all(|&at| 0 < at && at < n) || !checkpoint_at.is_sorted() {
                return Err(RunError::Checkpoints { n });
            }
            self.check_room(sequence, n)?;
            self.check_inputs(rows)?;
        }
        Ok(())
    }

    /// Whether these rows are tokens and embeddings of this model.
    ///
    /// # Errors
    /// [`RunError::Token`], [`RunError::Width`].
    pub fn check_inputs(&self, rows: &[InputRow]) -> Result<(), RunError> {
        let (n_vocab, n_embd) = (self.model.n_vocab, self.model.config.n_embd);
        let wrong = |row: &InputRow| match &row.input {
            &Input::Token(id) => (id as usize >= n_vocab).then_some(RunError::Token { id, n_vocab }),
            Input::Embedding(x) => (x.len() != n_embd).then_some(RunError::Width { found: x.len(), expected: n_embd }),
        };
        rows.iter().find_map(wrong).map_or(Ok(()), Err)
    }

    /// Whether `n` rows more fit a sequence.
    ///
    /// # Errors
    /// [`RunError::Full`].
    pub fn check_room(&self, sequence: &Sequence, n: usize) -> Result<(), RunError> {
        let (n_ctx, n_past) = (self.settings.n_ctx, sequence.n_past());
        if n > n_ctx.saturating_sub(n_past) { Err(RunError::Full { n_ctx, n_past, n }) } else { Ok(()) }
    }

    /// The logits behind `outputs` of the last pass, `[n, n_vocab]`.
    ///
    /// # Panics
    /// If the last pass did not have those outputs.
    pub fn logits(&mut self, outputs: Range<usize>) -> &mut [f32] {
        self.check_outputs(&outputs);
        let n_vocab = self.model.n_vocab;
        self.make_room(outputs.len() * n_vocab);
        let at_once = self.settings.limits().written;
        for (i, logits) in self.logits[..self.n_logit].chunks_mut(at_once * n_vocab).enumerate() {
            let first = outputs.start + i * at_once;
            normalize(
                &self.model,
                &mut self.compute,
                &self.scratch,
                first..first + logits.len() / n_vocab,
                &mut self.head,
            );
            let head = (self.model.output.matrix(), Exactness::Plain, logits);
            products(&mut self.compute, &self.head, Phase::Head, [head]);
        }
        self.last_logits()
    }

    /// Makes room for so many logits in place of those that are there. The memory stays: to clear it anew for every pass of several
    /// rows would take a part of the time that the pass saves.
    fn make_room(&mut self, n_logit: usize) {
        if self.logits.len() < n_logit {
            self.logits.resize(n_logit, 0.0);
        }
        self.n_logit = n_logit;
    }

    /// The final hidden states of `outputs` of the last pass, after the final norm: `[n, n_embd]`.
    ///
    /// # Panics
    /// If the last pass did not have those outputs.
    pub fn hidden(&mut self, outputs: Range<usize>) -> &[f32] {
        self.check_outputs(&outputs);
        normalize(&self.model, &mut self.compute, &self.scratch, outputs, &mut self.head);
        &self.head.x
    }

    /// Output `output` of the last pass before the final norm, `[n_embd]`, and the logits behind it that
    /// [`Runner::logits`] has computed, `[n_vocab]`.
    ///
    /// # Panics
    /// If those logits were not the last to be computed, from output 0 on.
    pub fn output(&mut self, output: usize) -> (&[f32], &mut [f32]) {
        let (n_embd, n_vocab) = (self.model.config.n_embd, self.model.n_vocab);
        (&self.scratch.x[output * n_embd..][..n_embd], &mut self.logits[output * n_vocab..][..n_vocab])
    }

    /// Calls `f` with each of `askers` and the logits behind its output, `[n_vocab]`, on all threads. The logits are the last
    /// that [`Runner::logits`] has computed, from output 0 on; who asks for others, or for those of another, is not called.
    pub(super) fn share_logits<T: Send>(&mut self, mut askers: Vec<(usize, T)>, f: impl Fn(&mut T, &mut [f32]) + Sync) {
        let of_outputs = self.logits[..self.n_logit].chunks_mut(self.model.n_vocab).enumerate();
        let mut shares: Vec<(T, &mut [f32])> = of_outputs
            .filter_map(|(output, logits)| {
                let asker = askers.iter().position(|(of, _)| *of == output)?;
                Some((askers.swap_remove(asker).1, logits))
            })
            .collect();
        self.compute
            .team
            .split(&mut shares, 1, |_, shares| shares.iter_mut().for_each(|(asker, logits)| f(asker, logits)));
    }

    /// The outputs of the last pass before the final norm, `[n, n_embd]`.
    pub fn outputs(&self) -> &[f32] {
        &self.scratch.x[..self.n_output * self.model.config.n_embd]
    }

    /// The logits that the last call that computes some has left.
    pub fn last_logits(&mut self) -> &mut [f32] {
        &mut self.logits[..self.n_logit]
    }

    /// Whether the final hidden states behind the last logits are numbers, and with `logits_too` those logits. A damaged row
    /// of the head shows in every logit vector, so that to look at one of a text will do.
    pub fn is_finite(&self, logits_too: bool) -> bool {
        finite::is_finite(&self.head.x) && (!logits_too || finite::is_finite(&self.logits[..self.n_logit]))
    }

    /// Buffers are larger than the outputs in them: what lies behind is of passes before.
    fn check_outputs(&self, outputs: &Range<usize>) {
        assert!(outputs.end <= self.n_output, "outputs {outputs:?} of {} wanted", self.n_output);
    }

    /// Has sequences made from now on draft in this way; false if the model has no block for it, so that drafts come from copying
    /// alone, if at all.
    pub fn enable_drafts(&mut self, drafting: Draft) -> bool {
        self.drafting = drafting;
        if drafting != Draft::Off && self.model.mtp.is_some() && self.drafter.is_none() {
            let Settings { n_ctx, n_sequence, kv, .. } = self.settings;
            self.drafter = Some(Box::new(Drafter::new(&self.model.config, n_ctx, n_sequence, kv)));
        }
        self.drafter.is_some()
    }

    /// How sequences draft.
    pub fn drafting(&self) -> Draft {
        self.drafting
    }

    /// Whether there is a block to draft with.
    pub fn has_block(&self) -> bool {
        self.drafter.is_some()
    }

    /// Keeps output `output` of the last pass as the [tip](Sequence::tip) of the sequence, behind whose last row it is.
    ///
    /// # Panics
    /// If the last pass did not have that output.
    pub fn keep_tip(&mut self, sequence: &mut Sequence, output: usize) {
        self.check_outputs(&(output..output + 1));
        let (model, n_embd) = (&self.model, self.model.config.n_embd);
        let mut tip = vec![0.0; n_embd];
        let x = &self.scratch.x[output * n_embd..][..n_embd];
        self.compute.kernels.rms_norm(x, &model.output_norm, model.config.rms_eps, &mut tip);
        sequence.keep_tip(tip.into());
    }

    /// Keeps the hidden states behind `outputs` of the last pass, which are those of the last rows of `sequence`, until the
    /// block is [shown](Runner::show) them.
    ///
    /// # Panics
    /// If the last pass did not have those outputs.
    pub fn keep_hidden(&mut self, sequence: &mut Sequence, outputs: Range<usize>) {
        self.check_outputs(&outputs);
        let (first, config) = (sequence.n_past() - outputs.len(), &self.model.config);
        let Some(memory) = &mut sequence.drafts else { return };
        let x = &self.scratch.x[outputs.start * config.n_embd..outputs.end * config.n_embd];
        let hidden = memory.keep_waiting(first, outputs.len(), config.n_embd);
        for (x, hidden) in x.chunks(config.n_embd).zip(hidden.chunks_mut(config.n_embd)) {
            self.compute.kernels.rms_norm(x, &self.model.output_norm, config.rms_eps, hidden);
        }
    }

    /// Shows the block the pairs of all hidden states that wait and the rows behind each, of which `newest` is the last: it is
    /// not in the sequence yet. Returns the output behind the last pair `[n_embd]`, or `None` if nothing waits.
    ///
    /// # Errors
    /// [`RunError::NoDrafts`]; if memory for pairs is short.
    pub fn show(
        &mut self,
        sequence: &mut Sequence,
        newest: InputRow,
        outputs: Outputs,
    ) -> Result<Option<Vec<f32>>, RunError> {
        let n_embd = self.model.config.n_embd;
        let memory = sequence.drafts.as_ref().ok_or(RunError::NoDrafts)?;
        let (first, n) = memory.waiting(n_embd);
        let known: Option<Vec<InputRow>> = (first + 1..first + n).map(|row| sequence.token(row)).collect();
        let (Some(drafter), Some(memory)) = (&mut self.drafter, &mut sequence.drafts) else {
            return Err(RunError::NoDrafts);
        };
        if n == 0 || first + n != sequence.memory.n_past() {
            return Ok(None);
        }
        let hidden = memory.take_waiting(n, n_embd);
        // What stands behind pictures is not known as tokens: of these the last pair will do.
        let (skipped, next) = match known {
            Some(known) => (0, [&known[..], &[newest]].concat()),
            None => (n - 1, vec![newest]),
        };
        let (first, hidden, way) = (first + skipped, &hidden[skipped * n_embd..], Way::Written);
        let mut run = |memory: &mut DraftMemory, pairs: Pairs<'_>, outputs| {
            drafter.run(&self.model, &self.rope, &mut self.compute, memory, pairs, outputs)
        };
        // Of many pairs most of the layer is left out for all but the last, though some weights are then read twice.
        let n_apart = if outputs == Outputs::All && next.len() >= LEAST_APART { next.len() - 1 } else { 0 };
        let (known, last) = next.split_at(n_apart);
        let (hidden, hidden_last) = hidden.split_at(n_apart * n_embd);
        if n_apart > 0 {
            run(memory, Pairs { first, hidden, next: known, way }, Outputs::None)?;
        }
        run(memory, Pairs { first: first + n_apart, hidden: hidden_last, next: last, way }, outputs)?;
        let y = drafter.outputs();
        Ok((outputs == Outputs::All).then(|| y[y.len() - n_embd..].to_vec()))
    }

    /// Shows the block the rows of steps whose hidden states the last pass has left. Rows of a sequence that it is not shown for
    /// lack of memory are missing in its guesses, and nowhere else.
    fn show_trails(&mut self, steps: &mut [Step<'_>]) {
        let n_embd = self.model.config.n_embd;
        let Some(drafter) = &mut self.drafter else { return };
        let mut trails = &self.trail[..];
        for Step { sequence, rows, way, shown, .. } in steps {
            let n_past = sequence.n_past();
            let Some(memory) = &mut sequence.drafts else { continue };
            if *shown == 0 {
                continue;
            }
            let hidden = trails.split_off(..*shown * n_embd).expect("a hidden state for every row that is shown");
            let first = n_past + rows.len() - *shown;
            let (waiting, n_waiting) = memory.waiting(n_embd);
            let mut show = |memory: &mut DraftMemory, pairs: Pairs<'_>| {
                let _ = drafter.run(&self.model, &self.rope, &mut self.compute, memory, pairs, Outputs::None);
            };
            // The last row of the pass before.
            if first == n_past && n_waiting > 0 && waiting + n_waiting == n_past {
                let before = memory.take_waiting(n_waiting, n_embd);
                let hidden = &before[(n_waiting - 1) * n_embd..];
                show(memory, Pairs { first: n_past - 1, hidden, next: &rows[..1], way: *way });
            }
            let (known, last) = hidden.split_at((*shown - 1) * n_embd);
            show(memory, Pairs { first, hidden: known, next: &rows[rows.len() - *shown + 1..], way: *way });
            memory.keep_waiting(n_past + rows.len() - 1, 1, n_embd).copy_from_slice(last);
        }
    }

    /// Runs pairs of a sequence through the block, behind those it has been shown: the trunk's `hidden [n, n_embd]` (from
    /// [`Runner::hidden`]) and the rows that follow each, `next [n]`. To draft further, pass the block's own output and the
    /// drafted token. Returns the outputs `[n, n_embd]`.
    ///
    /// Does not disturb the sequence's rows. What takes these back also takes back their pairs; those of guesses go with
    /// [`DraftMemory::truncate`].
    ///
    /// # Errors
    /// If drafts were not enabled when the sequence was made, the lengths do not fit each other, or a row is no input of this
    /// model.
    pub fn draft(
        &mut self,
        sequence: &mut Sequence,
        hidden: &[f32],
        next: &[InputRow],
        way: Way,
    ) -> Result<&[f32], RunError> {
        let (found, expected) = (hidden.len(), next.len() * self.model.config.n_embd);
        if found != expected {
            return Err(RunError::Width { found, expected });
        }
        self.check_inputs(next)?;
        let (Some(drafter), Some(memory)) = (&mut self.drafter, &mut sequence.drafts) else {
            return Err(RunError::NoDrafts);
        };
        let pairs = Pairs { first: memory.next_pair(), hidden, next, way };
        drafter.run(&self.model, &self.rope, &mut self.compute, memory, pairs, Outputs::All)?;
        Ok(drafter.outputs())
    }

    /// The logits of the rows of a shortlist behind one output of the block, `y [n_embd]`, in the shortlist's order.
    ///
    /// # Panics
    /// If `y` is not one output.
    pub fn shortlist_logits(&mut self, y: &[f32], shortlist: &Shortlist) -> &mut [f32] {
        let (core, more) = (shortlist.n_core(), shortlist.more());
        self.make_room(core + more.len());
        self.head.reshape(written(1), self.model.config.n_embd);
        self.head.fill(&mut self.compute, |_, h| h.copy_from_slice(y));
        let head = self.model.output.matrix();
        let (logits, rest) = self.logits[..self.n_logit].split_at_mut(core);
        products(&mut self.compute, &self.head, Phase::Head, [(head.slice_rows(0..core), Exactness::Plain, logits)]);
        let Compute { kernels, ref mut team } = self.compute;
        team.split_with(rest, MORE_AT_ONCE, |arena, i, logits| {
            for (logit, &id) in logits.chunks_mut(1).zip(&more[i * MORE_AT_ONCE..]) {
                let row = head.slice_rows(id as usize..id as usize + 1);
                self.head.multiply(kernels, arena, row, Exactness::Plain, &mut Tile::new(logit, 1));
            }
        });
        self.last_logits()
    }

    /// The logits behind outputs of the block (or of the trunk) `y [n, n_embd]`, as they come from [`Runner::draft`]:
    /// `[n, n_vocab]`. They take the place of those of [`Runner::logits`].
    ///
    /// # Panics
    /// If these are not whole rows.
    pub fn logits_behind(&mut self, y: &[f32]) -> &mut [f32] {
        let (n_embd, n_vocab) = (self.model.config.n_embd, self.model.n_vocab);
        assert!(y.len().is_multiple_of(n_embd), "whole rows");
        self.make_room(y.len() / n_embd * n_vocab);
        let at_once = self.settings.limits().written;
        let logits = self.logits[..self.n_logit].chunks_mut(at_once * n_vocab);
        for (y, logits) in y.chunks(at_once * n_embd).zip(logits) {
            self.head.reshape(written(y.len() / n_embd), n_embd);
            self.head.fill(&mut self.compute, |r, h| h.copy_from_slice(&y[r * n_embd..][..n_embd]));
            let head = (self.model.output.matrix(), Exactness::Plain, logits);
            products(&mut self.compute, &self.head, Phase::Head, [head]);
        }
        self.last_logits()
    }
}

fn part<'b>(step: &'b mut Step<'_>, has_block: bool) -> Part<'b> {
    let Step { sequence, rows, way, want, shown, checkpoint_at } = step;
    let trail = if has_block && sequence.drafts.is_some() { *shown } else { 0 };
    Part { memory: &mut sequence.memory, rows, way: *way, want: *want, trail, checkpoint_at }
}

/// So many written rows: what the head multiplies.
fn written(n: usize) -> RowCounts {
    RowCounts { prompt: 0, written: n }
}

/// The lengths of `n` rows that logits are computed of at once.
fn head(config: &Config, n: usize) -> BatchShape {
    BatchShape { forms: config.forms, rows: written(n), total: n, cols: config.n_embd, refined: false }
}

/// Writes the final norm of the given outputs into `head`.
fn normalize(model: &Model, compute: &mut Compute, scratch: &Scratch, outputs: Range<usize>, head: &mut Batch) {
    let (kernels, n_embd) = (compute.kernels, model.config.n_embd);
    head.reshape(written(outputs.len()), n_embd);
    head.fill(compute, |r, h| {
        let row = &scratch.x[(outputs.start + r) * n_embd..][..n_embd];
        kernels.rms_norm(row, &model.output_norm, model.config.rms_eps, h);
    });
}
