//! The command line of `qwen-edge`: parse, call a command, print the error chain.

use std::process::ExitCode;

fn main() -> ExitCode {
    qwen_edge::cli::main()
}
