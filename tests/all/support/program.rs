//! The program under test.

use serde_json::Value;
use std::process::{Command, Output};

/// The program that cargo has built, or the one at `QWEN_EDGE_TEST_PROGRAM`; through the emulator that `QWEN_EDGE_RUNNER` names
/// when the tests are for another CPU.
pub fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_qwen-edge").to_owned();
    let program = std::env::var("QWEN_EDGE_TEST_PROGRAM").unwrap_or_else(|_| built());
    match std::env::var("QWEN_EDGE_RUNNER") {
        Err(_) => Command::new(program),
        Ok(runner) => {
            let mut words = runner.split_whitespace();
            let mut command = Command::new(words.next().expect("a runner"));
            command.args(words).arg(program);
            command
        }
    }
}

/// Where what is written is gone.
pub const NOWHERE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// Whether the program runs in an emulator: everything is slow then, and its memory and signals are the emulator's.
pub fn emulated() -> bool {
    std::env::var_os("QWEN_EDGE_RUNNER").is_some()
}

/// What the program said on standard error.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON on standard output of a program that ended well.
#[track_caller]
pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", told(output));
    serde_json::from_slice(&output.stdout).unwrap()
}
