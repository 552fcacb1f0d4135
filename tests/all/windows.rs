//! What users of Windows meet, as seen from outside the process: Ctrl-C, texts of PowerShell, long paths, folders.

use crate::support::program::{json, program, told};
use crate::support::requests_to_end::press_ctrl_c;
use crate::support::scratch::Scratch;
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth, Vocab};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

/// What the system ends a program with for Ctrl-C, when the program leaves it to that.
const STATUS_CONTROL_C_EXIT: i32 = 0xC000_013A_u32 as i32;

/// Longer than anything takes here on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Writes a small model of random weights whose answer to anything goes on until the context is full.
fn endless(scratch: &Scratch) -> PathBuf {
    let n_vocab = Vocab::published_cut(1088).tokens.len();
    let dims = Dims { n_embd: 256, n_layer: 4, n_ff: 512, n_vocab, ..Dims::of(Size::B0_8) };
    let synth = Synth::text(&Options { dims, quant: Quant::Q8_0, mtp: false, newer: false, seed: 1 });
    scratch.write("model.gguf", synth.to_bytes())
}

fn wait(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(start.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts an endless answer and returns once it has begun.
fn answering(model: &Path) -> Child {
    let mut command = program();
    command.arg("run").arg(model).args(["--raw", "--quiet", "-p", "a", "--ctx", "262144", "--greedy", "-t", "1"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

#[test]
#[ignore = "presses Ctrl-C for every program of its console: in one, alone"]
fn ctrl_c_stops_an_answer_which_ends_its_line() {
    let scratch = Scratch::new("windows-ctrl-c");
    let mut child = answering(&endless(&scratch));
    press_ctrl_c();
    let mut rest = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(wait(&mut child), Some(130));
    assert!(rest.ends_with('\n'), "{rest:?}");
}

#[test]
#[ignore = "presses Ctrl-C for every program of its console: in one, alone"]
fn a_file_that_ctrl_c_cuts_short_is_not_there() {
    let scratch = Scratch::new("windows-part");
    let output = scratch.write("big.gguf", "what was there");
    let mut command: Command = program();
    command.args(["synth", "--size", "0.8b", "--quant", "bf16", "--force", "-o"]).arg(&output);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while scratch.files().len() < 2 {
        assert!(start.elapsed() < PATIENCE, "the file is not begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    press_ctrl_c();
    assert_eq!(wait(&mut child), Some(STATUS_CONTROL_C_EXIT));
    assert_eq!(scratch.files(), ["big.gguf"]);
    assert_eq!(std::fs::read(&output).unwrap(), b"what was there");
}

/// The demo's answer to a question that is asked in some way.
fn answer(arguments: &[&str], input: Stdio) -> String {
    let mut command = program();
    command.args(["run", DEMO, "--greedy", "-q", "--ctx", "1024", "-t", "1"]).args(arguments);
    let output = command.stdin(input).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_powershell_writes_is_a_prompt_from_a_file_and_a_pipe() {
    let scratch = Scratch::new("windows-utf16");
    let question = "What is the capital of France?";
    let plain = answer(&["-p", question], Stdio::null());
    assert!(plain.contains("Paris"), "{plain}");
    let wide: Vec<u8> = format!("\u{feff}{question}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = format!("\u{feff}{question}").into_bytes();
    for (name, bytes) in [("wide.txt", wide), ("marked.txt", marked)] {
        let file = scratch.write(name, bytes);
        assert_eq!(answer(&["-f", file.to_str().unwrap()], Stdio::null()), plain, "{name}");
        assert_eq!(answer(&["-p", "-"], std::fs::File::open(&file).unwrap().into()), plain, "{name}");
    }
}

#[test]
fn a_model_at_a_path_longer_than_260_characters_is_a_model() {
    let scratch = Scratch::new("windows-long");
    let deep = (0..8).fold(scratch.0.clone(), |path, n| path.join(format!("{n}{}", "x".repeat(60))));
    std::fs::create_dir_all(&deep).unwrap();
    let model = deep.join("Grüße.gguf");
    std::fs::copy(DEMO, &model).unwrap();
    assert!(model.as_os_str().len() > 500);
    let output = program().arg("inspect").arg(&model).arg("--json").output().unwrap();
    assert!(json(&output).is_object());
}

#[test]
fn what_is_no_file_is_said_in_our_words() {
    let scratch = Scratch::new("windows-none");
    let folder = scratch.0.to_str().unwrap();
    let absent = scratch.0.join("absent");
    let absent = absent.to_str().unwrap();
    for (arguments, says) in [
        (["inspect", folder, "--json", "-v"], "not a regular file"),
        (["inspect", absent, "--json", "-v"], "no such file or folder"),
        (["run", DEMO, "-f", folder], "a folder, where a file is expected"),
        (["run", DEMO, "-f", absent], "no such file or folder"),
    ] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|argument| *argument != "-v").collect();
        let output = program().args(&arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(told(&output).contains(says), "{arguments:?}: {}", told(&output));
        assert!(!told(&output).contains("os error"), "{arguments:?}: {}", told(&output));
    }
}

#[test]
fn the_weights_can_be_locked_and_the_memory_is_told() {
    let mut command = program();
    command.args(["run", DEMO, "-p", "a", "-n", "1", "--greedy", "--json", "--ctx", "512", "-t", "1", "--mlock"]);
    let result = json(&command.stdin(Stdio::null()).output().unwrap());
    let peak = result["memory"]["peak_bytes"].as_u64().unwrap();
    assert!((10_000_000..4_000_000_000).contains(&peak), "{peak}");
}
