//! The thread that a program begins on.

use crate::platform::system;

/// Bytes of stack that a program may count on: what Unix systems give the first thread.
pub const STACK: usize = 8 << 20;

/// Runs the program with a stack of [`STACK`] bytes: on the thread that is there, or, where the linker gave that one less, on
/// one of its own.
pub fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    system::program::run_with_stack(main)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_a_deep_stack() {
        fn depth(n: usize) -> usize {
            let room = std::hint::black_box([n as u8; 1024]);
            if n == 0 { 0 } else { 1 + depth(n - 1) + usize::from(room[n % 1024] != n as u8) }
        }
        // The tests' threads have 2 MiB; this one stands for a program's first.
        let on_eight = || std::thread::Builder::new().stack_size(STACK).spawn(|| run(|| depth(4000))).unwrap();
        assert_eq!(on_eight().join().unwrap(), 4000);
    }
}
