//! Several answers in the making, each in a conversation of its own, that share every pass.

use super::draft::{Drafting, Talk};
use super::draw::Drawing;
use super::generate::{Answer, Audience, Error, Outcome, Stop, Tools, Wanted};
use super::run_error::RunError;
use super::runner::{Runner, Settings, Step};
pub use super::scheduler::Waits;
use super::scheduler::{Demand, Limits, Scheduler};
use super::sequence::Sequence;
use crate::model::pass::BatchLimits;
use crate::model::state::LOG_ROWS;
use crate::sampler::Sampler;
use crate::tokenizer::Tokenizer;
use std::ops::Range;
use std::time::{Duration, Instant};

/// An answer in the making, and what it is made with.
pub struct Conversation<'a> {
    /// The conversation, which has the rows that the answer takes for read.
    pub sequence: Sequence,
    /// The answer.
    pub answer: Answer,
    /// Chooses its tokens.
    pub sampler: Sampler,
    /// Is told how it goes.
    pub audience: Box<dyn Audience + 'a>,
}

/// An answer that is complete, or failed.
pub struct Finished {
    /// Where it sat.
    pub seat: usize,
    /// The conversation, with the answer in it but for its last token.
    pub sequence: Sequence,
    /// How it went.
    pub outcome: Result<Outcome, Error>,
}

/// Conversations that share passes, each on a seat.
pub struct Answers<'a> {
    seats: Vec<Option<Conversation<'a>>>,
    scheduler: Scheduler,
    /// How long those who are written to have waited for other things than passes, since the last one.
    waited: Duration,
    /// Conversations in the last pass.
    n_passed: usize,
    drafting: Drafting,
}

impl<'a> Answers<'a> {
    /// So many empty seats before this runner.
    pub fn new(n: usize, runner: &Runner, waits: Waits) -> Answers<'a> {
        let BatchLimits { rows, written } = runner.settings().limits();
        let scheduler = Scheduler::new(n, Limits { rows, written, waits });
        Answers {
            seats: (0..n).map(|_| None).collect(),
            scheduler,
            waited: Duration::ZERO,
            n_passed: 0,
            drafting: Drafting::new(runner),
        }
    }

    /// Those who are written to have waited so long for something else than a pass, and wait less for prompts in the
    /// next one.
    pub fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Conversations in the last pass.
    pub fn n_passed(&self) -> usize {
        self.n_passed
    }

    /// The conversations in the making, as they are between passes.
    pub fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.seats.iter().flatten().map(|seat| &seat.sequence)
    }

    /// The conversation on a seat whose prompt is being read, unless its audience has it wait.
    pub fn reading(&self, seat: usize) -> Option<&Sequence> {
        let Conversation { sequence, answer, audience, .. } = self.seats[seat].as_ref()?;
        (answer.n_unread() > 0 && audience.is_ready()).then_some(sequence)
    }

    /// Has a checkpoint made behind `n` rows of the prompt on a seat, which are not read yet.
    pub fn checkpoint_at(&mut self, seat: usize, n: usize) {
        if let Some(Conversation { sequence, answer, .. }) = &mut self.seats[seat] {
            answer.checkpoint_behind(n);
            sequence.allow_checkpoints(usize::MAX);
        }
    }

    /// The same, each with its seat.
    pub fn sequences_mut(&mut self) -> impl Iterator<Item = (usize, &mut Sequence)> {
        let seats = self.seats.iter_mut().enumerate();
        seats.filter_map(|(who, seat)| Some((who, &mut seat.as_mut()?.sequence)))
    }

    /// Pages that the next pass takes at most: of keys and values, and of what a block for drafting remembers.
    pub fn n_page_wanted(&self, runner: &Runner) -> (usize, usize) {
        let Settings { n_ctx, n_batch, .. } = *runner.settings();
        let wanted = self.seats.iter().flatten().map(|Conversation { sequence, answer, .. }| {
            let rows = match answer.n_unread() {
                0 => LOG_ROWS,
                unread => unread.min(n_batch),
            };
            sequence.n_missing(rows.min(n_ctx.saturating_sub(sequence.n_past())))
        });
        wanted.fold((0, 0), |(pages, drafts), (more, more_drafts)| (pages + more, drafts + more_drafts))
    }

    /// A seat on which nobody sits.
    pub fn free_seat(&self) -> Option<usize> {
        self.seats.iter().position(Option::is_none)
    }

    /// Whether nobody sits anywhere.
    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(Option::is_none)
    }

    /// Whether somebody's audience takes more: a pass does nothing otherwise.
    pub fn is_ready(&self) -> bool {
        self.seats.iter().flatten().any(|conversation| conversation.audience.is_ready())
    }

    /// Gives a conversation a seat.
    pub fn sit(&mut self, seat: usize, mut conversation: Conversation<'a>) {
        conversation.answer.begin_drafts(&mut self.drafting);
        self.seats[seat] = Some(conversation);
        self.scheduler.replace(seat);
    }

    /// Runs one pass for those whose turn it is, and returns the answers that have come to their end.
    ///
    /// # Errors
    /// What no single conversation is to blame for: [`RunError`].
    pub fn pass(&mut self, runner: &mut Runner, tokenizer: &Tokenizer) -> Result<Vec<Finished>, RunError> {
        let mut failed = self.take_tips(runner, tokenizer);
        self.draft(runner, tokenizer);
        let demand = |seat: &Option<Conversation<'_>>| seat.as_ref().and_then(demand);
        let demands: Vec<Option<Demand>> =
            self.seats.iter().zip(&failed).map(|(seat, failed)| demand(seat).filter(|_| failed.is_none())).collect();
        let mut rows = vec![0; self.seats.len()];
        self.scheduler
            .next(&demands, std::mem::take(&mut self.waited))
            .iter()
            .for_each(|seat| rows[seat.who] = seat.rows);
        let is_written = |who: usize| rows[who] > 0 && matches!(demands[who], Some(Demand::Written(_)));

        let mut passing: Vec<(usize, Wanted<'_>, &mut Sequence)> = Vec::new();
        for (who, seat) in self.seats.iter_mut().enumerate().filter(|(who, _)| rows[*who] > 0) {
            let Some(Conversation { sequence, answer, .. }) = seat else { continue };
            match check(answer, sequence, rows[who], runner) {
                Ok(()) => passing.extend(answer.wanted(rows[who]).map(|wanted| (who, wanted, sequence))),
                Err(error) => failed[who] = Some(error.into()),
            }
        }
        let of_pass =
            |(who, wanted, _): &(usize, Wanted<'_>, &mut Sequence)| (*who, wanted.rows.len(), wanted.want > 0);
        let passed: Vec<(usize, usize, bool)> = passing.iter().map(of_pass).collect();
        self.n_passed = passed.len();
        let start = Instant::now();
        let mut steps: Vec<Step<'_>> = passing.iter_mut().map(|(_, wanted, sequence)| wanted.step(sequence)).collect();
        let outputs = if steps.is_empty() { Vec::new() } else { runner.run(&mut steps)? };
        let n_output = outputs.iter().map(|outputs| outputs.end).max().unwrap_or(0);
        if n_output > 0 {
            runner.logits(0..n_output);
            runner.share_logits(self.drawings(&passed, &outputs), Drawing::run);
        }
        let time = start.elapsed();
        let n_row_written: usize = (0..rows.len()).filter(|&who| is_written(who)).map(|who| rows[who]).sum();
        self.scheduler.measured(rows.iter().sum::<usize>() - n_row_written, n_row_written, time);
        let n_written = passed.iter().filter(|(who, ..)| is_written(*who)).count();
        let (n_passed, n_row) = (passed.len(), passed.iter().map(|(_, n, _)| n).sum::<usize>());
        let mut n_chosen = 0;

        for ((who, n, logits), outputs) in passed.into_iter().zip(outputs) {
            let Some(Conversation { sequence, answer, sampler, audience }) = &mut self.seats[who] else { continue };
            let mut tools = Tools { tokenizer, sampler, audience: &mut **audience };
            answer.read(n, sequence, &mut tools);
            if logits && !answer.is_done() {
                match answer.take(runner, outputs, sequence, &mut self.drafting, &mut tools) {
                    Ok(n) => n_chosen += n,
                    Err(error) => failed[who] = Some(error),
                }
            }
        }
        if n_written == 0 && n_row > 0 {
            self.drafting.read(n_row, time);
        } else if n_written > 0 && n_written == n_passed {
            self.drafting.passed(n_written, n_row - n_written, n_chosen, time);
        }
        let ended = failed.into_iter().enumerate().filter_map(|(seat, failed)| {
            let is_done = |talk: &mut Conversation<'_>| failed.is_some() || talk.answer.is_done();
            let conversation = self.seats[seat].take_if(is_done)?;
            Some(conversation.finish(seat, failed, tokenizer))
        });
        Ok(ended.collect())
    }
}

impl Answers<'_> {
    /// The draws behind the first outputs of those who have some, each with its output.
    fn drawings(&mut self, passed: &[(usize, usize, bool)], outputs: &[Range<usize>]) -> Vec<(usize, Drawing<'_>)> {
        let mut of_seats = vec![None; self.seats.len()];
        for ((who, ..), outputs) in passed.iter().zip(outputs).filter(|((.., logits), _)| *logits) {
            of_seats[*who] = Some(outputs.start);
        }
        let seated = self.seats.iter_mut().zip(of_seats).filter_map(|(seat, output)| seat.as_mut().zip(output));
        seated
            .map(|(Conversation { answer, sampler, audience, .. }, output)| {
                (output, answer.drawing(sampler, &**audience))
            })
            .collect()
    }

    /// Chooses the first tokens of answers to prompts of which nothing is left to be read; for each seat what went wrong, if
    /// something did.
    fn take_tips(&mut self, runner: &mut Runner, tokenizer: &Tokenizer) -> Vec<Option<Error>> {
        let take = |seat: &mut Option<Conversation<'_>>| {
            let Conversation { sequence, answer, sampler, audience } = seat.as_mut()?;
            if !audience.is_ready() {
                return None;
            }
            let mut tools = Tools { tokenizer, sampler, audience: &mut **audience };
            answer.take_tip(runner, sequence, &mut tools).err()
        };
        self.seats.iter_mut().map(take).collect()
    }

    /// Makes the drafts of all who are written to and ready.
    fn draft(&mut self, runner: &mut Runner, tokenizer: &Tokenizer) {
        let n_ctx = runner.settings().n_ctx;
        let ready = self.seats.iter_mut().flatten().filter(|seat| seat.audience.is_ready());
        let mut talks: Vec<Talk<'_>> = Vec::new();
        for seat in ready {
            talks.extend(seat.answer.talk(&mut seat.sequence, &seat.sampler, n_ctx));
        }
        self.drafting.propose(runner, Some(tokenizer), &mut talks);
        self.seats.iter_mut().flatten().for_each(|seat| seat.answer.take_drafts());
    }
}

/// Whether an answer's next rows can be computed: before it begins, whether all of its prompt can be.
fn check(answer: &Answer, sequence: &Sequence, rows: usize, runner: &Runner) -> Result<(), RunError> {
    if answer.has_begun() { runner.check_room(sequence, rows) } else { answer.check(runner, sequence) }
}

impl Conversation<'_> {
    /// What came of an answer that is complete, or failed.
    fn finish(self, seat: usize, failed: Option<Error>, tokenizer: &Tokenizer) -> Finished {
        let Conversation { sequence, mut answer, mut sampler, mut audience } = self;
        let outcome = match failed {
            // The answer has filled its context: that is an end like another.
            Some(Error::Run(RunError::Full { .. })) if !answer.ids().is_empty() => {
                let mut tools = Tools { tokenizer, sampler: &mut sampler, audience: &mut *audience };
                answer.end(Stop::ContextFull, &mut tools);
                Ok(answer.into_outcome())
            }
            Some(error) => Err(error),
            None => Ok(answer.into_outcome()),
        };
        Finished { seat, sequence, outcome }
    }
}

fn demand(conversation: &Conversation<'_>) -> Option<Demand> {
    if !conversation.audience.is_ready() {
        return None;
    }
    match conversation.answer.n_unread() {
        0 => conversation.answer.wanted(0).map(|wanted| Demand::Written(wanted.rows.len())),
        unread => Some(Demand::Prompt(unread)),
    }
}
