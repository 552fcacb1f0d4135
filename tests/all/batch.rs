//! `batch` answers a file of prompts: each as if it were alone, in order, and on from where an earlier run was.

use crate::support::program::program;
use crate::support::scratch::Scratch;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q8_0.gguf")
}

fn batch(prompts: &Path, args: &[&str]) -> Output {
    program().arg("batch").arg(demo()).arg(prompts).args(["-t", "2", "-q"]).args(args).output().unwrap()
}

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

fn parse(text: &[u8]) -> Vec<Value> {
    std::str::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Questions that the demo model was taught, asked in several ways.
fn questions() -> Vec<Value> {
    let mut values: Vec<Value> = (2..12)
        .flat_map(|n| {
            [
                json!({"id": format!("sum {n}"), "prompt": format!("What is {n} + 3?"), "greedy": true}),
                json!({"id": format!("count {n}"), "prompt": format!("Count from 1 to {n}."), "seed": n}),
            ]
        })
        .collect();
    values.insert(7, json!({"messages": [{"role": "user", "content": "What is 6 - 6?"}], "max_tokens": 1}));
    values
}

#[test]
fn the_company_changes_no_answer_and_the_order_is_that_of_the_prompts() {
    let scratch = Scratch::new("batch");
    let values = questions();
    let together = batch(&scratch.write("all.jsonl", lines(&values)), &["--parallel", "5", "--seed", "1"]);
    assert!(together.status.success(), "{}", String::from_utf8_lossy(&together.stderr));
    let answers = parse(&together.stdout);
    assert_eq!(answers.len(), values.len());
    for (i, (value, answer)) in values.iter().zip(&answers).enumerate() {
        assert_eq!(answer["id"], *value.get("id").unwrap_or(&json!(i + 1)));
        assert_eq!(answer["stop"], if value["max_tokens"] == 1 { "length" } else { "end" }, "{answer}");
        assert!(answer["prompt_tokens"].as_u64() > Some(4) && answer["tokens"].as_u64() > Some(0), "{answer}");
    }
    assert_eq!(answers[0]["text"], "2+3=5");
    // In other company, and alone.
    let mut shuffled = values.clone();
    shuffled.remove(7);
    shuffled.reverse();
    let other = batch(&scratch.write("other.jsonl", lines(&shuffled)), &["--parallel", "3"]);
    let alone = batch(&scratch.write("alone.jsonl", lines(&shuffled)), &["--parallel", "1"]);
    assert_eq!(parse(&other.stdout), parse(&alone.stdout));
    for answer in parse(&other.stdout) {
        let first = answers.iter().find(|first| first["id"] == answer["id"]);
        assert_eq!(Some(&answer), first);
    }
}

#[test]
fn a_bad_line_gives_an_error_line_and_the_others_are_answered() {
    let scratch = Scratch::new("batch");
    let prompts = "{\"prompt\": \"What is 2 + 3?\", \"id\": \"a\"}\n\nno json\n{\"id\": \"b\"}\n\
                   {\"id\": \"c\", \"prompt\": 7}\n{\"id\": \"d\", \"messages\": []}\n\
                   {\"id\": \"e\", \"prompt\": \"What is 2 + 4?\", \"tag\": \"unknown keys are the user's own\"}\n";
    let found = batch(&scratch.write("prompts.jsonl", prompts), &["--greedy"]);
    assert!(found.status.success());
    let answers = parse(&found.stdout);
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&json!("a"), &json!(3), &json!("b"), &json!("c"), &json!("d"), &json!("e")]);
    for (answer, expected) in
        answers.iter().zip([None, Some("line 3"), Some("line 4"), Some("line 5"), Some("line 6"), None])
    {
        match expected {
            None => assert!(answer.get("error").is_none() && answer["text"].is_string(), "{answer}"),
            Some(line) => assert!(answer["error"].as_str().unwrap().starts_with(line), "{answer}"),
        }
    }
    let twice = batch(&scratch.write("twice.jsonl", "{\"id\":1,\"prompt\":\"a\"}\n{\"id\":1,\"prompt\":\"b\"}\n"), &[]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("both have the id 1"), "{twice:?}");
    assert_eq!(twice.status.code(), Some(1));
}

#[test]
fn an_interrupted_batch_goes_on_and_other_answers_are_left_alone() {
    let scratch = Scratch::new("batch");
    let prompts = scratch.write("prompts.jsonl", lines(&questions()));
    let output = scratch.0.join("answers.jsonl");
    let arguments = ["--parallel", "4", "--seed", "1", "-o", output.to_str().unwrap()];
    assert!(batch(&prompts, &arguments).status.success());
    let whole = std::fs::read(&output).unwrap();
    assert_eq!(parse(&whole).len(), 21);
    // Cut between lines, within one, within its beginning, and before the first.
    let fifth = whole.split_inclusive(|&b| b == b'\n').take(5).map(<[u8]>::len).sum::<usize>();
    for n in [fifth, fifth + 40, fifth + 3, 0, whole.len()] {
        std::fs::write(&output, &whole[..n]).unwrap();
        assert!(batch(&prompts, &arguments).status.success());
        assert!(std::fs::read(&output).unwrap() == whole, "cut to {n} bytes");
    }
    for other in ["notes of mine", "{\"id\":\"sum 2\",\"text\":\"2+3=5\"}\n{\"id\":\"else\"}\n"] {
        std::fs::write(&output, other).unwrap();
        let refused = batch(&prompts, &arguments);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("these are not the answers"), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&output).unwrap(), other);
    }
}

#[test]
fn a_common_beginning_is_read_once_and_changes_nothing() {
    let scratch = Scratch::new("batch");
    let prompts = scratch.write("prompts.jsonl", lines(&questions()));
    let system = "You are asked about numbers. ".repeat(12);
    let run = |prompts: &Path, quiet: bool| {
        let mut command = program();
        command.arg("batch").arg(demo()).arg(prompts).args(["--greedy", "-n", "6", "--system", &system]);
        command.args(quiet.then_some("-q")).output().unwrap()
    };
    let found = run(&prompts, false);
    assert!(String::from_utf8_lossy(&found.stderr).contains("tokens that many prompts begin with are read once"));
    let together = parse(&found.stdout);
    for i in [0, 3, 12] {
        let alone = run(&scratch.write("one.jsonl", lines(&questions()[i..=i])), true);
        assert_eq!(parse(&alone.stdout), [together[i].clone()]);
    }
}
