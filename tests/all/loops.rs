//! The guard against loops: where it acts is told for any text, and answers that go round in circles are ended, the
//! thinking before them first.

use crate::support::program::{emulated, program};
use crate::support::scratch::Scratch;
use qwen_edge::chat::thinking::Thought;
use qwen_edge::engine::draft::Draft;
use qwen_edge::engine::model_file::{ModelFile, StartOptions};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::session::{AnswerOptions, Session};
use qwen_edge::sampler::Settings;
use qwen_edge::tokenizer::Special;
use qwen_edge::{Outcome, Stop};
use serde_json::{Value, json};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

/// Where the guard would act in texts, and how many tokens they have.
fn fired(texts: &[String]) -> Vec<(u64, Option<u64>)> {
    let scratch = Scratch::new("loops");
    let lines: String = texts.iter().map(|text| format!("{}\n", json!({"text": text}))).collect();
    let file = scratch.write("texts.jsonl", lines);
    let out = program().args(["loops", DEMO, "--jsonl"]).arg(file).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let out = String::from_utf8(out.stdout).unwrap();
    let line = |line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["tokens"].as_u64().unwrap(), line["fired"].as_u64())
    };
    out.lines().map(line).collect()
}

#[test]
fn texts_are_told_where_they_have_gone_round_for_300_tokens() {
    let before: String = (0..40).map(|i| format!("{} and {}, ", i * i * 7 % 1000, i * 13 + 5)).collect();
    let sentence = "Wait, let me look at the garden again. Then I turn to the window. ";
    let texts = [
        before.clone(),
        format!("{before}{}", sentence.repeat(40)),
        format!("{before}{}", "no ".repeat(500)),
        // What ordinary tables look like.
        (0..200).map(|i| format!("| {} | {} | {} |\n", i, i * i % 97, 3 * i % 61)).collect(),
    ];
    let found = fired(&texts);
    let n_before = found[0].0;
    assert_eq!((found[0].1, found[3].1), (None, None));
    for (n, at) in &found[1..3] {
        let at = at.unwrap();
        assert!(n_before + 200 < at && at < n_before + 300 && at < *n, "{at} of {n}");
    }
}

#[test]
fn the_command_is_not_in_the_help_and_says_which_line_is_none() {
    let help = program().arg("--help").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("loops"));
    let scratch = Scratch::new("loops");
    let file = scratch.write("texts.jsonl", "{\"text\": \"a\"}\n{}\n");
    let out = program().args(["loops", DEMO, "--jsonl"]).arg(file).output().unwrap();
    let error = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && error.contains("line 2"), "{error}");
}

/// The demo model, greedily.
fn session(draft: Draft, loop_guard: bool) -> Session {
    let file = ModelFile::open(DEMO).unwrap();
    let answers =
        AnswerOptions { sampling: Settings::greedy(), max_tokens: 700, loop_guard, ..file.published_answers(false) };
    let wish = Wish { n_ctx: Some(1536), ..Wish::default() };
    let options = StartOptions { wish, answers: Some(answers), draft, threads: Some(1), ..StartOptions::default() };
    file.start(options, |_, _| ()).unwrap()
}

/// What is written behind the template's opening of an answer and `begun`.
fn written(session: &mut Session, thinking: bool, question: &str, begun: &str) -> Outcome {
    let file = ModelFile::open(DEMO).unwrap();
    let mut ids = file.prompt_ids(&[json!({"role": "user", "content": question})], None, thinking).unwrap();
    ids.extend(file.tokenizer().encode(begun, Special::None));
    session.answer_ids(ids, &[], &[], |_| ()).unwrap()
}

#[test]
fn an_answer_that_goes_round_is_ended_with_drafts_and_without() {
    if emulated() {
        return;
    }
    let question = "aaaaaaaa bbbbb";
    let plain = written(&mut session(Draft::Off, true), false, question, "");
    assert_eq!((plain.stop, plain.stop.name()), (Stop::Repetition, "repetition"));
    assert!((250..300).contains(&plain.ids.len()), "{}", plain.ids.len());
    for draft in [Draft::Auto, Draft::Fixed(3)] {
        let drafted = written(&mut session(draft, true), false, question, "");
        assert_eq!((drafted.stop, drafted.ids), (plain.stop, plain.ids.clone()), "{draft:?}");
    }
    let unguarded = written(&mut session(Draft::Auto, false), false, question, "");
    assert_eq!((unguarded.stop, unguarded.ids.len()), (Stop::Length, 700));
    assert!(unguarded.ids.starts_with(&plain.ids));
}

#[test]
fn thinking_that_goes_round_is_ended_and_an_answer_follows() {
    if emulated() {
        return;
    }
    let (question, begun) = ("aaaaaaaa bbbbb", "a".repeat(400));
    let unguarded = written(&mut session(Draft::Off, false), true, question, &begun);
    assert_eq!((unguarded.stop, unguarded.thought), (Stop::Length, Thought::Unfinished));
    let plain = written(&mut session(Draft::Off, true), true, question, &begun);
    assert_eq!((plain.thought, plain.thought.name()), (Thought::Loop, Some("repetition")));
    assert!(plain.n_thinking < 400 && !plain.text.is_empty(), "{plain:?}");
    for draft in [Draft::Auto, Draft::Fixed(3)] {
        let drafted = written(&mut session(draft, true), true, question, &begun);
        assert_eq!((drafted.stop, drafted.thought, drafted.ids), (plain.stop, plain.thought, plain.ids.clone()));
    }
}
