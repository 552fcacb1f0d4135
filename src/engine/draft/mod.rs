//! Drafting: tokens that are guessed ahead, so that one pass over the weights can verify several.
//!
//! Guesses come from the model's multi-token-prediction [block], and from [copying](copy) what followed before in the same
//! text. They are rows of the next pass behind the token that is certain; the answer's own sampler chooses at each of them, and
//! they stand as long as they are what it chooses. So the text is the same with drafts and without, and the
//! [controller](controller::Controller) is free to decide by the clock.

mod block;
pub mod controller;
pub mod copy;
pub mod cost;
pub mod shortlist;

use self::controller::{Chance, Choice, Controller, Luck, class};
use self::copy::CopyIndex;
use self::cost::Cost;
use self::shortlist::Shortlist;
use super::runner::Runner;
use super::sequence::Sequence;
use crate::model::input::{Input, InputRow};
use crate::model::mtp::{MOST_WAITING, Outputs};
use crate::model::state::LOG_ROWS;
use crate::sampler::Sampler;
use crate::tokenizer::{TokenType, Tokenizer};
use std::time::{Duration, Instant};

/// Drafts of the block in one pass at most.
pub const MOST_BLOCK: usize = 8;

/// Drafts from copying in one pass at most: with the token before them they are what can be taken back.
pub const MOST_COPY: usize = LOG_ROWS - 1;

/// Drafts of all conversations together that `auto` makes for a pass at most.
pub const MOST_EXTRA: usize = LOG_ROWS - 1;

/// Bytes that drafts of one conversation of `n_ctx` positions take, those of the block apart.
pub(super) fn bytes(n_ctx: usize) -> usize {
    n_ctx.saturating_mul(copy::BYTES_A_TOKEN).saturating_add(shortlist::BYTES)
}

/// How tokens are drafted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Draft {
    /// Not at all.
    Off,
    /// From the block and from copying, as far as that is faster.
    #[default]
    Auto,
    /// So many from the block in every pass, [`MOST_BLOCK`] at most.
    Fixed(usize),
}

/// Where an answer is: what is easy to guess differs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Phase {
    /// In the thinking.
    Thinking,
    /// In what is said.
    #[default]
    Answer,
    /// In a call of a tool.
    Call,
}

impl Phase {
    const ALL: [Phase; 3] = [Phase::Thinking, Phase::Answer, Phase::Call];
    const COUNT: usize = Phase::ALL.len();
}

/// Where a draft comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Block,
    /// Copied; the class says how much matched.
    Copy {
        class: usize,
    },
}

/// Drafts of one source.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Tokens that were drafted.
    pub drafted: usize,
    /// Of these, tokens that are a part of the text.
    pub accepted: usize,
}

/// What drafting did for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Drafts {
    /// Drafts of the block.
    pub block: Tally,
    /// Drafts from copying.
    pub copy: Tally,
    /// Passes that verified drafts.
    pub passes: usize,
}

/// The drafts of one answer, and what they are made from.
#[derive(Default)]
pub struct Track {
    /// Prompt and answer, as far as they were looked at.
    index: CopyIndex,
    /// The rows of the head that the block chooses from, once it does, and how many tokens of the text are on it.
    shortlist: Option<(Shortlist, usize)>,
    /// Whether the block is left out, and shown nothing.
    without_block: bool,
    /// The drafts that the next pass verifies, and their source.
    drafts: Vec<u32>,
    source: Option<Source>,
    /// What the block, and what a copy would have guessed of a token that was not drafted.
    shadow: Option<u32>,
    copied: Option<(u32, usize)>,
    luck: Luck,
    phase: Phase,
    since_guess: usize,
    tally: Drafts,
}

impl Track {
    /// The tokens that the next pass is to verify.
    pub fn drafts(&self) -> &[u32] {
        &self.drafts
    }

    /// Puts guesses of the block right or wrong: `is_right` says which, of those whose text would be `truth`. It is what a
    /// measurement of a given acceptance does.
    pub fn forge(&mut self, truth: &[u32], mut is_right: impl FnMut(usize) -> bool) {
        let mut all_right = true;
        let mut forge = |i: usize, draft: &mut u32| {
            if let Some(&id) = truth.get(i) {
                all_right = all_right && is_right(i);
                *draft = if all_right { id } else { id ^ 1 };
            }
        };
        self.shadow.iter_mut().for_each(|draft| forge(0, draft));
        if self.source == Some(Source::Block) {
            self.drafts.iter_mut().enumerate().for_each(|(i, draft)| forge(i, draft));
        }
    }

    /// What drafting did so far.
    pub fn tally(&self) -> Drafts {
        self.tally
    }

    /// Whether the block is shown the prompt.
    pub(super) fn shows(&self) -> bool {
        !self.without_block
    }

    /// Looks at what has been added to prompt and answer.
    fn follow(&mut self, prompt: &[InputRow], ids: &[u32]) {
        let known = self.index.n_token();
        let of_prompt = prompt.iter().skip(known).map(token);
        for id in of_prompt.chain(ids.iter().skip(known.saturating_sub(prompt.len())).map(|&id| Some(id))) {
            self.index.push(id);
        }
    }

    /// The rows of the head that the block chooses from, those of a vocabulary of `n_vocab` with these tokens that are no text.
    fn shortlist(&mut self, n_vocab: usize, controls: &[u32]) -> &Shortlist {
        let (list, n_listed) = self.shortlist.get_or_insert_with(|| {
            let mut list = Shortlist::new(n_vocab);
            controls.iter().for_each(|&id| list.add(id));
            (list, 0)
        });
        self.index.tokens(*n_listed).for_each(|id| list.add(id));
        *n_listed = self.index.n_token();
        list
    }
}

/// The token of a row, if it is one.
fn token(row: &InputRow) -> Option<u32> {
    match row.input {
        Input::Token(id) => Some(id),
        Input::Embedding(_) => None,
    }
}

/// An answer that goes on with a token which is chosen and not computed yet.
pub struct Talk<'t> {
    /// Its drafts.
    pub track: &'t mut Track,
    /// Its rows so far.
    pub sequence: &'t mut Sequence,
    /// The prompt it answers.
    pub prompt: &'t [InputRow],
    /// Its tokens, the newest included.
    pub ids: &'t [u32],
    /// The row of the newest.
    pub newest: InputRow,
    /// Where it is.
    pub phase: Phase,
    /// Drafts that there is room for.
    pub room: usize,
    /// What chooses its tokens, where penalties have a part in it.
    pub sampler: Option<&'t Sampler>,
}

/// Drafts for the conversations of a runner.
pub struct Drafting {
    mode: Draft,
    has_block: bool,
    n_vocab: usize,
    controller: Controller,
    /// Tokens that are no text.
    controls: Option<Vec<u32>>,
    /// Time that drafts of the next pass took.
    spent: Duration,
}

impl Drafting {
    /// Drafting as the runner's [mode](Runner::drafting) says.
    pub fn new(runner: &Runner) -> Drafting {
        Drafting {
            mode: runner.drafting(),
            has_block: runner.has_block(),
            n_vocab: runner.model().n_vocab,
            controller: Controller::new(Cost::of(runner.model()).unwrap_or(Cost { step: 1.0, showing: 0.0 })),
            controls: None,
            spent: Duration::ZERO,
        }
    }

    /// An answer of up to `n_max` tokens begins, of whose prompt the last `n_unread` rows are to be read: decides whether the block
    /// is shown them, and looks for what may be copied.
    pub fn begin(&mut self, track: &mut Track, prompt: &[InputRow], n_unread: usize, n_max: usize) {
        // An answer of one token is not drafted.
        let drafts = self.mode != Draft::Off && n_max > 1;
        track.without_block = match self.mode {
            Draft::Auto => !(drafts && self.has_block && self.controller.shows(n_unread, n_max)),
            Draft::Off | Draft::Fixed(_) => !(drafts && self.has_block),
        };
        if drafts {
            track.follow(prompt, &[]);
        }
    }

    /// Makes the drafts of those answers of the next pass that have none yet.
    pub fn propose(&mut self, runner: &mut Runner, tokenizer: Option<&Tokenizer>, talks: &mut [Talk<'_>]) {
        self.spent = Duration::ZERO;
        if self.mode == Draft::Off || talks.is_empty() {
            return;
        }
        let start = Instant::now();
        if self.has_block && self.controls.is_none() {
            self.controls = Some(tokenizer.map(controls_of).unwrap_or_default());
        }
        let mut most_extra = runner.settings().limits().written.saturating_sub(talks.len());
        let mut chances = Vec::with_capacity(talks.len());
        let mut copies = Vec::with_capacity(talks.len());
        for talk in &mut *talks {
            let Talk { track, prompt, ids, room, phase, .. } = talk;
            track.follow(prompt, ids);
            track.phase = *phase;
            let copy = match self.mode {
                Draft::Auto => track.index.guess(MOST_COPY.min(*room)),
                Draft::Off | Draft::Fixed(_) => None,
            };
            let block = if self.has_block && !track.without_block { MOST_BLOCK.min(*room) } else { 0 };
            let offer = copy.as_ref().map_or((0, 0), |copy| (copy.ids.len(), class(copy.matched)));
            chances.push(Chance {
                phase: *phase,
                block,
                copy: offer,
                luck: track.luck,
                since_guess: track.since_guess,
            });
            copies.push(copy);
        }
        let choices = match self.mode {
            Draft::Auto => self.controller.choose(&chances, most_extra),
            Draft::Off => vec![Choice::Plain; talks.len()],
            Draft::Fixed(n) => {
                let fixed = |chance: &Chance| {
                    let n = n.min(chance.block).min(most_extra);
                    most_extra -= n;
                    if n > 0 { Choice::Draft(Source::Block, n) } else { Choice::Plain }
                };
                chances.iter().map(fixed).collect()
            }
        };
        for (((talk, choice), chance), copy) in talks.iter_mut().zip(choices).zip(chances).zip(copies) {
            self.carry_out(runner, talk, choice, (copy.map(|copy| copy.ids).unwrap_or_default(), chance.copy.1));
        }
        self.spent = start.elapsed();
    }

    /// Makes the drafts of one answer.
    fn carry_out(&mut self, runner: &mut Runner, talk: &mut Talk<'_>, choice: Choice, copy: (Vec<u32>, usize)) {
        let Talk { track, sequence, newest, sampler, .. } = talk;
        let (copied, class) = copy;
        track.copied = copied.first().map(|&id| (id, class));
        let n = match choice {
            Choice::Draft(Source::Block, n) => n,
            Choice::Shadow => 1,
            Choice::Plain | Choice::Draft(Source::Copy { .. }, _) => 0,
        };
        if n > 0 {
            let start = Instant::now();
            let list = track.shortlist(self.n_vocab, self.controls.as_deref().unwrap_or_default());
            // Without memory for pairs there is no guess.
            let ids = block::guess(runner, sequence, newest.clone(), n, list, *sampler).unwrap_or_default();
            self.controller.stepped(ids.len(), start.elapsed());
            track.since_guess = 0;
            match choice {
                Choice::Shadow => track.shadow = ids.first().copied(),
                _ => (track.drafts, track.source) = (ids, Some(Source::Block)),
            }
        } else if let Choice::Draft(source, n) = choice {
            (track.drafts, track.source) = (copied[..n.min(copied.len())].to_vec(), Some(source));
        }
        if track.drafts.is_empty() {
            track.source = None;
        }
        if sequence.n_waiting() > MOST_WAITING {
            // To show it an answer that it will guess nothing of would be a loss; of the next one it may be shown all.
            track.without_block = self.mode == Draft::Auto && !self.controller.pays();
            if track.shows() {
                let _ = runner.show(sequence, newest.clone(), Outputs::None);
            }
        }
    }

    /// A pass has taken `time` to read so many rows of prompts, and nothing else.
    pub fn read(&mut self, rows: usize, time: Duration) {
        self.controller.read(rows, time);
    }

    /// The pass has verified the drafts of an answer: `chosen` are the tokens that were chosen at its rows.
    pub fn settle(&mut self, track: &mut Track, chosen: &[u32]) {
        let drafts = std::mem::take(&mut track.drafts);
        let accepted = drafts.iter().zip(chosen).take_while(|(draft, id)| draft == id).count();
        // Drafts behind the end of an answer were neither right nor wrong.
        let judged = drafts.len().min(chosen.len());
        if let Some(source) = track.source.take() {
            track.tally.passes += 1;
            let tally = match source {
                Source::Block => &mut track.tally.block,
                Source::Copy { .. } => &mut track.tally.copy,
            };
            tally.drafted += drafts.len();
            tally.accepted += accepted;
            self.controller.settled(track.phase, source, judged, accepted);
            if source != Source::Block {
                track.luck.note(judged, accepted);
            }
        }
        let first = chosen.first().copied();
        if let Some(guess) = track.shadow.take() {
            self.controller.settled(track.phase, Source::Block, 1, usize::from(first == Some(guess)));
        }
        if let Some((guess, class)) = track.copied.take()
            && drafts.is_empty()
        {
            let accepted = usize::from(first == Some(guess));
            self.controller.settled(track.phase, Source::Copy { class }, 1, accepted);
            track.luck.note(1, accepted);
        }
        track.since_guess += chosen.len();
        self.controller.wrote(chosen.len());
    }

    /// A pass of written rows alone has taken `time`: one row of each of `n_talk` answers and `extra` drafts, of which came
    /// `tokens`.
    pub fn passed(&mut self, n_talk: usize, extra: usize, tokens: usize, time: Duration) {
        if self.mode == Draft::Auto {
            self.controller.passed(n_talk, extra, time);
            self.controller.gained(n_talk, extra, tokens, time + self.spent);
        }
    }
}

/// The tokens of a vocabulary that are no text.
fn controls_of(tokenizer: &Tokenizer) -> Vec<u32> {
    let is_control = |&id: &u32| matches!(tokenizer.token_type(id), Some(TokenType::Control | TokenType::UserDefined));
    (0..tokenizer.n_vocab() as u32).filter(is_control).collect()
}
