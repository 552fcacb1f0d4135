//! The library as others use it: its examples, and a crate outside the workspace.

use crate::support::program::emulated;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where cargo put this test: the directory of the profile, that of all it builds, and the target if one was named.
struct Built {
    profile: PathBuf,
    all: PathBuf,
    target: Option<String>,
}

impl Built {
    fn here() -> Built {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap().to_owned();
        // Cargo has a folder for what tests write, beside those of the profiles and targets.
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned();
        let above = profile.parent().unwrap();
        let target = (above != all).then(|| above.file_name().unwrap().to_str().unwrap().to_owned());
        Built { profile, all, target }
    }

    /// A call of cargo that fetches nothing.
    fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(args).arg("--offline").env("CARGO_TARGET_DIR", &self.all).current_dir(ROOT);
        cargo
    }
}

/// What a program writes to standard output that ends well; `input` is a file on its standard input.
#[track_caller]
fn output(command: &mut Command, input: Stdio) -> String {
    let output = command.stdin(input).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn models(name: &str) -> String {
    format!("{ROOT}/models/{name}")
}

#[test]
fn every_example_does_what_it_says() {
    if emulated() {
        return;
    }
    let built = Built::here();
    // They are there when all tests were built; after `cargo test --test`, they may not be.
    let profile = built.profile.file_name().unwrap().to_str().unwrap().replace("debug", "dev");
    let mut cargo = built.cargo(&["build", "--examples", "--locked", "--profile", &profile]);
    if let Some(target) = &built.target {
        cargo.args(["--target", target]);
    }
    output(&mut cargo, Stdio::null());

    let example = |name: &str| {
        let mut example = Command::new(built.profile.join("examples").join(name));
        example.arg(models("demo-q8_0.gguf"));
        example
    };
    let prompt = "Extract name, age as JSON: Mia is 31 years old and lives in Oslo.";
    let answer = output(example("answer").arg(prompt), Stdio::null());
    assert_eq!(answer, "{\"name\": \"Mia\", \"age\": 31}\n");

    let lines = built.all.join(format!("examples-{}.txt", std::process::id()));
    std::fs::write(&lines, "What is 6 - 6?\nReverse this list: error, location\n").unwrap();
    let chat = output(&mut example("chat"), std::fs::File::open(&lines).unwrap().into());
    assert_eq!(chat, "6-6=0\nlocation, error\n");
    let batch = output(example("batch").arg(&lines), Stdio::null());
    assert_eq!(batch, "What is 6 - 6?\t6-6=0\nReverse this list: error, location\tlocation, error\n");
    std::fs::remove_file(&lines).unwrap();

    let mut picture = example("picture");
    picture.args([models("mmproj-demo.gguf"), models("demo/images/04.png")]).arg("Describe the image.");
    assert_eq!(output(&mut picture, Stdio::null()), "a red triangle, a red triangle, a yellow circle\n");

    let text = "The name of the city is Paris.";
    let logits = output(example("logits").arg(text), Stdio::null());
    let rows: Vec<Vec<&str>> = logits.lines().map(|line| line.split('\t').collect()).collect();
    let tokens: String = rows.iter().map(|row| row[0].trim_matches('"')).collect();
    assert_eq!(Some(tokens.as_str()), text.strip_prefix("The"), "{logits}");
    // What begins so can only end so.
    let [.., row] = &rows[..] else { unreachable!() };
    let probability: f32 = row[1].parse().unwrap();
    assert!(row[2] == "\".\"" && probability > 0.9 && probability <= 1.0, "{logits}");
}

#[test]
fn a_crate_outside_answers_a_prompt_without_the_crates_of_a_command_line() {
    if emulated() {
        return;
    }
    let built = Built::here();
    let manifest = ["--manifest-path", "tests/outside/Cargo.toml"];
    // The versions are those of the workspace: cargo drops what is not used.
    std::fs::copy(Path::new(ROOT).join("Cargo.lock"), Path::new(ROOT).join("tests/outside/Cargo.lock")).unwrap();
    let mut tree = built.cargo(&["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let tree = output(tree.args(manifest), Stdio::null());
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"qwen-edge") && names.contains(&"qwen-edge-kernels"), "{tree}");
    let left_out =
        ["anyhow", "clap", "clap_complete", "clap_mangen", "image", "indicatif", "png", "rustyline", "signal-hook"];
    for name in left_out {
        assert!(!names.contains(&name), "{name} is linked: {tree}");
    }

    let place = built.all.join("outside");
    let mut cargo = built.cargo(&["build", "--quiet"]);
    output(cargo.args(manifest).env("CARGO_TARGET_DIR", &place), Stdio::null());
    let mut program = Command::new(place.join("debug/qwen-edge-outside"));
    program.args([&models("demo-q8_0.gguf"), "What is 6 - 6?"]);
    assert_eq!(output(&mut program, Stdio::null()), "6-6=0\n");
}
