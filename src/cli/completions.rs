//! Shell completions and man pages, made from the definitions the command line is parsed with.

use super::Cli;
use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::{fs, io::Write, path::PathBuf};

/// Print the completion script of a shell.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    qwen-edge completions bash > ~/.local/share/bash-completion/completions/qwen-edge\n  \
    qwen-edge completions fish > ~/.config/fish/completions/qwen-edge.fish")]
pub struct CompletionsArgs {
    /// The shell to write for.
    shell: Shell,
}

/// Write the man pages, one for the program and one for each command.
#[derive(Args)]
#[command(after_help = "Example:\n  qwen-edge man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The directory to write to; made when it does not exist.
    dir: PathBuf,
}

/// Prints the completion script on stdout.
pub fn completions(args: CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "qwen-edge", &mut script);
    let mut out = std::io::stdout().lock();
    out.write_all(&script).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Writes `qwen-edge.1` and `qwen-edge-COMMAND.1` for every visible command.
pub fn man(args: ManArgs) -> anyhow::Result<()> {
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    clap_mangen::generate_to(Cli::command(), &args.dir)
        .with_context(|| format!("cannot write man pages to {}", args.dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_program_has_a_man_page_and_a_completion() {
        let dir = std::env::temp_dir().join(format!("qwen-edge-man-{}", std::process::id()));
        man(ManArgs { dir: dir.clone() }).unwrap();
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "qwen-edge", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let page = dir.join(format!("qwen-edge-{}.1", command.get_name()));
            let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
            assert!(text.contains("SYNOPSIS"), "{}", page.display());
            assert!(script.contains(command.get_name()), "no completion of {}", command.get_name());
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_command_line_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
