//! What Ctrl-C (SIGINT) and SIGTERM do: stop an answer, or end the program and leave nothing behind.

use qwen_edge::engine::session::Canceller;
use qwen_edge::platform::program::signals::{self, Reaction, Signal};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether an answer is being made, which the first Ctrl-C stops.
static ANSWERING: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed since the last answer began.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What stops the answer.
static CANCELLER: LazyLock<Canceller> = LazyLock::new(Canceller::default);

/// What Ctrl-C stops an answer with.
pub(super) fn canceller() -> Canceller {
    CANCELLER.clone()
}

/// An answer begins, unless it has begun already.
pub(super) fn begin_answer() {
    if !ANSWERING.load(Ordering::Relaxed) {
        INTERRUPTED.store(false, Ordering::Relaxed);
        CANCELLER.rearm();
        ANSWERING.store(true, Ordering::Relaxed);
    }
}

/// The answer is over: Ctrl-C ends the program again.
pub(super) fn end_answer() {
    ANSWERING.store(false, Ordering::Relaxed);
}

/// Whether Ctrl-C was pressed since the last answer began.
pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Starts to listen: SIGTERM, and Ctrl-C where there is no answer to stop or it was pressed before, end the program.
pub(super) fn listen() {
    signals::listen(|signal| {
        let stops_answer = signal == Signal::Interrupt && ANSWERING.load(Ordering::Relaxed);
        if !stops_answer || INTERRUPTED.swap(true, Ordering::Relaxed) {
            return Reaction::Leave;
        }
        CANCELLER.cancel();
        Reaction::Stay
    });
}
