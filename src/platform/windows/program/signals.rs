//! Ctrl-C, Ctrl-Break, and the end of the console or the session.

use crate::platform::atomic_file;
use crate::platform::program::signals::{Reaction, Signal};
use std::sync::OnceLock;
use std::time::Duration;
use windows_sys::Win32::Foundation::STATUS_CONTROL_C_EXIT;
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, GetConsoleMode, GetStdHandle, STD_INPUT_HANDLE, SetConsoleCtrlHandler,
    SetConsoleMode,
};

/// Asked about every signal.
static REACT: OnceLock<Box<dyn Fn(Signal) -> Reaction + Send + Sync>> = OnceLock::new();

/// The modes of the console before anyone edited a line on it.
static MODES: OnceLock<u32> = OnceLock::new();

/// A console that closes waits 5 seconds for its programs.
const GRACE: Duration = Duration::from_millis(4500);

pub(crate) fn listen(react: impl Fn(Signal) -> Reaction + Send + Sync + 'static) {
    let mut modes = 0;
    // SAFETY: a handle that is no console's is an error.
    if unsafe { GetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), &mut modes) } != 0 {
        let _ = MODES.set(modes);
    }
    if REACT.set(Box::new(react)).is_ok() {
        // SAFETY: the handler lives as long as the program does.
        unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
    }
}

/// Called by the system on a thread of its own. True is that there is no more to do; false has the system end the program.
unsafe extern "system" fn handle(event: u32) -> i32 {
    let Some(react) = REACT.get() else { return 0 };
    let signal = if [CTRL_C_EVENT, CTRL_BREAK_EVENT].contains(&event) { Signal::Interrupt } else { Signal::Terminate };
    match react(signal) {
        Reaction::Stay => {
            if signal == Signal::Terminate {
                // The program is ended when this returns: what it completes gets the time that there is.
                std::thread::sleep(GRACE);
            }
            1
        }
        Reaction::Leave => {
            atomic_file::discard_unfinished();
            if let Some(&modes) = MODES.get() {
                // SAFETY: the modes are those that the console had.
                unsafe { SetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), modes) };
            }
            if signal == Signal::Interrupt {
                // What the system ends it with, said here, as an emulator says otherwise.
                std::process::exit(STATUS_CONTROL_C_EXIT);
            }
            0
        }
    }
}
