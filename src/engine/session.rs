//! A conversation with a model: messages in, events out. Behind it stand tokenizer, template, sampler, viewer and timeline.
//!
//! A session keeps no messages: each answer is given all of them, and what the timeline holds already is not read again.

use super::context::{Context, text_rows};
use super::forks::Forks;
use super::generate::{self, Audience, Outcome, Task, generate};
use super::message::{Message, shown};
use super::model_file::{ModelFile, StartError, StartOptions};
use super::plan::Plan;
use super::prompt_cache::{self, PromptCache, Reuse};
use super::ready::Ready;
use super::runner::Runner;
use super::sequence::Sequence;
use super::snapshot::SnapshotError;
use crate::chat::calls::{CallChoice, Calls, Piece};
use crate::chat::offer::Offer;
use crate::chat::thinking::{Channel, Thinking};
use crate::chat::{self, Request, Template};
use crate::constrain::Grammar;
use crate::gguf::Fingerprint;
use crate::model::input::InputRow;
use crate::model::state::LOG_ROWS;
use crate::sampler::{Sampler, Settings};
use crate::tokenizer::{Special, Tokenizer};
use crate::vision::eyes::Seen;
use crate::vision::positions::{VisionIds, Walk};
use crate::vision::prompt::{self, Prompt};
use crate::vision::{self, Look, Source, Viewer};
use kernels::Way;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What happens while an answer is made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// `done` of the prompt's `total` tokens are read.
    Reading {
        /// Tokens read, those that were in the timeline already included.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// The thinking goes on with this text.
    Thinking(&'a str),
    /// The answer goes on with this text.
    Text(&'a str),
    /// A call in it begins, goes on or ends.
    Call(Piece<'a>),
    /// The answer is complete; so it went.
    Done(&'a Outcome),
}

/// Stops the answer of a session from any thread. Clones stop the same one.
#[derive(Clone, Default, Debug)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    /// Stops the answer that is being made, between two tokens or two batches of the prompt; where none is, the next one
    /// before it begins.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes back what [`Canceller::cancel`] did, where no answer has taken note of it.
    pub fn rearm(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How answers are made. May be changed between answers.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// Whether the template is asked for thinking.
    pub thinking: bool,
    /// After so many thinking tokens the thinking is ended, and the answer follows.
    pub think_budget: Option<usize>,
    /// Most tokens of an answer, its thinking included.
    pub max_tokens: usize,
    /// Whether thinking and answer are ended where they go round in circles.
    pub loop_guard: bool,
    /// How tokens are chosen.
    pub sampling: Settings,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The template refuses the messages, or cannot be run.
    #[error(transparent)]
    Template(#[from] chat::Error),
    /// Pictures and their places do not agree.
    #[error(transparent)]
    Vision(#[from] vision::Error),
    /// There are pictures, and the session has no vision tower.
    #[error("the session was opened without a vision tower, and the message has pictures")]
    NoTower,
    /// There is nothing to read.
    #[error("the prompt has no tokens")]
    Empty,
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {n_prompt} tokens, and the context holds {n_ctx}")]
    TooLong {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// The answer could not be computed.
    #[error(transparent)]
    Generate(#[from] generate::Error),
}

/// Rows of a history that are read before it is asked whether to go on, at first and at least. They are doubled as long as
/// they take less than [`SOON`].
const FEW: usize = 16;

/// How soon it is to be asked.
const SOON: Duration = Duration::from_millis(50);

/// A conversation with a model, or one after the other: an answer is given all messages of its own.
pub struct Session {
    context: Context,
    tokenizer: Arc<Tokenizer>,
    template: Template,
    sampler: Sampler,
    viewer: Option<(Viewer, VisionIds)>,
    plan: Plan,
    notes: Vec<String>,
    canceller: Canceller,
    cache: Option<PromptCache>,
    reuse: Reuse,
    n_reused_written: usize,
    /// What answers keep to, behind their thinking.
    pub grammar: Option<Grammar>,
    /// What calls keep to.
    pub call_grammar: Option<Arc<Grammar>>,
    /// Functions that the model may call.
    pub offer: Option<Arc<Offer>>,
    /// How answers are made.
    pub options: AnswerOptions,
}

impl Session {
    /// One conversation with a model; `seed` is that of what is left to chance.
    pub fn new(ready: Ready, seed: u64) -> Session {
        let sampler = ready.sampler(ready.answers.sampling, seed);
        let Ready { runner, tokenizer, template, viewer, answers: options, plan, notes, .. } = ready;
        let (context, canceller) = (Context::of(runner), Canceller::default());
        let (cache, reuse, n_reused_written) = (None, Reuse::NoCache, 0);
        Session {
            context,
            tokenizer,
            template,
            sampler,
            viewer,
            plan,
            notes,
            canceller,
            cache,
            reuse,
            n_reused_written,
            grammar: None,
            call_grammar: None,
            offer: None,
            options,
        }
    }

    /// Makes the system give all memory now that the conversation will take.
    pub(super) fn commit_memory(&mut self) {
        self.context.commit_memory();
    }

    /// Opens a model's file and starts with what is published for its size, and with as much context as fits the free
    /// memory. [`ModelFile::start`] has the options.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Session, StartError> {
        ModelFile::open(path)?.start(StartOptions::default(), |_, _| ())
    }

    /// The memory plan that the session keeps to.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What was ignored in the model's files.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The timeline, the model and the threads behind it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What looks at pictures, when the session has a vision tower.
    pub fn viewer(&self) -> Option<&Viewer> {
        self.viewer.as_ref().map(|(viewer, _)| viewer)
    }

    /// What stops the answers of this session.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Has `canceller` stop the answers of this session from now on.
    pub fn cancel_by(&mut self, canceller: Canceller) {
        self.canceller = canceller;
    }

    /// Keeps in `cache` what is read of prompts from now on, and takes from it what was read before.
    pub fn keep_prompts(&mut self, cache: PromptCache) {
        self.cache = Some(cache);
    }

    /// Where what was read of prompts is kept.
    pub fn cache(&mut self) -> Option<&mut PromptCache> {
        self.cache.as_mut()
    }

    /// Writes all that is remembered of the conversation, for [`Session::restore`]; `model` is the fingerprint of its model.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, model: &Fingerprint, out: &mut impl std::io::Write) -> std::io::Result<()> {
        self.context.runner().save_to(self.context.sequence(), model, out)
    }

    /// Remembers again what [`Session::save`] has written: what the next messages have in common with those is not read.
    ///
    /// # Errors
    /// [`SnapshotError`]; the session is as good as new then.
    pub fn restore(&mut self, model: &Fingerprint, bytes: &[u8]) -> Result<(), SnapshotError> {
        let (runner, sequence) = self.context.parts();
        sequence.clear();
        *sequence = runner.restore(bytes, model)?;
        Ok(())
    }

    /// Why no more of the last prompt was known.
    pub fn reuse(&self) -> &Reuse {
        &self.reuse
    }

    /// Of the tokens of the last prompt that were known, those that were written and not read. Where there are none, the answer is
    /// that of a session that knew nothing.
    pub fn n_reused_written(&self) -> usize {
        self.n_reused_written
    }

    /// Looks at a picture, which can then be a part of a message. `progress` is told how many of the tower's blocks are
    /// done, and how many there are.
    ///
    /// # Errors
    /// What is wrong with it; [`SessionError::NoTower`].
    pub fn look_at_image(&mut self, source: &Source, progress: impl FnMut(usize, usize)) -> Result<Look, SessionError> {
        let (viewer, _) = self.viewer.as_mut().ok_or(SessionError::NoTower)?;
        Ok(viewer.image(source, self.context.compute(), progress)?)
    }

    /// Looks at a clip, as [`Session::look_at_image`].
    ///
    /// # Errors
    /// As [`Session::look_at_image`].
    pub fn look_at_clip(&mut self, source: &Source, progress: impl FnMut(usize, usize)) -> Result<Look, SessionError> {
        let (viewer, _) = self.viewer.as_mut().ok_or(SessionError::NoTower)?;
        Ok(viewer.clip(source, self.context.compute(), progress)?)
    }

    /// Reads the conversation, as far as it was not read before, and writes the next answer. `on_event` is told as it
    /// happens, and last of all [`Event::Done`].
    ///
    /// # Errors
    /// [`SessionError`]; the timeline is as good as before then.
    pub fn answer(
        &mut self,
        messages: &[Message],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Outcome, SessionError> {
        let messages_json: Vec<Value> = messages.iter().map(Message::to_json).collect();
        let ids = self.prompt_ids(&messages_json)?;
        let (images, clips) = shown(messages);
        let prompt = self.arrange(ids, &images, &clips)?;
        // The answer begins a turn of its own: up to there the next prompt will be the same. What the template puts
        // behind depends on the mode and is dropped from history.
        let turn = self.tokenizer.added_token("<|im_start|>");
        let checkpoint_at = prompt.ids.iter().rposition(|&id| Some(id) == turn).unwrap_or(0);
        let thinking = self.thinking_after(&prompt.ids);
        self.write(&prompt, checkpoint_at, thinking, &mut on_event)
    }

    /// Reads what templates make of the messages so far in the prompts to come, which is not all that was written: they leave
    /// out earlier thinking. The next answer then begins with its question. Returns the rows read; none where pictures are
    /// shown, or when the context is full. `proceed` is asked after every few rows whether to go on; what is read by then stays.
    ///
    /// # Errors
    /// As [`Session::answer`].
    pub fn read_history(
        &mut self,
        messages: &[Message],
        mut proceed: impl FnMut() -> bool,
    ) -> Result<usize, SessionError> {
        if messages.iter().any(Message::shows_something) {
            return Ok(0);
        }
        let next = Message::user("?");
        let messages: Vec<Value> = messages.iter().chain([&next]).map(Message::to_json).collect();
        let ids = self.prompt_ids(&messages)?;
        let turn = self.tokenizer.added_token("<|im_start|>");
        let mut turns = (0..ids.len()).rev().filter(|&at| turn == Some(ids[at]));
        // The last turn is the answer's, the one before it the question's.
        let end = turns.nth(1).unwrap_or(0);
        let rows = text_rows(&ids[..end], 0);
        if rows.is_empty() || rows.len() >= self.context.settings().n_ctx || self.context.sequence().begins_with(&rows)
        {
            return Ok(0);
        }
        self.take_up(&rows);
        let n_have = self.context.n_past();
        let canceller = &self.canceller;
        let (mut done, mut at_once) = (n_have, FEW);
        while done < rows.len() {
            let start = Instant::now();
            let n = at_once.min(rows.len() - done);
            self.context.prefill(&rows[done..done + n], None, |_| true).map_err(generate::Error::from)?;
            done += n;
            if canceller.is_cancelled() || !proceed() {
                break;
            }
            at_once = if start.elapsed() < SOON { at_once * 2 } else { (at_once / 2).max(FEW) };
        }
        self.canceller.rearm();
        self.context.checkpoint();
        if let Some(cache) = self.cache.as_mut().filter(|_| done == rows.len()) {
            cache.keep(self.context.runner(), self.context.sequence());
        }
        Ok(done - n_have)
    }

    /// Writes the one answer to a prompt that has been made into ids ([`super::model_file::ModelFile::prompt_ids`]), with a
    /// placeholder for each picture and clip.
    ///
    /// # Errors
    /// As [`Session::answer`].
    pub fn answer_ids(
        &mut self,
        ids: Vec<u32>,
        images: &[Seen],
        clips: &[Seen],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Outcome, SessionError> {
        let prompt = self.arrange(ids, images, clips)?;
        let thinking = self.thinking_after(&prompt.ids);
        self.write(&prompt, 0, thinking, &mut on_event)
    }

    /// Continues a text as it is, without the template: for base models.
    ///
    /// # Errors
    /// As [`Session::answer`].
    pub fn continue_text(&mut self, text: &str, mut on_event: impl FnMut(Event<'_>)) -> Result<Outcome, SessionError> {
        let ids = self.tokenizer.encode(text, Special::None);
        self.write(&Prompt { ids, seen: Vec::new() }, 0, Thinking::ignored(), &mut on_event)
    }

    fn prompt_ids(&self, messages: &[Value]) -> Result<Vec<u32>, chat::Error> {
        let (offer, thinking) = (self.offer.as_deref(), self.options.thinking);
        prompt_ids(&self.tokenizer, &self.template, messages, offer, thinking)
    }

    /// Puts pictures and clips in their places.
    fn arrange(&self, ids: Vec<u32>, images: &[Seen], clips: &[Seen]) -> Result<Prompt, SessionError> {
        if images.is_empty() && clips.is_empty() {
            return Ok(Prompt { ids, seen: Vec::new() });
        }
        let (_, vision_ids) = self.viewer.as_ref().ok_or(SessionError::NoTower)?;
        let text = |stamp: &str| self.tokenizer.encode(stamp, Special::None);
        Ok(prompt::arrange(&ids, *vision_ids, images, clips, text)?)
    }

    /// Where a prompt leaves the thinking.
    fn thinking_after(&self, prompt: &[u32]) -> Thinking {
        let budget = self.options.think_budget;
        let budget = match &self.grammar {
            Some(grammar) => Some(generate::think_budget(budget, self.n_max(prompt.len()), grammar)),
            None => budget,
        };
        Thinking::after(prompt, &self.tokenizer, budget)
    }

    /// Most tokens of an answer to so many: one that keeps to something ends where the context is full.
    fn n_max(&self, n_prompt: usize) -> usize {
        let n_max = self.options.max_tokens;
        let room = self.context.settings().n_ctx.saturating_sub(n_prompt);
        if self.grammar.is_some() { n_max.min(room) } else { n_max }
    }

    fn write(
        &mut self,
        prompt: &Prompt,
        checkpoint_at: usize,
        thinking: Thinking,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome, SessionError> {
        let (n_prompt, n_ctx) = (prompt.ids.len(), self.context.settings().n_ctx);
        if n_prompt == 0 {
            return Err(SessionError::Empty);
        }
        if n_prompt >= n_ctx {
            return Err(SessionError::TooLong { n_prompt, n_ctx });
        }
        let rows = match &self.viewer {
            Some((_, vision_ids)) if !prompt.seen.is_empty() => {
                prompt.rows(*vision_ids, self.context.model().config.n_embd, &mut Walk::default())?
            }
            _ => text_rows(&prompt.ids, 0),
        };
        let since = Instant::now();
        let mut points = self.recall(&prompt.ids, &rows);
        let recalled = since.elapsed();
        let mut checkpoint_at = vec![checkpoint_at];
        // What is kept behind the last rows has them too: they are not read apart.
        let tail = points.pop_if(|at| n_prompt - *at <= LOG_ROWS);
        checkpoint_at.extend(tail.filter(|tail| !checkpoint_at.contains(tail)));
        checkpoint_at.sort_unstable();
        self.sampler.set(self.options.sampling);
        let offer = self.offer.as_ref().filter(|_| !thinking.is_ignored());
        let calls = offer.map(|offer| Calls::new(Arc::clone(offer), CallChoice::Auto, true, &self.tokenizer));
        let constraint = self.grammar.as_ref().map(Grammar::constraint);
        let task = Task {
            prompt: rows,
            checkpoint_at,
            n_max: self.n_max(n_prompt),
            thinking,
            constraint,
            call_grammar: self.call_grammar.clone(),
            calls,
            loop_guard: self.options.loop_guard,
        };
        let keeping = Keeping { cache: self.cache.as_mut(), points, tail };
        let mut follower = Follower { on_event, canceller: &self.canceller, keeping };
        let outcome = generate(&mut self.context, &self.tokenizer, &mut self.sampler, task, &mut follower);
        self.canceller.rearm();
        let mut outcome = outcome?;
        outcome.prefill += recalled;
        on_event(Event::Done(&outcome));
        Ok(outcome)
    }

    /// Has the sequence begin with as much of these rows as it has read, or the cache has kept, and says why that is no more.
    fn take_up(&mut self, rows: &[InputRow]) -> Reuse {
        let n_have = self.context.rewind_to_common_prefix(rows);
        let (runner, sequence) = self.context.parts();
        match &mut self.cache {
            Some(cache) => {
                let (known, reuse) = cache.recall(runner, rows, n_have);
                if let Some(known) = known {
                    *sequence = known;
                    // The history may go on from here in another way.
                    sequence.checkpoint();
                }
                reuse
            }
            None if n_have == rows.len() => Reuse::Whole,
            None if n_have > 0 => Reuse::End,
            None => Reuse::NoCache,
        }
    }

    /// Takes up what is known of a prompt, and returns the rows behind which the rest is worth to be kept.
    fn recall(&mut self, ids: &[u32], rows: &[InputRow]) -> Vec<usize> {
        self.reuse = self.take_up(rows);
        let sequence = self.context.sequence();
        self.n_reused_written = sequence.ways().iter().filter(|&&way| way == Way::Written).count();
        if self.cache.is_none() {
            return Vec::new();
        }
        Forks::of(ids, &self.tokenizer, self.reuse.differs_at()).points(prompt_cache::WORTH)
    }
}

/// The ids of a conversation and the start of the next answer; of each picture and clip there is one placeholder.
pub(super) fn prompt_ids(
    tokenizer: &Tokenizer,
    template: &Template,
    messages: &[Value],
    offer: Option<&Offer>,
    thinking: bool,
) -> Result<Vec<u32>, chat::Error> {
    let tools = offer.map(|offer| offer.list().to_vec().into());
    let request = Request { tools, ..Request::new(messages.to_vec(), thinking) };
    let prompt = template.prompt(&request, tokenizer)?;
    Ok(tokenizer.encode_prompt(&prompt))
}

/// Passes on what [`generate()`] tells.
struct Follower<'a> {
    on_event: &'a mut dyn FnMut(Event<'_>),
    canceller: &'a Canceller,
    keeping: Keeping<'a>,
}

/// What is kept of a prompt while it is read.
struct Keeping<'a> {
    cache: Option<&'a mut PromptCache>,
    /// Rows behind which it is, ascending.
    points: Vec<usize>,
    /// The last of them, where it is kept with the rest of the prompt.
    tail: Option<usize>,
}

impl Audience for Follower<'_> {
    fn reading(&mut self, done: usize, total: usize) {
        (self.on_event)(Event::Reading { done, total });
    }

    fn writing(&mut self, channel: Channel, text: &str) {
        (self.on_event)(match channel {
            Channel::Thinking => Event::Thinking(text),
            Channel::Answer => Event::Text(text),
        });
    }

    fn calling(&mut self, piece: Piece<'_>) {
        (self.on_event)(Event::Call(piece));
    }

    fn proceed(&mut self) -> bool {
        !self.canceller.is_cancelled()
    }

    fn pause_at(&self, done: usize) -> Option<usize> {
        self.keeping.cache.as_ref()?;
        self.keeping.points.iter().copied().find(|&at| at > done)
    }

    fn paused(&mut self, runner: &Runner, sequence: &Sequence) {
        let Keeping { cache, points, tail } = &mut self.keeping;
        let n_base = sequence.n_past() - sequence.n_logged();
        if let Some(cache) = cache.as_mut().filter(|_| points.contains(&sequence.n_past()) || *tail == Some(n_base)) {
            cache.keep(runner, sequence);
        }
    }
}
