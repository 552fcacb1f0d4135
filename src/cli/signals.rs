//! What Ctrl-C (SIGINT) and SIGTERM do: stop an answer, or end the program and leave nothing behind.

use qwen_edge::engine::session::Canceller;
use qwen_edge::platform::program::signals::{self, Reaction, Signal};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the server, if there is one.
#[cfg(feature = "serve")]
static SERVER: std::sync::OnceLock<Box<dyn Fn() + Send + Sync>> = std::sync::OnceLock::new();

/// Whether the server's model is loaded: before that there is nothing to complete.
#[cfg(feature = "serve")]
static LOADED: AtomicBool = AtomicBool::new(false);

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

/// From now on the first signal has the server complete what it has begun, which `begin` does.
#[cfg(feature = "serve")]
pub(super) fn serve(begin: impl Fn() + Send + Sync + 'static) {
    // There is one server.
    let _ = SERVER.set(Box::new(begin));
}

/// The server's model is loaded.
#[cfg(feature = "serve")]
pub(super) fn loaded() {
    LOADED.store(true, Ordering::Relaxed);
}

/// Whether a signal was for the server: the first one that it gets.
#[cfg(feature = "serve")]
fn ends_server() -> bool {
    let Some(begin_end) = SERVER.get() else { return false };
    if INTERRUPTED.swap(true, Ordering::Relaxed) {
        return false;
    }
    if !LOADED.load(Ordering::Relaxed) {
        std::process::exit(0);
    }
    begin_end();
    true
}

#[cfg(not(feature = "serve"))]
fn ends_server() -> bool {
    false
}

/// Starts to listen: SIGTERM, and Ctrl-C where there is no answer to stop or it was pressed before, end the program.
pub(super) fn listen() {
    signals::listen(|signal| {
        if ends_server() {
            return Reaction::Stay;
        }
        let stops_answer = signal == Signal::Interrupt && ANSWERING.load(Ordering::Relaxed);
        if !stops_answer || INTERRUPTED.swap(true, Ordering::Relaxed) {
            return Reaction::Leave;
        }
        CANCELLER.cancel();
        Reaction::Stay
    });
}
