//! Writing an answer: read the prompt, then choose token after token until the model ends, and say how it went.
//!
//! An [`Answer`] is pulled along: it says which rows it wants computed next, and is told the logits behind them. Who runs
//! the passes, and what else is in them, is no matter of the answer; [`generate`] does it for one alone.

use crate::chat::calls::{Call, Calls, Piece};
use crate::chat::thinking::{Channel, Thinking, Thought};
use crate::constrain::{Constraint, Grammar, Lost};
use crate::engine::context::{Context, text_rows};
use crate::engine::draft::{Drafting, Drafts, MOST_COPY, Phase, Talk, Track};
use crate::engine::draw::{Draw, Drawing, Drawn};
use crate::engine::loop_guard::{Advice, LoopGuard};
use crate::engine::run_error::RunError;
use crate::engine::runner::{Runner, Step};
use crate::engine::sequence::Sequence;
use crate::model::finite::{self, NotFinite};
use crate::model::input::{Input, InputRow};
use crate::model::state::LOG_ROWS;
use crate::sampler::Sampler;
use crate::tokenizer::{StreamDecoder, Tokenizer};
use kernels::Way;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What may end an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The model ended its turn.
    End,
    /// The number of tokens asked for is reached.
    Length,
    /// The context is full.
    ContextFull,
    /// The caller's `proceed` said no.
    Interrupted,
    /// The answer went round in circles.
    Repetition,
}

impl Stop {
    /// The word used in machine-readable results.
    pub fn name(self) -> &'static str {
        match self {
            Stop::End => "end",
            Stop::Length => "length",
            Stop::ContextFull => "context_full",
            Stop::Interrupted => "interrupted",
            Stop::Repetition => "repetition",
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The prompt does not fit, or is none of this model; nothing has been read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is nothing to answer.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// What the weights give are no numbers, and whatever were chosen would be noise.
    #[error(
        "the model computes values that are no numbers (NaN or infinity){}",
        found.map_or(String::new(), |found| format!(", first {found}"))
    )]
    NotFinite {
        /// Where they first appear, unless they did not appear again when the text was read once more to find out.
        found: Option<NotFinite>,
    },
    /// What the answer is to keep to cannot be followed any further.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// How an answer went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it ended.
    pub stop: Stop,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of them, tokens that were in the context already.
    pub n_reused: usize,
    /// Of them, tokens that were read; all the others unless the reading was interrupted.
    pub n_read: usize,
    /// Time from the start to the logits behind the prompt.
    pub prefill: Duration,
    /// Ids of the answer, the ending token excluded.
    pub ids: Vec<u32>,
    /// The answer: all that [`Audience::writing`] was told of it.
    pub text: String,
    /// The calls in it, which are no part of the text.
    pub calls: Vec<Call>,
    /// The thinking before it, without white space around it.
    pub reasoning: String,
    /// What became of the thinking.
    pub thought: Thought,
    /// Thinking tokens that the model chose.
    pub n_thinking: usize,
    /// Time from the first sampled token to the last.
    pub decode: Duration,
    /// What drafting did for it.
    pub drafts: Drafts,
    /// Time that each token took that was kept to something.
    pub keeping: Vec<Duration>,
}

impl Outcome {
    /// Prompt tokens read per second, those in the context already not counted.
    pub fn prefill_tok_s(&self) -> f64 {
        rate(self.n_read, self.prefill)
    }

    /// Tokens written per second. The first comes with the prompt and is not counted.
    pub fn decode_tok_s(&self) -> f64 {
        rate(self.ids.len().saturating_sub(1), self.decode)
    }

    /// The answer, or the thinking before it, goes on with `text`.
    fn go_on(&mut self, channel: Channel, text: &str, thinking: &Thinking, audience: &mut dyn Audience) {
        let (written, text) = match channel {
            Channel::Thinking => (&mut self.reasoning, text),
            // The blank lines between thinking and answer belong to neither.
            Channel::Answer if self.text.is_empty() && !thinking.is_ignored() => {
                (&mut self.text, text.trim_start_matches('\n'))
            }
            Channel::Answer => (&mut self.text, text),
        };
        written.push_str(text);
        audience.writing(channel, text);
    }

    /// Whether it was interrupted before anything was written.
    pub fn is_stopped_before_answer(&self) -> bool {
        self.stop == Stop::Interrupted && self.ids.is_empty()
    }
}

fn rate(n: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() }
}

/// Who follows the making of an answer.
pub trait Audience {
    /// `done` of `total` prompt tokens are read.
    fn reading(&mut self, done: usize, total: usize);
    /// The answer goes on with text that became whole (maybe none).
    fn writing(&mut self, channel: Channel, text: &str);
    /// A call in the answer begins, goes on or ends.
    fn calling(&mut self, _piece: Piece<'_>) {}
    /// Whether to go on; asked between batches and tokens.
    fn proceed(&mut self) -> bool;
    /// Whether it is to be told of [chosen](Audience::chosen) tokens, which takes a copy of the logits.
    fn follows_choices(&self) -> bool {
        false
    }
    /// This token of the answer was chosen, from these logits `[n_vocab]` before penalties. Its text comes next.
    fn chosen(&mut self, _id: u32, _logits: &[f32]) {}
    /// The model ended the answer with this token, from these logits; told to those who follow choices.
    fn ended(&mut self, _id: u32, _logits: &[f32]) {}
    /// A row of the prompt, behind the `done` first, at which reading alone is to pause, so that it can look at what was read.
    fn pause_at(&self, _done: usize) -> Option<usize> {
        None
    }
    /// Reading has paused, or is done: the sequence has the rows up to there.
    fn paused(&mut self, _runner: &Runner, _sequence: &Sequence) {}
    /// Whether it can take more now. An answer among [several](super::answers::Answers) waits until it can.
    fn is_ready(&self) -> bool {
        true
    }
}

/// What is to be written.
pub struct Task {
    /// The prompt.
    pub prompt: Vec<InputRow>,
    /// Rows of it behind which checkpoints are made, ascending: the next prompt may begin with so many of them.
    pub checkpoint_at: Vec<usize>,
    /// Most tokens of the answer.
    pub n_max: usize,
    /// Where the prompt leaves the thinking, and its budget.
    pub thinking: Thinking,
    /// What the answer behind the thinking keeps to. It comes to its end within [`Task::n_max`] tokens if that is enough for the
    /// shortest one and they fit the context.
    pub constraint: Option<Constraint>,
    /// What calls keep to, from the mark that begins one to the mark that ends it.
    pub call_grammar: Option<Arc<Grammar>>,
    /// Tells calls from text, if functions are offered.
    pub calls: Option<Calls>,
    /// Whether thinking and answer are ended where they go round in circles; not in a text that is continued without a
    /// template.
    pub loop_guard: bool,
}

/// Tokens that end the thinking, at most.
const END_OF_THINKING: usize = 4;

/// Most tokens of the thinking before an answer that keeps to a grammar and has `n_max` tokens with it: a quarter is left to the
/// answer, and what the shortest one takes.
pub fn think_budget(budget: Option<usize>, n_max: usize, grammar: &Grammar) -> usize {
    let answer = (n_max / 4).max(grammar.n_shortest().saturating_add(END_OF_THINKING));
    budget.unwrap_or(usize::MAX).min(n_max.saturating_sub(answer))
}

/// An answer in the making.
pub struct Answer {
    prompt: Vec<InputRow>,
    /// Rows of the prompt behind which checkpoints are wanted, ascending.
    checkpoint_at: Vec<usize>,
    n_max: usize,
    thinking: Thinking,
    constraint: Option<Constraint>,
    call_grammar: Option<Arc<Grammar>>,
    /// What the call that is being written keeps to.
    call: Option<Constraint>,
    /// Whether the call that is being written was given something to keep to.
    is_call_followed: bool,
    calls: Option<Calls>,
    guard: LoopGuard,
    decoder: StreamDecoder,
    outcome: Outcome,
    stage: Stage,
    since: Instant,
    last: Channel,
    track: Track,
    /// The tokens that must follow the one that comes next.
    forced: Vec<u32>,
    /// Behind the prompt: the token that comes next, and the drafts behind it.
    rows: Vec<InputRow>,
    /// The token that was drawn behind the first of the outputs that come, if one was.
    drawn: Option<Drawn>,
}

/// Where an answer stands.
enum Stage {
    /// So many rows of the prompt are read.
    Reading(usize),
    Writing,
    Done,
}

/// Rows that an answer wants computed.
pub struct Wanted<'a> {
    /// The rows.
    pub rows: &'a [InputRow],
    /// How they are computed.
    pub way: Way,
    /// Behind so many of them, the last ones, the logits are wanted.
    pub want: usize,
    /// So many of them, the last ones, are shown to a block that drafts.
    shown: usize,
    /// Behind how many of these rows checkpoints are wanted that are inside.
    checkpoint_at: Vec<usize>,
}

impl Wanted<'_> {
    /// As rows of `sequence` in a pass.
    pub fn step<'s>(&'s self, sequence: &'s mut Sequence) -> Step<'s> {
        let Wanted { rows, way, want, shown, .. } = *self;
        Step { sequence, rows, way, want, shown, checkpoint_at: &self.checkpoint_at }
    }
}

/// What an answer is made with.
pub struct Tools<'a> {
    /// Makes text of ids.
    pub tokenizer: &'a Tokenizer,
    /// Chooses ids.
    pub sampler: &'a mut Sampler,
    /// Is told what happens.
    pub audience: &'a mut dyn Audience,
}

impl Answer {
    /// An answer to a prompt of which a sequence has the first `n_reused` rows: all but one at most, or all with the
    /// [tip](Sequence::tip) behind them. The sampler begins anew, with the prompt's tokens before it.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`].
    ///
    /// # Panics
    /// If there are more rows than those of the prompt.
    pub fn new(task: Task, n_reused: usize, sampler: &mut Sampler) -> Result<Answer, Error> {
        let Task { prompt, checkpoint_at, n_max, mut thinking, mut constraint, call_grammar, mut calls, loop_guard } =
            task;
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        assert!(n_reused <= prompt.len(), "{n_reused} of {} rows are read", prompt.len());
        if let (Some(calls), Some(_)) = (&mut calls, &call_grammar) {
            calls.leave_form();
        }
        if let Some(constraint) = &mut constraint {
            thinking.end_with_blank();
            calls.as_ref().and_then(Calls::begin_mark).into_iter().for_each(|mark| constraint.leave_by(mark));
        }
        sampler.forget();
        sampler.see_prompt(prompt.iter().filter_map(|row| match row.input {
            Input::Token(id) => Some(id),
            Input::Embedding(_) => None,
        }));
        let outcome = Outcome {
            stop: Stop::Interrupted,
            n_prompt: prompt.len(),
            n_reused,
            n_read: 0,
            prefill: Duration::ZERO,
            ids: Vec::new(),
            text: String::new(),
            calls: Vec::new(),
            reasoning: String::new(),
            thought: Thought::None,
            n_thinking: 0,
            decode: Duration::ZERO,
            drafts: Drafts::default(),
            keeping: Vec::new(),
        };
        Ok(Answer {
            prompt,
            checkpoint_at,
            n_max,
            guard: LoopGuard::new(loop_guard && !thinking.is_ignored()),
            thinking,
            constraint,
            call_grammar,
            call: None,
            is_call_followed: false,
            calls,
            decoder: StreamDecoder::new(),
            outcome,
            stage: Stage::Reading(n_reused),
            since: Instant::now(),
            last: Channel::Answer,
            track: Track::default(),
            forced: Vec::new(),
            rows: Vec::new(),
            drawn: None,
        })
    }

    /// Whether all of the prompt can be read: it is all of it or nothing.
    ///
    /// # Errors
    /// If it does not fit the sequence, or a row is no input of this model.
    pub fn check(&self, runner: &Runner, sequence: &Sequence) -> Result<(), RunError> {
        runner.check_room(sequence, self.n_unread())?;
        runner.check_inputs(&self.prompt)
    }

    /// Decides how it is drafted, before any of its rows is computed.
    pub fn begin_drafts(&mut self, drafting: &mut Drafting) {
        if !self.has_begun() {
            let n_unread = self.n_unread();
            drafting.begin(&mut self.track, &self.prompt, n_unread, self.n_max);
        }
    }

    /// Has a checkpoint made behind `n` rows of the prompt, which are not read yet.
    pub fn checkpoint_behind(&mut self, n: usize) {
        if let Err(at) = self.checkpoint_at.binary_search(&n) {
            self.checkpoint_at.insert(at, n);
        }
    }

    /// Whether any of its rows was computed, or a token chosen.
    pub fn has_begun(&self) -> bool {
        self.outcome.n_read > 0 || !matches!(self.stage, Stage::Reading(_))
    }

    /// Rows of the prompt that are still to be read.
    pub fn n_unread(&self) -> usize {
        match self.stage {
            Stage::Reading(done) => self.prompt.len() - done,
            Stage::Writing | Stage::Done => 0,
        }
    }

    /// The rows wanted next: of a prompt `n_prompt` at most. `None` when the answer is done.
    pub fn wanted(&self, n_prompt: usize) -> Option<Wanted<'_>> {
        match &self.stage {
            Stage::Reading(done) if *done < self.prompt.len() => {
                let rows = &self.prompt[*done..self.end_of_piece(*done, n_prompt)];
                let inside = self.checkpoint_at.iter().filter_map(|at| at.checked_sub(*done));
                let checkpoint_at = inside.filter(|at| (1..rows.len()).contains(at)).collect();
                let left = self.prompt.len() - done - rows.len();
                // All or none: shown the last 1,024 rows of 3,400 alone, the demo's block was right 55 times of 100, and not 74.
                let shown = if self.track.shows() { rows.len() } else { 0 };
                Some(Wanted { rows, way: Way::Prompt, want: usize::from(left == 0), shown, checkpoint_at })
            }
            Stage::Writing => {
                let want = self.rows.len();
                Some(Wanted { rows: &self.rows, way: Way::Written, want, shown: 0, checkpoint_at: Vec::new() })
            }
            // All of the prompt is known: [`Answer::take_tip`] comes first.
            Stage::Reading(_) | Stage::Done => None,
        }
    }

    /// Where a piece of so many rows of the prompt at most ends, of which `done` are read. The few rows behind the last checkpoint
    /// are read in one pass: they can then be taken back, and stay with that checkpoint.
    fn end_of_piece(&self, done: usize, n: usize) -> usize {
        let (end, n_prompt) = (self.prompt.len().min(done.saturating_add(n)), self.prompt.len());
        let last = self.checkpoint_at.last().filter(|&&last| n_prompt - LOG_ROWS.min(n_prompt) <= last);
        last.copied().filter(|last| (done + 1..end).contains(last) && end < n_prompt).unwrap_or(end)
    }

    /// Takes note that `n` rows were computed whose logits are not wanted.
    pub fn read(&mut self, n: usize, sequence: &mut Sequence, tools: &mut Tools<'_>) {
        let Stage::Reading(done) = &mut self.stage else { return };
        *done += n;
        let done = *done;
        self.outcome.n_read += n;
        self.outcome.prefill = self.since.elapsed();
        if self.checkpoint_at.contains(&done) {
            sequence.checkpoint();
        }
        tools.audience.reading(done, self.prompt.len());
        if !tools.audience.proceed() {
            self.end(Stop::Interrupted, tools);
        }
    }

    /// What may be drafted behind the token that comes next, if one does, no drafts wait to be verified, and the tokens behind
    /// it are open.
    pub fn talk<'t>(&'t mut self, sequence: &'t mut Sequence, sampler: &'t Sampler, n_ctx: usize) -> Option<Talk<'t>> {
        let [newest] = &self.rows[..] else { return None };
        if !matches!(self.stage, Stage::Writing) {
            return None;
        }
        // All that the pass can give is wanted, and all of its rows have places.
        let tokens = self.n_max.saturating_sub(self.outcome.ids.len() + 1);
        let places = n_ctx.saturating_sub(sequence.n_past() + 1);
        let room = tokens.min(places);
        let constraint = self.call.as_mut().or(self.constraint.as_mut());
        if let Some(constraint) = constraint.filter(|_| self.thinking.is_over()) {
            self.forced = constraint.forced();
            self.forced.truncate(room.min(MOST_COPY));
            if !self.forced.is_empty() {
                return None;
            }
        }
        let phase = match self.last {
            Channel::Thinking => Phase::Thinking,
            Channel::Answer if self.calls.as_ref().is_some_and(Calls::is_in_call) => Phase::Call,
            Channel::Answer => Phase::Answer,
        };
        Some(Talk {
            track: &mut self.track,
            sequence,
            prompt: &self.prompt,
            ids: &self.outcome.ids,
            newest: newest.clone(),
            phase,
            room,
            sampler: Some(sampler),
        })
    }

    /// Puts the tokens that must follow behind the token that comes next, or the drafts that were made.
    pub fn take_drafts(&mut self) {
        let forced = std::mem::take(&mut self.forced);
        if let [InputRow { position: [first, ..], .. }] = self.rows[..] {
            let ids = if forced.is_empty() { self.track.drafts() } else { &forced };
            let behind = ids.iter().zip(first.saturating_add(1)..);
            self.rows.extend(behind.map(|(&id, at)| InputRow { input: Input::Token(id), position: [at; 3] }));
        }
    }

    /// Has the token behind the first of its outputs drawn together with those of other answers, before it [takes](Answer::take)
    /// them. What is drawn behind drafts depends on it, and is drawn then.
    pub(super) fn drawing<'t>(&'t mut self, sampler: &'t mut Sampler, audience: &dyn Audience) -> Drawing<'t> {
        let mut hint = None;
        match self.guard.advice() {
            Advice::Hint(more) => {
                hint = self.thinking.end_mark().map(|mark| (mark, more));
                self.thinking.press(Thought::Loop);
            }
            Advice::End => self.thinking.end(Thought::Loop),
            Advice::GoOn => {}
        }
        let prescribed = self.prescribed();
        let barred = self.calls.as_ref().and_then(|calls| calls.barred(self.thinking.is_open()));
        let room = self.n_max - self.outcome.ids.len();
        let constraint = self.call.as_mut().or(self.constraint.as_mut());
        let constraint = constraint.filter(|_| room > 0 && self.thinking.is_over());
        let draw = Draw {
            sampler,
            prescribed,
            constraint: constraint.map(|constraint| (constraint, room)),
            hint,
            barred,
            keeps_logits: audience.follows_choices(),
            // A damaged row of the head shows in every vector of logits, so that to look at the first will do.
            checks: self.outcome.ids.is_empty(),
        };
        Drawing { draw, drawn: &mut self.drawn }
    }

    /// Takes the outputs behind the rows wanted, whose logits are [computed](Runner::logits): chooses the next token, and
    /// goes on with the drafts as long as they are what is chosen. The rest of the rows is taken back. Returns the number of
    /// tokens that were chosen.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if they are no numbers.
    pub fn take(
        &mut self,
        runner: &mut Runner,
        outputs: Range<usize>,
        sequence: &mut Sequence,
        drafting: &mut Drafting,
        tools: &mut Tools<'_>,
    ) -> Result<usize, Error> {
        let (n_row, before) = (outputs.len(), self.outcome.ids.len());
        let is_written = matches!(self.stage, Stage::Writing);
        let mut chosen = Ok(());
        let mut n_kept = 0;
        for output in outputs.clone() {
            let (hidden, logits) = runner.output(output);
            chosen = self.choose(hidden, logits, tools);
            n_kept += 1;
            let draft = self.rows.get(n_kept).map(|row| row.input.clone());
            let is_draft = matches!(draft, Some(Input::Token(draft)) if self.outcome.ids.last() == Some(&draft));
            if chosen.is_err() || self.is_done() || !is_draft {
                break;
            }
        }
        sequence.take_back(n_row - n_kept).map_err(RunError::from)?;
        chosen?;
        let ids = &self.outcome.ids[before..];
        if is_written {
            if self.track.shows() {
                runner.keep_hidden(sequence, outputs.start..outputs.start + n_kept);
            }
            drafting.settle(&mut self.track, ids);
        } else {
            runner.keep_tip(sequence, outputs.start);
        }
        let n_chosen = ids.len();
        self.want_newest(sequence);
        Ok(n_chosen)
    }

    /// Chooses the first token of an answer to a prompt of which the sequence has all rows, behind its tip; does nothing for others.
    /// Nothing is computed but the head.
    ///
    /// # Errors
    /// As [`Answer::take`].
    pub fn take_tip(&mut self, runner: &mut Runner, sequence: &Sequence, tools: &mut Tools<'_>) -> Result<(), Error> {
        if !matches!(self.stage, Stage::Reading(done) if done == self.prompt.len()) {
            return Ok(());
        }
        let tip = sequence.tip().expect("what is behind a prompt that is read");
        let logits = runner.logits_behind(tip);
        tools.audience.reading(self.prompt.len(), self.prompt.len());
        self.outcome.prefill = self.since.elapsed();
        self.choose(tip, logits, tools)?;
        self.want_newest(sequence);
        Ok(())
    }

    /// Has the token that was chosen last computed next.
    fn want_newest(&mut self, sequence: &Sequence) {
        self.rows.clear();
        if let (false, Some(&id)) = (self.is_done(), self.outcome.ids.last()) {
            self.rows.push(InputRow { input: Input::Token(id), position: [sequence.next_position(); 3] });
        }
    }

    /// Whether the answer is ended where it goes round in circles: not in what keeps to something.
    fn may_loop(&self) -> bool {
        self.last == Channel::Answer && self.constraint.is_none() && self.call.is_none()
    }

    /// The token that must come next, if one must.
    fn prescribed(&mut self) -> Option<u32> {
        let of_thinking = self.thinking.prescribed();
        of_thinking.or_else(|| self.calls.as_mut().filter(|_| !self.thinking.is_open())?.prescribed())
    }

    /// Chooses the next token by the logits behind an output `hidden`.
    fn choose(&mut self, hidden: &[f32], logits: &mut [f32], tools: &mut Tools<'_>) -> Result<(), Error> {
        let drawn = self.drawn.take();
        let Drawn { id, raw, is_finite } =
            drawn.unwrap_or_else(|| self.drawing(tools.sampler, tools.audience).draw.from(logits));
        let mut id = id?;
        // What keeps to something does not end with the thinking before it.
        if self.constraint.is_some() && self.thinking.is_open() && tools.tokenizer.is_end(id) {
            self.thinking.end(Thought::Finished);
            id = self.thinking.prescribed().unwrap_or(id);
        }
        if !is_finite || !finite::is_finite(hidden) {
            return Err(Error::NotFinite { found: None });
        }
        if self.outcome.ids.is_empty() {
            self.since = Instant::now();
        }
        if self.outcome.ids.len() == self.n_max {
            self.end(Stop::Length, tools);
        } else if tools.tokenizer.is_end(id) {
            if let Some(raw) = &raw {
                tools.audience.ended(id, raw);
            }
            self.end(Stop::End, tools);
        } else if !tools.audience.proceed() {
            self.end(Stop::Interrupted, tools);
        } else {
            tools.sampler.accept(id);
            self.outcome.ids.push(id);
            self.outcome.decode = self.since.elapsed();
            let text = self.decoder.push(tools.tokenizer, id);
            if let Some(channel) = self.thinking.take(id, text) {
                if let (Some(raw), Channel::Answer) = (&raw, channel) {
                    tools.audience.chosen(id, raw);
                }
                match &mut self.calls {
                    Some(calls) if channel == Channel::Answer => {
                        let mut told = telling(&mut self.outcome, &self.thinking, tools.audience);
                        calls.take(id, text, &mut told);
                    }
                    _ => self.outcome.go_on(channel, text, &self.thinking, tools.audience),
                }
                self.last = channel;
                self.guard.take(id, channel == Channel::Thinking, tools.tokenizer);
            }
            self.stage = Stage::Writing;
            self.constraint.take_if(|constraint| constraint.is_left());
            self.follow_call();
            let (is_full, constraint) = (self.outcome.ids.len() == self.n_max, self.constraint.as_ref());
            if constraint.is_some_and(|constraint| constraint.is_complete() || is_full && constraint.may_end()) {
                self.end(Stop::End, tools);
            } else if is_full {
                self.end(Stop::Length, tools);
            } else if self.calls.as_ref().is_some_and(Calls::is_over) {
                self.end(Stop::End, tools);
            } else if self.may_loop() && self.guard.advice() == Advice::End {
                self.end(Stop::Repetition, tools);
            }
        }
        Ok(())
    }

    /// Has a call that begins keep to its grammar, and prescribes the end of one that is whole.
    fn follow_call(&mut self) {
        let Some(calls) = &mut self.calls else { return };
        if !calls.is_in_call() {
            self.call = None;
        } else if let Some(call) = &self.call {
            if call.is_complete() {
                calls.prescribe_end();
            }
            self.call.take_if(|call| call.is_complete() || call.is_left());
        } else if !self.is_call_followed {
            self.call = self.call_grammar.as_ref().map(|grammar| grammar.constraint());
        }
        self.is_call_followed = self.calls.as_ref().is_some_and(Calls::is_in_call);
    }

    /// Ends the answer where it is.
    pub fn end(&mut self, stop: Stop, tools: &mut Tools<'_>) {
        let rest = self.decoder.finish();
        if !rest.is_empty() {
            self.outcome.go_on(self.last, rest, &self.thinking, tools.audience);
        }
        if let Some(calls) = &mut self.calls {
            calls.finish(&mut telling(&mut self.outcome, &self.thinking, tools.audience));
            self.outcome.calls = calls.calls().to_vec();
        }
        self.outcome.stop = stop;
        self.outcome.reasoning = self.outcome.reasoning.trim().to_owned();
        self.outcome.thought = self.thinking.thought();
        self.outcome.n_thinking = self.thinking.n_tokens();
        self.stage = Stage::Done;
    }

    /// Whether it is complete, or was cut.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Tokens written so far.
    pub fn ids(&self) -> &[u32] {
        &self.outcome.ids
    }

    /// How the answer went, once it is done.
    pub fn into_outcome(mut self) -> Outcome {
        self.outcome.drafts = self.track.tally();
        self.outcome.keeping = self.constraint.as_ref().map_or_else(Vec::new, |constraint| constraint.times().to_vec());
        self.outcome
    }
}

/// Tells an audience what an answer that may hold calls goes on with.
fn telling<'a>(
    outcome: &'a mut Outcome,
    thinking: &'a Thinking,
    audience: &'a mut dyn Audience,
) -> impl FnMut(Piece<'_>) + 'a {
    move |piece| match piece {
        Piece::Text(text) => outcome.go_on(Channel::Answer, text, thinking, audience),
        Piece::Begun(_) | Piece::Arguments(_) | Piece::Ended => audience.calling(piece),
    }
}

/// Reads the prompt behind the rows of it that the context [has](Context::rewind_to_common_prefix), and writes the answer.
///
/// # Errors
/// [`Error`].
///
/// # Panics
/// If the context has more than the prompt, or all of it without the [tip](Sequence::tip) behind it.
pub fn generate(
    context: &mut Context,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    task: Task,
    audience: &mut dyn Audience,
) -> Result<Outcome, Error> {
    debug_assert_eq!(context.sequence().common_prefix(&task.prompt), context.n_past(), "rows of another prompt");
    let n_reused = context.n_past();
    let n_batch = context.settings().n_batch;
    let mut answer = Answer::new(task, n_reused, sampler)?;
    let mut tools = Tools { tokenizer, sampler, audience };
    let (runner, sequence, drafting) = context.drafting_parts();
    answer.check(runner, sequence)?;
    answer.begin_drafts(drafting);
    match answer.take_tip(runner, sequence, &mut tools) {
        Err(Error::NotFinite { .. }) => return Err(not_finite(context, &answer.prompt, answer.ids())),
        taken => taken?,
    }
    loop {
        if let Some(talk) = answer.talk(sequence, tools.sampler, runner.settings().n_ctx) {
            drafting.propose(runner, Some(tokenizer), &mut [talk]);
        }
        answer.take_drafts();
        let n_past = sequence.n_past();
        let pause = tools.audience.pause_at(n_past).filter(|&at| n_past < at && at <= n_past + n_batch);
        let Some(wanted) = answer.wanted(pause.map_or(n_batch, |at| at - n_past)) else { break };
        let (n, want, way) = (wanted.rows.len(), wanted.want, wanted.way);
        let start = Instant::now();
        let outputs = match runner.run(&mut [wanted.step(sequence)]) {
            Err(RunError::Full { .. }) => {
                answer.end(Stop::ContextFull, &mut tools);
                break;
            }
            outputs => outputs?.remove(0),
        };
        if way == Way::Prompt {
            drafting.read(n, start.elapsed());
        }
        answer.read(n, sequence, &mut tools);
        if pause == Some(sequence.n_past()) && way == Way::Prompt {
            tools.audience.paused(runner, sequence);
        }
        if want > 0 && !answer.is_done() {
            runner.logits(outputs.clone());
            let time = start.elapsed();
            match answer.take(runner, outputs, sequence, drafting, &mut tools) {
                Ok(n_chosen) if way == Way::Written => drafting.passed(1, n - 1, n_chosen, time),
                Ok(_) => tools.audience.paused(runner, sequence),
                Err(Error::NotFinite { .. }) => return Err(not_finite(context, &answer.prompt, answer.ids())),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(answer.into_outcome())
}

/// Finds out where values that are no numbers came from, by reading prompt and answer once more.
fn not_finite(context: &mut Context, prompt: &[InputRow], ids: &[u32]) -> Error {
    context.clear();
    let next = prompt.iter().flat_map(|row| row.position).max().map_or(0, |position| position + 1);
    let rows = [prompt, &text_rows(ids, next)].concat();
    Error::NotFinite { found: context.find_not_finite(&rows).ok().flatten() }
}
