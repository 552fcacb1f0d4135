//! What is made on each seat of a model, for those who watch.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What is made on a seat. Written by the engine, read by others at any time, one number after the other.
#[derive(Default)]
pub(super) struct Slot {
    is_busy: AtomicBool,
    /// The number of its request among those of the model.
    task: AtomicU64,
    n_prompt: AtomicUsize,
    /// Tokens of the prompt that were read, or known.
    n_read: AtomicUsize,
    n_written: AtomicUsize,
    /// The most that may be written.
    n_max: AtomicUsize,
}

impl Slot {
    /// A request begins, of whose prompt so many tokens are known.
    pub fn begin(&self, task: u64, n_prompt: usize, n_known: usize, n_max: usize) {
        self.task.store(task, Ordering::Relaxed);
        self.n_prompt.store(n_prompt, Ordering::Relaxed);
        self.n_read.store(n_known, Ordering::Relaxed);
        self.n_written.store(0, Ordering::Relaxed);
        self.n_max.store(n_max, Ordering::Relaxed);
        self.is_busy.store(true, Ordering::Relaxed);
    }

    /// So many tokens of the prompt are read.
    pub fn read(&self, n: usize) {
        self.n_read.store(n, Ordering::Relaxed);
    }

    /// A token more is written.
    pub fn wrote(&self) {
        self.n_written.fetch_add(1, Ordering::Relaxed);
    }

    /// Nobody sits here any more.
    pub fn end(&self) {
        self.is_busy.store(false, Ordering::Relaxed);
    }

    /// Whether somebody sits here.
    pub fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// As llama-server tells of the slot of this number.
    pub fn to_json(&self, id: usize, n_ctx: usize) -> Value {
        let (n_written, n_max) = (self.n_written.load(Ordering::Relaxed), self.n_max.load(Ordering::Relaxed));
        let is_busy = self.is_busy();
        json!({
            "id": id,
            "id_task": self.task.load(Ordering::Relaxed),
            "n_ctx": n_ctx,
            "is_processing": is_busy,
            "n_prompt_tokens": self.n_prompt.load(Ordering::Relaxed),
            "n_prompt_tokens_processed": self.n_read.load(Ordering::Relaxed),
            "next_token": [{
                "has_next_token": is_busy,
                "n_decoded": n_written,
                // As many as there is room for where nobody said how many.
                "n_remain": if n_max > n_ctx { -1 } else { n_max.saturating_sub(n_written) as i64 },
            }],
        })
    }
}
