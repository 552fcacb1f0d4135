//! Loads the models of a server when they are asked for, each on a thread of its own, which then is its engine.

use super::error::ApiError;
use super::known::{KeptInFolder, Known};
use super::looker::Looker;
use super::models::Step;
use super::pictures::PictureDesk;
use super::queue::Queue;
use super::served::{ModelCard, Served};
use super::shared::Shared;
use super::slots::Slot;
use super::turns::Turns;
use super::worker::{Sight, Worker};
use crate::constrain::SharedVocabulary;
use crate::engine::ready::Ready;
use crate::engine::runner::Runner;
use crate::sampler::Settings;
use crate::tokenizer::Tokenizer;
use crate::vision::Viewer;
use crate::vision::positions::VisionIds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};

/// Bytes of text of which composition makes one, at most: a Hangul syllable of three bytes comes in nine, and four are
/// assumed for three.
const COMPOSED: usize = 4;

/// Bytes of an engine's stack: what a program's first thread has on most systems.
const STACK: usize = 8 << 20;

/// How a model is served.
pub struct Serving {
    /// How tokens are chosen without and with thinking, where a request does not say.
    pub sampling: [Settings; 2],
    /// What the chat template is told of thinking where a request does not say, if anything.
    pub thinking: Option<bool>,
    /// Most tokens of thinking, where a request does not say.
    pub think_budget: Option<usize>,
    /// Whether thinking and answers are ended where they go round in circles.
    pub loop_guard: bool,
    /// For tests of what a fault of the program does to others: requests whose field `user` is this word fail where
    /// they are read, those with ` at a picture` or ` in a pass` behind it where that is computed.
    pub fault: Option<String>,
    /// Where what was read is kept beyond the life of the server, if it is.
    pub folder: Option<KeptInFolder>,
}

/// Why a model is not loaded.
pub struct NotLoaded<E> {
    /// Whether it may fit when others have left.
    pub is_short: bool,
    /// What is wrong.
    pub error: E,
}

/// Makes a model ready, that of this number, beside others that take so many bytes by their plans, the program itself
/// included; 0 without others.
pub(super) type Load<'l, E> = dyn Fn(usize, u64) -> Result<(Ready, Serving), NotLoaded<E>> + Sync + 'l;

/// Loads what is asked for, until the server ends. `tell` is told of a model that could not be loaded, and of one that
/// was and is no more.
///
/// # Errors
/// Why the only model could not be loaded.
pub(super) fn keep<E: Send>(
    shared: &Shared,
    cards: &[Arc<ModelCard>],
    load: &Load<'_, E>,
    tell: &(dyn Fn(News<'_, E>) + Sync),
) -> Result<(), E> {
    let only = Mutex::new(None);
    let keeper = Keeper { shared, cards, load, tell, only: &only };
    thread::scope(|scope| {
        while let Step::Load { model, taken } = shared.models.next_step() {
            keeper.begin(scope, model, taken);
        }
    });
    only.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// What happens to the models of a server.
pub enum News<'n, E> {
    /// The one of this number cannot be loaded.
    Failed(usize, &'n E),
    /// It has left the memory.
    Left(usize),
}

struct Keeper<'k, E> {
    shared: &'k Shared,
    cards: &'k [Arc<ModelCard>],
    load: &'k Load<'k, E>,
    tell: &'k (dyn Fn(News<'_, E>) + Sync),
    /// Why there is no model at all.
    only: &'k Mutex<Option<E>>,
}

impl<E> Clone for Keeper<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Keeper<'_, E> {}

impl<E: Send> Keeper<'_, E> {
    /// Begins to load a model, and to serve it then.
    fn begin<'s>(self, scope: &'s Scope<'s, '_>, model: usize, taken: u64)
    where
        Self: 's,
    {
        let thread = thread::Builder::new().name("engine".to_owned()).stack_size(STACK);
        if thread.spawn_scoped(scope, move || self.load_and_serve(model, taken)).is_err() {
            let error = ApiError::unavailable("the system refuses another thread");
            self.shared.models.failed(model, false, error);
        }
    }

    fn load_and_serve(self, model: usize, taken: u64) {
        let Keeper { shared, cards, load, tell, only } = self;
        let id = &cards[model].id;
        let loaded = catch_unwind(AssertUnwindSafe(|| load(model, taken)));
        match loaded {
            Ok(Ok((ready, serving))) => {
                // However it ends.
                let served = catch_unwind(AssertUnwindSafe(|| serve(shared, model, &cards[model], ready, serving)));
                shared.models.gone(model);
                if served.is_err() {
                    shared.metrics.panics.fetch_add(1, Ordering::Relaxed);
                }
                if !shared.models.is_ending() {
                    tell(News::Left(model));
                }
            }
            Ok(Err(NotLoaded { is_short, error })) => {
                let said = match is_short {
                    true => format!("there is not enough memory for {id}"),
                    false => format!("{id} cannot be loaded: the server's log says why"),
                };
                if !shared.models.failed(model, is_short, ApiError::unavailable(said)) {
                    return;
                }
                if cards.len() == 1 && shared.models.check_ready().is_err() {
                    *only.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    shared.models.end();
                } else {
                    tell(News::Failed(model, &error));
                }
            }
            Err(_) => {
                shared.metrics.panics.fetch_add(1, Ordering::Relaxed);
                let error = ApiError::server(format!("a fault of the program ended the loading of {id}"));
                shared.models.failed(model, false, error);
            }
        }
    }
}

/// Serves a model that is loaded, with a seat for every sequence that its runner has room for, until the server ends or
/// the model leaves.
fn serve(shared: &Shared, model: usize, card: &Arc<ModelCard>, ready: Ready, serving: Serving) {
    let Ready { mut runner, tokenizer, template, banned, viewer, plan, answers, .. } = ready;
    let Serving { sampling, thinking, think_budget, loop_guard, fault, folder } = serving;
    let (n_ctx, n_seat) = (runner.settings().n_ctx, runner.settings().n_sequence);
    let queue = Arc::new(Queue::new(shared.bounds.waiting));
    let (sight, pictures) = match viewer {
        Some((viewer, ids)) => sight(shared, &queue, viewer, ids, &mut runner).unzip(),
        None => (None, None),
    };
    let vocabulary = SharedVocabulary::new(Arc::clone(&tokenizer));
    vocabulary.make_ahead();
    let served = Arc::new(Served {
        queue,
        vocabulary,
        template,
        turns: Arc::new(Turns::default()),
        about: Arc::clone(card),
        sampling,
        thinking,
        thinks_by_default: answers.thinking,
        think_budget,
        loop_guard,
        pictures,
        fault,
        n_ctx,
        n_seat,
        slots: (0..n_seat).map(|_| Slot::default()).collect(),
        longest_text: n_ctx.saturating_mul(longest_token(&tokenizer)),
        tokenizer: Arc::clone(&tokenizer),
    });
    let known = Known::new(&runner, tokenizer, Arc::clone(&shared.metrics), folder);
    let worker = Worker::new(shared, model, Arc::clone(&served), banned, sight, known);
    shared.models.loaded(model, served, plan.own());
    worker.run(runner);
}

/// What looks at the pictures of requests, and what takes them; `None` where there is no room for any.
fn sight(
    shared: &Shared,
    queue: &Arc<Queue>,
    mut viewer: Viewer,
    ids: VisionIds,
    runner: &mut Runner,
) -> Option<(Sight, PictureDesk)> {
    let (n_seat, n_out) = (runner.settings().n_sequence, runner.model().config.n_embd);
    // For each conversation the rows of a picture are planned, and as many are remembered.
    let most_tokens = viewer.max_tokens().saturating_mul(n_seat);
    let kept = most_tokens.saturating_mul(n_out).saturating_mul(size_of::<f32>());
    viewer.remember_at_most(kept);
    let reader = viewer.reader(2 * kept as u64, runner.threads()).ok()?;
    let looker = Looker::new(viewer, reader, Arc::clone(queue), Arc::clone(&shared.metrics)).ok()?;
    Some((Sight { looker, ids, most_tokens }, PictureDesk { reader, ids, most_tokens }))
}

/// Bytes of text that a token stands for at most.
fn longest_token(tokenizer: &Tokenizer) -> usize {
    let longest = (0..tokenizer.n_vocab()).filter_map(|id| tokenizer.token_text(id as u32)).map(str::len).max();
    longest.unwrap_or(1) * COMPOSED
}
