//! What `--mem`, a limit on the address space and the plan promise of memory, as seen from outside the process.

use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A model of random weights, some 65 MB, removed at the end.
struct Model(PathBuf);

impl Model {
    fn new(name: &str) -> Model {
        let dims = Dims { n_embd: 512, n_layer: 8, n_ff: 1024, n_vocab: 4096, ..Dims::of(Size::B0_8) };
        let synth = Synth::text(&Options { dims, quant: Quant::Q8_0, mtp: true, newer: false, seed: 1 });
        let path = std::env::temp_dir().join(format!("qwen-edge-memory-{name}-{}.gguf", std::process::id()));
        std::fs::write(&path, synth.to_bytes()).unwrap();
        Model(path)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs the program on `model`; with `kib`, under that limit on its address space.
fn run(model: &Path, args: &str, kib: Option<u64>) -> Output {
    let limit = kib.map_or(String::new(), |kib| format!("ulimit -v {kib}; "));
    let command = format!("{limit}exec \"$0\" run \"$1\" --raw --greedy -p 'one two three' -n 3 --json {args}");
    Command::new("sh").args(["-c", &command, env!("CARGO_BIN_EXE_qwen-edge")]).arg(model).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Under emulation the process is the emulator's, which takes memory of its own; there only the library is tested.
fn emulated() -> bool {
    std::env::var_os("QWEN_EDGE_RUNNER").is_some()
}

#[test]
fn a_full_context_stays_below_the_ceiling_and_below_the_plan() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::new("ceiling");
    let mut longest = 0;
    for megabytes in [130, 170, 250, 600] {
        for args in ["", "--no-mmap"] {
            let result = json(&run(&model.0, &format!("--touch --mem {megabytes}M {args}"), None));
            let number = |key: &str| result["memory"][key].as_u64().unwrap();
            let (peak, planned) = (number("peak_bytes"), number("planned_bytes"));
            println!("--mem {megabytes}M {args}: planned {planned}, peak {peak}, context {}", number("ctx"));
            assert!(planned <= megabytes * 1_000_000 && peak <= planned, "{megabytes} MB {args}: {}", result["memory"]);
            longest = longest.max(number("ctx"));
        }
    }
    assert_eq!(longest, 32_768);
}

#[test]
fn too_little_memory_is_a_sentence_that_says_what_would_fit() {
    if emulated() {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::new("little");
    for (args, expected) in [
        ("--mem 20M", "smaller model or quantisation"),
        ("--mem 200M --ctx 262144", "would fit"),
        ("--mem 200M --ctx 100k --kv f16", "--ctx"),
    ] {
        let output = run(&model.0, args, None);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {message}");
        assert!(message.contains("not enough memory") && message.contains(expected), "{args}: {message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn under_any_address_space_limit_the_program_answers_or_says_why_not() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: an emulator needs an address space of its own");
    }
    let model = Model::new("ulimit");
    let (mut answered, mut refused) = (0, 0);
    for kib in (60..1200).step_by(60).map(|mib| mib * 1024) {
        let output = run(&model.0, "--touch --threads 2", Some(kib));
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => answered += 1,
            Some(1) => {
                assert!(message.contains("emory"), "{kib} KiB: {message}");
                assert!(answered == 0, "{kib} KiB is refused, and less was enough: {message}");
                refused += 1;
            }
            other => panic!("{kib} KiB: ended with {other:?}: {message}"),
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}
