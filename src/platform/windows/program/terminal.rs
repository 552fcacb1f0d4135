//! Consoles of Windows. Text goes to them in UTF-16 by the standard library, whatever their code page is.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Console::{
    ENABLE_ECHO_INPUT, ENABLE_LINE_INPUT, ENABLE_PROCESSED_INPUT, ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode,
    GetStdHandle, INPUT_RECORD, KEY_EVENT, PeekConsoleInputW, STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE,
    STD_OUTPUT_HANDLE, SetConsoleMode,
};

/// The modes of a console; `None` of what is none.
fn modes(of: STD_HANDLE) -> Option<(HANDLE, u32)> {
    let mut modes = 0;
    // SAFETY: a handle that is no console's is an error.
    unsafe {
        let handle = GetStdHandle(of);
        (GetConsoleMode(handle, &mut modes) != 0).then_some((handle, modes))
    }
}

/// Has the consoles of standard output and error understand escape sequences; false where one does not learn it.
pub(crate) fn prepare() -> bool {
    let consoles = [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE].into_iter().filter_map(modes);
    // SAFETY: the modes are the console's own and one more.
    let learn = |(handle, modes)| unsafe { SetConsoleMode(handle, modes | ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0 };
    consoles.map(learn).fold(true, |all, one| all && one)
}

pub(crate) fn take_stdout() -> io::Result<Option<File>> {
    Ok(None)
}

pub(crate) struct Keys {
    handle: HANDLE,
    before: u32,
}

impl Keys {
    pub(crate) fn watch() -> Option<Keys> {
        let (handle, before) = modes(STD_INPUT_HANDLE)?;
        let quiet = before & !(ENABLE_ECHO_INPUT | ENABLE_LINE_INPUT | ENABLE_PROCESSED_INPUT);
        // SAFETY: the modes are the console's own without three.
        (unsafe { SetConsoleMode(handle, quiet) } != 0).then_some(Keys { handle, before })
    }

    /// Events of the mouse and the window wait in the same queue, and so does the release of the last key.
    pub(crate) fn is_pressed(&self) -> bool {
        const MOST: usize = 64;
        // SAFETY: a record of zeros is one.
        let mut records: [INPUT_RECORD; MOST] = unsafe { zeroed() };
        let mut n = 0;
        // SAFETY: there is room for so many records.
        if unsafe { PeekConsoleInputW(self.handle, records.as_mut_ptr(), MOST as u32, &mut n) } == 0 {
            return false;
        }
        // SAFETY: the type says which event it is.
        let is_key =
            |r: &INPUT_RECORD| u32::from(r.EventType) == KEY_EVENT && unsafe { r.Event.KeyEvent.bKeyDown != 0 };
        records[..n as usize].iter().any(is_key)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // SAFETY: the modes are those that the console had.
        unsafe { SetConsoleMode(self.handle, self.before) };
    }
}
