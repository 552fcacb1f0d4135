//! What a program asks of Windows.

use crate::platform::program::main_thread::STACK;

pub(crate) mod console;
pub(crate) mod signals;
pub(crate) mod standard_input;
pub(crate) mod terminal;

/// Opens an address in the user's browser.
pub(crate) const BROWSER: &str = "explorer";

/// The first thread has the stack that the linker wrote into the file: one megabyte, unless it was told otherwise.
pub(crate) fn run_with_stack<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    let thread = std::thread::Builder::new().name("main".to_owned()).stack_size(STACK);
    std::thread::scope(|scope| {
        let main = thread.spawn_scoped(scope, main).expect("the system refuses another thread");
        main.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
