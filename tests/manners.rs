//! The program among others: full disks, readers that have gone, values that make no sense. Whatever cannot be done is
//! said in a sentence and by the exit code; a panic is never the answer.

#[path = "support/program.rs"]
mod program;
#[path = "support/scratch.rs"]
mod scratch;

use program::program;
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
use scratch::Scratch;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn options(quant: Quant) -> Options {
    Options { dims: Dims::of(Size::Tiny), quant, mtp: false, newer: false, seed: 1 }
}

fn model(scratch: &Scratch) -> PathBuf {
    scratch.write("model.gguf", Synth::text(&options(Quant::Q8_0)).to_bytes())
}

/// Commands that write to standard output, on a small model.
fn writers(scratch: &Scratch) -> Vec<Command> {
    let model = model(scratch);
    let lines: [&[&str]; 4] = [
        &["run", "-q", "-p", "Hi", "-n", "4"],
        &["run", "-q", "-p", "Hi", "-n", "4", "--json"],
        &["bench", "-p", "4", "-n", "1", "-r", "1"],
        &["inspect"],
    ];
    let command = |line: &&[&str]| {
        let mut command = program();
        command.args(*line).arg(&model).stdin(Stdio::null());
        command
    };
    lines.iter().map(command).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[cfg(target_os = "linux")]
fn full() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_a_full_disk_loses_is_a_failure_that_is_said() {
    let scratch = Scratch::new("full-disk");
    for mut command in writers(&scratch) {
        let output = command.stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{command:?}: {said}");
        assert!(said.contains("No space left"), "{command:?}: {said}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let scratch = Scratch::new("closed-pipe");
    for mut command in writers(&scratch) {
        let output = command.stdout(unread()).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    }
}

#[test]
fn messages_that_cannot_be_written_do_not_cost_the_answer() {
    let scratch = Scratch::new("lost-messages");
    let model = model(&scratch);
    let run = |messages: Stdio| {
        let mut command = program();
        command.args(["run", "-p", "Hi", "-n", "4", "--greedy", "--think", "off"]).arg(&model).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(messages).output().unwrap()
    };
    let heard = run(Stdio::piped());
    assert!(heard.status.success() && !heard.stdout.is_empty() && !heard.stderr.is_empty(), "{heard:?}");
    let unheard = run(unread());
    assert_eq!((unheard.status.code(), &unheard.stdout), (Some(0), &heard.stdout));
    #[cfg(target_os = "linux")]
    {
        let lost = run(full());
        assert_eq!((lost.status.code(), &lost.stdout), (Some(0), &heard.stdout));
    }
    let failed = program().args(["run", "no-such-file", "-p", "Hi"]).stderr(unread()).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn a_number_below_zero_is_refused_as_the_value_it_is() {
    let options = [
        "--threads",
        "--tokens",
        "--ctx",
        "--batch",
        "--mem",
        "--frames",
        "--fps",
        "--image-tokens",
        "--image-time",
        "--top-k",
        "--seed",
        "--yarn",
    ];
    for option in options {
        let output = program().args(["run", "model.gguf", "-p", "Hi", option, "-1"]).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{option}: {said}");
        assert!(said.contains(&format!("invalid value '-1' for '{option} ")), "{option}: {said}");
    }
}

#[test]
fn an_empty_prompt_is_refused_wherever_it_comes_from() {
    let scratch = Scratch::new("empty-prompt");
    let (model, empty) = (model(&scratch), scratch.write("empty.txt", "\n"));
    for (line, source) in [
        (&["-p", ""][..], "--prompt"),
        (&["-p", " "], "--prompt"),
        (&["-p", "-"], "standard input"),
        (&[], "standard input"),
        (&["-f", empty.to_str().unwrap()], "empty.txt"),
    ] {
        let output = program().arg("run").arg(&model).args(line).stdin(Stdio::null()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{line:?}: {said}");
        assert!(said.ends_with(&format!("{source}: the prompt is empty\n")), "{line:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn greedy_does_not_give_way_to_a_temperature() {
    let output = program().args(["run", "model.gguf", "-p", "Hi", "--greedy", "--temp", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("cannot be used with '--temperature"), "{output:?}");
}

#[test]
fn a_vision_tower_in_place_of_the_model_is_called_one() {
    let scratch = Scratch::new("tower-as-model");
    let tower = scratch.write("mmproj.gguf", Synth::vision(&options(Quant::F16)).to_bytes());
    let output = program().arg("run").arg(tower).args(["-p", "Hi"]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("vision tower") && said.contains("--mmproj"), "{said}");
}

#[test]
fn a_measurement_no_machine_has_room_for_is_refused() {
    let scratch = Scratch::new("endless-bench");
    let model = model(&scratch);
    for line in [&["-p", "99999999999999"][..], &["--depth", "99999999999999999"], &["-n", "18446744073709551615"]] {
        let output = program().arg("bench").arg(&model).args(line).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{line:?}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{line:?}: {said}");
    }
}
