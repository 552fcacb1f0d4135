//! The models of a server: which one a request means, which are loaded, and which leave. A model is loaded when it is
//! asked for, and leaves when the memory is needed for another one or nobody has asked for it for long; never while a
//! request needs it.
//!
//! This is only the book that is kept of it. [`super::keeper`] does what it says.

use super::error::ApiError;
use super::keep_alive::KeepAlive;
use super::served::{ModelCard, Served, untagged};
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Names of models in an error, at most.
const MOST_NAMED: usize = 10;

/// The models of a server.
pub(super) struct Models {
    book: Mutex<Book>,
    /// Something for the keeper to do.
    changed: Condvar,
    /// Told to those who wait for a model.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct Book {
    entries: Vec<Entry>,
    /// Whether one has been loaded, or several are there to be.
    is_ready: bool,
    is_ending: bool,
    /// Bytes that the program took before any model was loaded.
    base: u64,
    /// How long nobody may ask for a model before it leaves, where no client says it.
    idle_time: Option<Duration>,
}

struct Entry {
    about: Arc<ModelCard>,
    stage: Stage,
    /// Since when somebody waits for it, while it is not loaded.
    wanted: Option<Instant>,
    /// Whether it did not fit beside the others when it was tried last.
    is_short: bool,
    /// How many attempts to load it were in vain, and what is said of the last one.
    failures: (u64, Option<ApiError>),
    /// Requests that need it.
    n_held: usize,
    last_used: Instant,
    /// How long nobody may ask for it before it leaves, if it does at all.
    idle_time: Option<Duration>,
    /// Bytes that its plan allows it.
    planned: u64,
}

enum Stage {
    Away,
    Loading,
    Loaded(Arc<Served>),
    /// It takes no more requests, and completes those that it has.
    Leaving(Arc<Served>),
}

/// What the keeper does next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Load a model beside others that take so many bytes, the program itself included; 0 without others.
    Load { model: usize, taken: u64 },
    /// The server ends, and no model is loaded any more.
    End,
}

/// A model that stays loaded until this is dropped.
pub(super) struct Held {
    served: Arc<Served>,
    models: Arc<Models>,
    model: usize,
}

impl Deref for Held {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Held {
    /// Has the model stay behind this request as long as it says, or as the server does.
    pub fn keep(&self, time: Option<KeepAlive>) {
        // The keeper looks at it when nobody needs the model any more.
        let mut book = self.models.lock();
        book.entries[self.model].idle_time = time.map_or(book.idle_time, KeepAlive::idle_time);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut book = self.models.lock();
        let entry = &mut book.entries[self.model];
        entry.n_held -= 1;
        entry.last_used = Instant::now();
        if entry.n_held == 0 {
            // It may be waited for to leave, or its time begins.
            self.served.queue.wake();
            self.models.changed.notify_all();
        }
    }
}

/// A model as it is listed.
pub(super) struct Listed {
    pub about: Arc<ModelCard>,
    /// If it is loaded: what is known of it then.
    pub served: Option<Arc<Served>>,
}

impl Models {
    /// None yet.
    pub fn new() -> Models {
        Models { book: Mutex::default(), changed: Condvar::new(), news: watch::Sender::new(()) }
    }

    /// The server has these, of which the first is loaded at once. Each leaves when nobody has asked for it for
    /// `idle_time`. The program takes `base` bytes without them.
    ///
    /// # Panics
    /// If there are none.
    pub fn begin(&self, cards: &[Arc<ModelCard>], idle_time: Option<Duration>, base: u64) {
        assert!(!cards.is_empty(), "a server has a model");
        let now = Instant::now();
        let entries = cards.iter().map(|about| Entry {
            about: Arc::clone(about),
            stage: Stage::Away,
            wanted: None,
            is_short: false,
            failures: (0, None),
            n_held: 0,
            last_used: now,
            idle_time,
            planned: 0,
        });
        let mut book = self.lock();
        book.entries = entries.collect();
        book.entries[0].wanted = Some(now);
        (book.base, book.idle_time) = (base, idle_time);
        self.changed.notify_all();
    }

    /// Whether requests are taken.
    ///
    /// # Errors
    /// The first model is being loaded, or the server ends.
    pub fn check_ready(&self) -> Result<(), ApiError> {
        self.lock().check_ready()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Listed> {
        let book = self.lock();
        let listed = book.entries.iter().map(|entry| Listed {
            about: Arc::clone(&entry.about),
            served: match &entry.stage {
                Stage::Loaded(served) => Some(Arc::clone(served)),
                Stage::Away | Stage::Loading | Stage::Leaving(_) => None,
            },
        });
        listed.collect()
    }

    /// Whether a request need not say which one it means.
    pub fn is_one(&self) -> bool {
        self.lock().entries.len() == 1
    }

    /// The model that a request means, which says `name`: where there is one, that. One that says nothing means the
    /// one that was used last.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn find(&self, name: Option<&str>) -> Result<usize, ApiError> {
        let book = self.lock();
        book.check_ready()?;
        let entries = &book.entries;
        if entries.len() == 1 {
            return Ok(0);
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let loaded = (0..entries.len()).filter(|&i| matches!(entries[i].stage, Stage::Loaded(_)));
            return Ok(loaded.max_by_key(|&i| entries[i].last_used).unwrap_or(0));
        };
        entries.iter().position(|entry| entry.about.is_called(name)).ok_or_else(|| {
            let name = untagged(name);
            let named: Vec<&str> = entries.iter().take(MOST_NAMED).map(|entry| &*entry.about.id).collect();
            let more = if entries.len() > MOST_NAMED { " and others" } else { "" };
            ApiError::model(format!("there is no model {name}: there are {}{more}", named.join(", ")))
        })
    }

    /// The model, once it is loaded.
    ///
    /// # Errors
    /// It cannot be loaded, or the server ends.
    pub async fn hold(self: &Arc<Models>, model: usize) -> Result<Held, ApiError> {
        let mut news = self.news.subscribe();
        let n_failed = self.lock().entries[model].failures.0;
        loop {
            {
                let mut book = self.lock();
                book.check_ready()?;
                let entry = &mut book.entries[model];
                match (&entry.stage, &entry.failures) {
                    (Stage::Loaded(served), _) => {
                        entry.n_held += 1;
                        return Ok(Held { served: Arc::clone(served), models: Arc::clone(self), model });
                    }
                    (_, (n, Some(error))) if *n > n_failed => return Err(error.clone()),
                    _ => {}
                }
                if entry.wanted.is_none() {
                    entry.wanted = Some(Instant::now());
                    self.changed.notify_all();
                }
            }
            // The sender lives as long as `self`.
            let _ = news.changed().await;
        }
    }

    /// Waits until the keeper has something to do, and says what.
    pub fn next_step(&self) -> Step {
        let mut book = self.lock();
        loop {
            let now = Instant::now();
            if let Some(step) = book.step(now) {
                return step;
            }
            let until = book.entries.iter().filter_map(Entry::leaves_at).min();
            book = match until {
                Some(at) => {
                    let waited = self.changed.wait_timeout(book, at.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(book).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// A model is loaded; its plan allows it so many bytes.
    pub fn loaded(&self, model: usize, served: Arc<Served>, planned: u64) {
        let mut book = self.lock();
        book.is_ready = true;
        let entry = &mut book.entries[model];
        entry.stage = Stage::Loaded(served);
        (entry.wanted, entry.is_short, entry.last_used, entry.planned) = (None, false, Instant::now(), planned);
        drop(book);
        self.tell();
    }

    /// A model could not be loaded, perhaps because it did not fit beside others; whether no attempt will follow.
    pub fn failed(&self, model: usize, is_short: bool, error: ApiError) -> bool {
        let mut book = self.lock();
        let is_alone = book.entries.iter().enumerate().all(|(i, entry)| i == model || !entry.is_loaded());
        let is_last = !is_short || is_alone;
        // One of several is no reason not to offer the others.
        book.is_ready |= book.entries.len() > 1;
        let entry = &mut book.entries[model];
        (entry.stage, entry.is_short) = (Stage::Away, !is_last);
        if is_last {
            entry.wanted = None;
            entry.failures = (entry.failures.0 + 1, Some(error));
        }
        drop(book);
        self.tell();
        is_last
    }

    /// A model is loaded no more.
    pub fn gone(&self, model: usize) {
        let mut book = self.lock();
        let entry = &mut book.entries[model];
        (entry.stage, entry.planned) = (Stage::Away, 0);
        drop(book);
        self.tell();
    }

    /// Whether a model is to leave, and no request needs it any more.
    pub fn may_leave(&self, model: usize) -> bool {
        let book = self.lock();
        matches!(book.entries[model].stage, Stage::Leaving(_)) && book.entries[model].n_held == 0
    }

    /// Requests that wait for a seat.
    pub fn n_waiting(&self) -> usize {
        let served: Vec<_> = self.lock().entries.iter().filter_map(|entry| entry.served().cloned()).collect();
        served.iter().map(|served| served.queue.len()).sum()
    }

    /// The server ends: nobody need wait for a model any more, and all engines look up.
    pub fn end(&self) {
        let mut book = self.lock();
        book.is_ending = true;
        book.entries.iter().filter_map(Entry::served).for_each(|served| served.queue.wake());
        drop(book);
        self.tell();
    }

    /// Whether the server ends.
    pub fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    fn tell(&self) {
        self.changed.notify_all();
        self.news.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn check_ready(&self) -> Result<(), ApiError> {
        match (self.is_ending, self.is_ready) {
            (true, _) => Err(ApiError::unavailable("the server ends")),
            (false, false) => Err(ApiError::unavailable("the model is being loaded")),
            (false, true) => Ok(()),
        }
    }

    /// What is to be done now, if anything is; models that are to leave are told so.
    fn step(&mut self, now: Instant) -> Option<Step> {
        if self.is_ending {
            return self.entries.iter().all(|entry| matches!(entry.stage, Stage::Away)).then_some(Step::End);
        }
        self.entries.iter_mut().filter(|entry| entry.leaves_at().is_some_and(|at| at <= now)).for_each(Entry::leave);
        let is_moving = |entry: &Entry| matches!(entry.stage, Stage::Loading | Stage::Leaving(_));
        if self.entries.iter().any(is_moving) {
            return None;
        }
        let wanted = (0..self.entries.len()).filter(|&i| matches!(self.entries[i].stage, Stage::Away));
        let model = wanted.filter_map(|i| Some((self.entries[i].wanted?, i))).min()?.1;
        if std::mem::take(&mut self.entries[model].is_short) {
            let others = self.entries.iter_mut().filter(|entry| entry.is_loaded());
            if let Some(other) = others.min_by_key(|entry| (entry.n_held > 0, entry.last_used)) {
                other.leave();
                return None;
            }
        }
        let others: u64 = self.entries.iter().map(|entry| entry.planned).sum();
        let taken = if others > 0 { self.base + others } else { 0 };
        self.entries[model].stage = Stage::Loading;
        Some(Step::Load { model, taken })
    }
}

impl Entry {
    fn served(&self) -> Option<&Arc<Served>> {
        match &self.stage {
            Stage::Loaded(served) | Stage::Leaving(served) => Some(served),
            Stage::Away | Stage::Loading => None,
        }
    }

    fn is_loaded(&self) -> bool {
        self.served().is_some()
    }

    /// When it leaves if nobody asks for it.
    fn leaves_at(&self) -> Option<Instant> {
        let is_idle = self.n_held == 0 && matches!(self.stage, Stage::Loaded(_));
        self.idle_time.filter(|_| is_idle).and_then(|time| self.last_used.checked_add(time))
    }

    fn leave(&mut self) {
        if let Stage::Loaded(served) = &self.stage {
            served.queue.wake();
            self.stage = Stage::Leaving(Arc::clone(served));
        }
    }
}
