//! The console window of a program.

use std::io::{IsTerminal, stdin};
use windows_sys::Win32::System::Console::GetConsoleProcessList;

/// A console that nobody else is attached to was made for this program, and goes with it.
pub(crate) fn is_of_its_own() -> bool {
    stdin().is_terminal() && attached() == 1
}

/// The number of programs that this one's console has; 0 where there is none.
fn attached() -> u32 {
    let mut some = [0; 2];
    // SAFETY: there is room for two numbers.
    unsafe { GetConsoleProcessList(some.as_mut_ptr(), some.len() as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::System::Console::GetConsoleWindow;

    #[test]
    fn a_program_with_a_console_is_attached_to_it() {
        // SAFETY: nothing is passed.
        let window = unsafe { GetConsoleWindow() };
        assert!(window.is_null() || attached() >= 1);
        assert!(attached() <= 1000);
    }
}
