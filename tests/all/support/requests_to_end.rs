//! How a program is asked to end, as a service manager does it.
//!
//! On Windows that is Ctrl-Break, which one program of a console can be sent. Wine 8 knows Ctrl-C alone, which all of them get:
//! `QWEN_EDGE_TEST_CTRL_C=1` says that the tests run one by one in a console of their own, and asks by that.

use std::process::{Child, Command};

/// Has a program that is started take such requests for itself.
pub fn prepare(command: &mut Command) {
    #[cfg(windows)]
    if !by_ctrl_c() {
        use windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP;
        std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP);
    }
    #[cfg(not(windows))]
    let _ = command;
}

/// Asks a program to end: SIGTERM, or on Windows Ctrl-Break.
pub fn ask_to_end(child: &Child) {
    #[cfg(unix)]
    rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM).unwrap();
    #[cfg(windows)]
    if by_ctrl_c() { press_ctrl_c() } else { press_ctrl_break(child) }
}

#[cfg(windows)]
fn by_ctrl_c() -> bool {
    std::env::var_os("QWEN_EDGE_TEST_CTRL_C").is_some_and(|value| value == "1")
}

/// Presses Ctrl-Break for a program that was [prepared](prepare).
#[cfg(windows)]
fn press_ctrl_break(child: &Child) {
    use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
    // SAFETY: numbers alone.
    let sent = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, child.id()) };
    assert_ne!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// Presses Ctrl-C for every program of this one's console, which itself goes on.
#[cfg(windows)]
pub fn press_ctrl_c() {
    use windows_sys::Win32::System::Console::{CTRL_C_EVENT, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler};
    unsafe extern "system" fn go_on(event: u32) -> i32 {
        i32::from(event == CTRL_C_EVENT)
    }
    // SAFETY: the handler lives as long as the program does; the rest are numbers.
    unsafe {
        assert_ne!(SetConsoleCtrlHandler(Some(go_on), 1), 0);
        let sent = GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0);
        assert_ne!(sent, 0, "is there a console? {}", std::io::Error::last_os_error());
    }
}
