//! The commands of the binary, one file each. A command parses its arguments, calls the library and prints.

// `println!` and `eprintln!` panic where the reader has gone or the disk is full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod message;

mod advice;
mod answers_file;
pub mod bake;
pub mod batch;
pub mod bench;
mod bench_drafts;
mod bench_passes;
pub mod cache;
mod calls;
mod chat;
pub mod completions;
mod diagnosis;
mod drafting;
mod fit;
pub mod fitting;
pub mod inspect;
pub mod kept;
pub mod list;
pub mod logits;
pub mod loops;
mod marks;
mod named;
mod pasted;
mod piped;
mod printable;
mod progress;
pub mod prompt;
pub mod pull;
pub mod rm;
pub mod run;
pub mod runtime;
pub mod sampling;
mod schema;
mod screen;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "serve")]
mod served_models;
#[cfg(feature = "serve")]
mod server_log;
mod session_file;
pub mod sight;
mod signals;
mod spellings;
pub mod synth;
pub mod template;
mod text;
pub mod tokenize;
mod tools_file;
mod tower_file;
#[cfg(feature = "vision")]
pub mod vision;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use qwen_edge::platform::files::is_closed_pipe as is_closed;
use qwen_edge::platform::program::{console, terminal};
use std::ffi::OsString;
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
    Run(Box<run::Args>),
    Batch(Box<batch::Args>),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    Bake(Box<bake::Args>),
    Cache(cache::Args),
    Inspect(inspect::Args),
    List(list::Args),
    Pull(pull::Args),
    Rm(rm::Args),
    Bench(bench::Args),
    Logits(logits::Args),
    #[cfg(feature = "vision")]
    Vision(vision::Args),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
    Template(template::Args),
    Tokenize(tokenize::Args),
    Synth(synth::SynthArgs),
    #[command(hide = true)]
    Loops(loops::Args),
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Run(args) => run::run(*args),
            Command::Batch(args) => batch::run(*args),
            #[cfg(feature = "serve")]
            Command::Serve(args) => serve::run(*args),
            Command::Bake(args) => bake::run(*args),
            Command::Cache(args) => cache::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::List(args) => list::run(args),
            Command::Pull(args) => pull::run(args),
            Command::Rm(args) => rm::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Logits(args) => logits::run(args),
            #[cfg(feature = "vision")]
            Command::Vision(args) => vision::run(args),
            Command::Completions(args) => completions::completions(args),
            Command::Man(args) => completions::man(args),
            Command::Template(args) => template::run(args),
            Command::Tokenize(args) => tokenize::run(args),
            Command::Synth(args) => synth::synth(args),
            Command::Loops(args) => loops::run(args),
        }
    }
}

/// Runs the command line; exit code 1 and the error chain on stderr when it fails, 2 on wrong usage.
pub fn main() -> ExitCode {
    terminal::prepare();
    if std::env::args_os().len() == 1 && console::is_of_its_own() {
        return double_clicked();
    }
    let command = arguments().command;
    signals::listen();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough (`| head`).
        Err(error) if is_read_no_more(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {}", advice::explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// What somebody reads who started the program by a double click, in a window that goes with it.
fn double_clicked() -> ExitCode {
    say!(
        "qwen-edge is a program for a terminal.\n\n\
         Open Windows Terminal or PowerShell in this folder (a right click in it: Open in Terminal) and type\n\n    \
         .\\qwen-edge pull qwen3.5:0.8b\n    \
         .\\qwen-edge run qwen3.5:0.8b\n\n\
         .\\qwen-edge --help says what else there is.\n\n\
         Press Enter to close this window."
    );
    let _ = io::stdin().read_line(&mut String::new());
    ExitCode::from(WRONG_USAGE as u8)
}

/// The arguments; ends the program on wrong usage, `--help` and `--version`.
fn arguments() -> Cli {
    let mut definition = definition();
    let spellings::Respelled { args, notes } = spellings::respell(std::env::args_os().collect(), &definition)
        .unwrap_or_else(|problem| {
            say!("error: {problem}");
            std::process::exit(WRONG_USAGE)
        });
    let is_text = |arg: &OsString| arg.to_str().is_some_and(|arg| arg.starts_with('-') && arg.contains(' '));
    let text = args.iter().any(is_text);
    let parsed = definition.try_get_matches_from_mut(args).and_then(|m| Cli::from_arg_matches(&m));
    let cli = parsed.unwrap_or_else(|error| {
        let mut error = error.format(&mut definition);
        if error.kind() == ErrorKind::UnknownArgument && text {
            let tip = "a prompt that begins with a hyphen is given with -p TEXT, or behind --";
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        let text = error.render().to_string();
        if printable::lines(&text) == text {
            error.exit();
        }
        // An argument, such as the name of a file, would steer the terminal.
        say!("{}", text.trim_end());
        std::process::exit(error.exit_code())
    });
    for note in notes.iter().map(|note| format!("note: {note}")) {
        match &cli.command {
            Command::Run(args) if args.quiet => {}
            #[cfg(feature = "serve")]
            Command::Serve(args) => args.note(&note),
            _ => say!("{note}"),
        }
    }
    cli
}

/// The exit code of wrong usage.
const WRONG_USAGE: i32 = 2;

/// The command line as it is parsed: of an option given twice, the last counts; lists add up. A number below zero is
/// the value of its option, which then says what it takes, and not another option.
fn definition() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let serves = command.get_name() == "serve";
        command.args_override_self(true).mut_args(|arg| {
            let numbers = arg.get_action().takes_values() && !arg.is_positional();
            let arg = if numbers { arg.allow_negative_numbers(true) } else { arg };
            if serves { in_environment(arg) } else { arg }
        })
    })
}

/// An option that can be given in the environment too, as services are told: `--port` as `QWEN_EDGE_PORT`.
fn in_environment(arg: clap::Arg) -> clap::Arg {
    let Some(name) = arg.get_long().filter(|name| !["help", "version"].contains(name)) else { return arg };
    let variable = format!("QWEN_EDGE_{}", name.to_uppercase().replace('-', "_"));
    let arg = match arg.get_action() {
        // 1 and yes as well as true.
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    arg.env(variable).hide_env(true)
}

fn is_read_no_more(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_option_given_twice_the_last_counts_in_every_command() {
        assert!(definition().get_subcommands().all(clap::Command::is_args_override_self));
        let line = ["qwen-edge", "bench", "a", "--kv", "f16", "--json", "--json", "--kv", "q8_0", "-r", "1", "-r", "2"];
        let matches = definition().try_get_matches_from(line).unwrap();
        let matches = matches.subcommand_matches("bench").unwrap();
        assert_eq!(matches.get_raw("kv").unwrap().collect::<Vec<_>>(), ["q8_0"]);
        assert_eq!(matches.get_raw("runs").unwrap().collect::<Vec<_>>(), ["2"]);
        let line = ["qwen-edge", "run", "a", "--image", "b", "--image", "c"];
        let matches = definition().try_get_matches_from(line).unwrap();
        let matches = matches.subcommand_matches("run").unwrap();
        assert_eq!(matches.get_raw("image").unwrap().collect::<Vec<_>>(), ["b", "c"]);
    }
}
