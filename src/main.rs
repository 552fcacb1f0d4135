//! The command line of `qwen-edge`: parse, call a command, print the error chain.

#![deny(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    qwen_edge::platform::program::main_thread::run(cli::main)
}
