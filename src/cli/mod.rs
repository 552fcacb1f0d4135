//! The commands of the binary, one file each. A command parses its arguments, calls the library and prints.

// `println!` and `eprintln!` panic where the reader has gone or the disk is full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod message;

pub mod bench;
mod chat;
pub mod completions;
pub mod fitting;
pub mod inspect;
pub mod logits;
mod printable;
pub mod run;
pub mod runtime;
mod screen;
pub mod sight;
mod signals;
pub mod synth;
pub mod template;
mod text;
pub mod tokenize;
pub mod vision;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::io;
use std::process::ExitCode;

/// Runs Qwen3.5 small models from GGUF files on the CPU.
#[derive(Parser)]
#[command(name = "qwen-edge", version, about, long_about = None)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Inspect(inspect::Args),
    Bench(bench::Args),
    Logits(logits::Args),
    Vision(vision::Args),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
    Template(template::Args),
    Tokenize(tokenize::Args),
    Synth(synth::SynthArgs),
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Run(args) => run::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Logits(args) => logits::run(args),
            Command::Vision(args) => vision::run(args),
            Command::Completions(args) => completions::completions(args),
            Command::Man(args) => completions::man(args),
            Command::Template(args) => template::run(args),
            Command::Tokenize(args) => tokenize::run(args),
            Command::Synth(args) => synth::synth(args),
        }
    }
}

/// Runs the command line; exit code 1 and the error chain on stderr when it fails, 2 on wrong usage.
pub fn main() -> ExitCode {
    let command = arguments().command;
    signals::listen();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough (`| head`).
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The arguments; ends the program on wrong usage, `--help` and `--version`.
fn arguments() -> Cli {
    // A number below zero is the value of its option, which then says what it takes, and not another option.
    let mut definition = Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| {
            let numbers = arg.get_action().takes_values() && !arg.is_positional();
            if numbers { arg.allow_negative_numbers(true) } else { arg }
        })
    });
    let parsed = definition.try_get_matches_from_mut(std::env::args_os()).and_then(|m| Cli::from_arg_matches(&m));
    parsed.unwrap_or_else(|error| error.format(&mut definition).exit())
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is))
}
