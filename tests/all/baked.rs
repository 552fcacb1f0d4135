//! What `bake` has read is not read again, and what does not fit is told and read.

use crate::support::program::{json, program, told};
use crate::support::scratch::Scratch;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::SystemTime;

const DEMO: &str = "models/demo-q8_0.gguf";

const TOOLS: &str = r#"[{"type": "function", "function": {"name": "weather", "description": "The weather of a place",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}]"#;

/// A system message of some 300 tokens.
fn rules() -> String {
    (0..18).map(|i| format!("Rule {i}: the box of number {} is red. ", i * 7 % 31)).collect()
}

fn bake(model: &str, args: &[&str], state: &Path) -> Output {
    let more = ["--ctx", "2048", "--threads", "2", "-o", state.to_str().unwrap()];
    program().args(["bake", model]).args(args).args(more).stdin(Stdio::null()).output().unwrap()
}

fn ask(model: &str, more: &[&str]) -> Output {
    program()
        .args(["run", model, "--greedy", "-n", "12", "--json", "--ctx", "2048", "--threads", "2", "-p", "Hello"])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_run_begins_behind_what_was_baked_and_answers_as_one_that_reads_it() {
    let scratch = Scratch::new("baked");
    let (system, state) = (scratch.write("rules.txt", rules()), scratch.0.join("rules.state"));
    let output = bake(DEMO, &["--system", system.to_str().unwrap()], &state);
    assert!(output.status.success() && told(&output).contains("tokens read"), "{}", told(&output));
    let baked = json(&ask(DEMO, &["--baked", state.to_str().unwrap()]));
    let cold = json(&ask(DEMO, &["--system", &rules()]));
    assert_eq!((&baked["ids"], &baked["prompt_tokens"]), (&cold["ids"], &cold["prompt_tokens"]));
    assert_eq!(cold["reused_tokens"], 0);
    // The question, and the start of its answer.
    assert!(baked["prompt_tokens_read"].as_u64().unwrap() < 20, "{baked}");

    // So does one with a copy of the model, whenever that was made.
    let copy = scratch.0.join("copy.gguf");
    fs::copy(DEMO, &copy).unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let copied = json(&ask(copy.to_str().unwrap(), &["--baked", state.to_str().unwrap()]));
    assert_eq!((&copied["ids"], &copied["reused_tokens"]), (&cold["ids"], &baked["reused_tokens"]));
}

#[test]
fn what_was_baked_otherwise_or_is_damaged_is_read_with_a_sentence() {
    let scratch = Scratch::new("baked");
    let (system, tools) = (scratch.write("rules.txt", rules()), scratch.write("tools.json", TOOLS));
    let (state, given) = (scratch.0.join("agent.state"), [system.to_str().unwrap(), tools.to_str().unwrap()]);
    let args = ["--system", given[0], "--tools", given[1], "--kv", "f16"];
    assert!(bake(DEMO, &args, &state).status.success());
    let with = ["--baked", state.to_str().unwrap()];
    let right = json(&ask(DEMO, &with));
    let without_tools = json(&ask(DEMO, &["--system", &rules()]));
    assert!(right["prompt_tokens"].as_u64() > without_tools["prompt_tokens"].as_u64());

    let whole = fs::read(&state).unwrap();
    let expect = |more: &[&str], sentence: &str| {
        let output = ask(DEMO, &[&with[..], more].concat());
        assert!(
            told(&output).contains("does not fit, and is read") && told(&output).contains(sentence),
            "{}",
            told(&output)
        );
        let result = json(&output);
        assert_eq!((&result["reused_tokens"], &result["prompt_tokens"]), (&0.into(), &right["prompt_tokens"]));
        result
    };
    expect(&["--kv", "q8_0"], "another storage of keys and values: expected q8_0");
    expect(&["--yarn", "2"], "another setting of rotary positions");
    for damage in [whole.len() - 1, whole.len() / 2] {
        let mut changed = whole.clone();
        changed[damage] ^= 1;
        fs::write(&state, changed).unwrap();
        assert_eq!(expect(&[], "damaged or cut off")["ids"], right["ids"]);
    }
    // Of another model.
    let other = scratch.0.join("other.state");
    assert!(bake("models/demo-q4_k_m.gguf", &args, &other).status.success());
    fs::copy(&other, &state).unwrap();
    assert_eq!(expect(&[], "of another model")["ids"], right["ids"]);

    // What does not even say what was baked is refused.
    for bytes in [&whole[..60], b"GGUF", &[]] {
        fs::write(&state, bytes).unwrap();
        let output = ask(DEMO, &with);
        assert!(output.status.code() == Some(1) && told(&output).contains("agent.state: "), "{}", told(&output));
    }
    for wrong in ["{}", "[]", "[1]", "text"] {
        let output = bake(DEMO, &["--tools", scratch.write("wrong.json", wrong).to_str().unwrap()], &state);
        assert!(output.status.code() == Some(1) && told(&output).contains("wrong.json: "), "{}", told(&output));
    }
    assert_eq!(bake(DEMO, &[], &state).status.code(), Some(2));
}
