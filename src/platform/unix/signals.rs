//! SIGINT and SIGTERM.

use crate::platform::atomic_file;
use crate::platform::program::signals::{Reaction, Signal};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{IsTerminal, Write, stderr, stdin};
use std::sync::{Arc, Barrier};

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

pub(crate) fn listen(react: impl Fn(Signal) -> Reaction + Send + 'static) {
    let modes = if stdin().is_terminal() { tcgetattr(stdin()).ok() } else { None };
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    let handle = signals.handle();
    let started = Arc::new(Barrier::new(2));
    let has_started = Arc::clone(&started);
    let listener = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // A thread's first allocation may take much address space for a moment: that is over before anything is planned.
        drop(std::hint::black_box(Box::new(0u8)));
        has_started.wait();
        for signal in signals.forever() {
            let what = if signal == SIGINT { Signal::Interrupt } else { Signal::Terminate };
            if react(what) == Reaction::Leave {
                leave(signal, modes.as_ref());
            }
        }
    });
    match listener {
        Ok(_) => _ = started.wait(),
        Err(_) => handle.close(),
    }
}
