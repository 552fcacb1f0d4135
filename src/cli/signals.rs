//! What Ctrl-C (SIGINT) and SIGTERM do: stop an answer, or end the program and leave nothing behind.
//!
//! A thread of its own waits for them, so that they work whatever the program is busy with: reading weights, looking at a
//! picture, waiting for a line. It sleeps until one arrives.

use qwen_edge::engine::session::Canceller;
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

/// Starts to listen. Where that fails, signals end the program as they would any other.
///
/// SIGTERM, and Ctrl-C where there is no answer to stop or it was pressed before, restore the terminal, remove
/// unfinished files and let the signal end the process, so that its parent sees which one it was.
#[cfg(unix)]
pub(super) fn listen() {
    use qwen_edge::platform::atomic_file;
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;
    use std::io::{IsTerminal, Write, stderr, stdin};

    fn leave(signal: i32, modes: Option<&Termios>) {
        atomic_file::discard_unfinished();
        if let Some(modes) = modes
            && tcgetattr(stdin()).is_ok_and(|now| now.local_modes != modes.local_modes)
        {
            // A line was being edited: out of its raw mode, out of bracketed paste, on to a line of its own.
            let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
            let _ = stderr().write_all(b"\x1b[?2004l\n");
        }
        let _ = emulate_default_handler(signal);
        std::process::exit(128 + signal);
    }

    let modes = if stdin().is_terminal() { tcgetattr(stdin()).ok() } else { None };
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    let handle = signals.handle();
    let listener = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let stops_answer = signal == SIGINT && ANSWERING.load(Ordering::Relaxed);
            if !stops_answer || INTERRUPTED.swap(true, Ordering::Relaxed) {
                leave(signal, modes.as_ref());
            }
            CANCELLER.cancel();
        }
    });
    if listener.is_err() {
        handle.close();
    }
}

/// Other systems end the program.
#[cfg(not(unix))]
pub(super) fn listen() {}
