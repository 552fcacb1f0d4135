//! The console window that a program is started in, or that is made for it.

use crate::platform::system::program::console;

/// Whether the program was started by a double click: nobody sees what it says unless it waits before it ends.
pub fn is_of_its_own() -> bool {
    console::is_of_its_own()
}
