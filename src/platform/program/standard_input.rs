//! What is known of standard input before it is read.

use crate::platform::system::program::standard_input;

/// Whether standard input is of a kind that somebody may have meant to be read.
pub fn is_meant() -> bool {
    standard_input::is_meant()
}

/// Processor time that the processes have used which can write to the pipe on standard input, in ticks; `None` if there are
/// none. The processes that this one comes from are left out: they may well hold a pipe that they never write to. Where the
/// system does not tell, the pipe is taken to have somebody, who does nothing.
pub fn ticks_of_writers() -> Option<u64> {
    standard_input::ticks_of_writers()
}
