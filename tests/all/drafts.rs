//! Drafting changes no text: the demo model gives the same answers without drafts, with as many as are worth it, and with a
//! fixed number, alone and in company.

use crate::support::heldout::{Answered, answers, questions, ready, shuffled};
use crate::support::program::{emulated, program};
use qwen_edge::engine::draft::Draft;
use qwen_edge::sampler::Settings;
use serde_json::{Value, json};

/// Asks every `nth` question in every mode of drafting, greedily and with these seeds' worth of chance.
fn ask(nth: usize, threads: &[usize], temperatures: &[f32]) {
    let sampling = |&temperature: &f32| match temperature {
        0.0 => Settings::greedy(),
        temperature => Settings { temperature, top_k: 20, presence_penalty: 0.5, ..Settings::default() },
    };
    let mut plain = ready(Draft::Off, 1);
    let prompts = questions(&mut plain, nth);
    let order: Vec<usize> = (0..prompts.len()).collect();
    let expected: Vec<Vec<Answered>> =
        temperatures.iter().map(|t| answers(&mut plain, &prompts, &order, 1, sampling(t))).collect();
    assert!(expected.iter().flatten().all(|answer| answer.drafts.passes == 0));
    for &threads in threads {
        for draft in [Draft::Auto, Draft::Fixed(1), Draft::Fixed(2), Draft::Fixed(3), Draft::Fixed(4)] {
            let mut drafting = ready(draft, threads);
            for (temperature, expected) in temperatures.iter().zip(&expected) {
                for seats in [1, 8] {
                    let order = if seats == 1 { order.clone() } else { shuffled(prompts.len()) };
                    let found = answers(&mut drafting, &prompts, &order, seats, sampling(temperature));
                    let differing: Vec<usize> = (0..found.len()).filter(|&i| found[i] != expected[i]).collect();
                    let what = format!("{draft:?}, {threads} threads, {seats} seats, temperature {temperature}");
                    assert!(differing.is_empty(), "{what}: {} answers: {differing:?}", differing.len());
                    let sum = |of: fn(&Answered) -> usize| found.iter().map(of).sum::<usize>();
                    let (drafted, accepted) =
                        (sum(|answer| answer.drafts.block.drafted), sum(|answer| answer.drafts.block.accepted));
                    let copied = (sum(|answer| answer.drafts.copy.drafted), sum(|answer| answer.drafts.copy.accepted));
                    println!("{what}: {accepted} of {drafted}, copied {copied:?}");
                    if draft != Draft::Auto {
                        assert!(accepted > 0 && accepted < drafted && copied == (0, 0), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn answers_are_the_same_with_drafts_and_without() {
    ask(if emulated() { 100 } else { 24 }, &[2], &[0.0, 0.8]);
}

#[test]
#[ignore = "all 394 questions take minutes: a part of `make verify`"]
fn all_held_out_questions_have_the_same_answers_with_drafts() {
    ask(1, &[1, 2], &[0.0, 0.8, 0.9, 1.0]);
}

/// What the program reports of one answer, with these options more.
fn run(options: &[&str]) -> Value {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");
    let prompt = "Repeat after me: silver lake garden stone window river";
    let mut command = program();
    command.args(["run", model, "-p", prompt, "--json", "--greedy", "--seed", "1"]).args(options);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_report_says_what_was_drafted_and_ends_are_the_same_wherever_they_fall() {
    let none = json!({"drafted": 0, "accepted": 0});
    for options in
        [&["-n", "1"][..], &["-n", "2"], &["-n", "3"], &["-n", "7"], &["--ctx", "40"], &["--kv", "q8_0"], &[]]
    {
        let with = |draft: &str| run(&[options, &["--draft", draft]].concat());
        let plain = with("off");
        assert_eq!(plain["drafts"], json!({"block": none, "copy": none, "passes": 0}));
        for draft in ["auto", "1", "2", "3", "4", "8"] {
            let found = with(draft);
            for key in ["ids", "text", "stop", "tokens"] {
                assert_eq!(found[key], plain[key], "{options:?}, {draft}, {key}");
            }
            if options.is_empty() && draft != "auto" {
                assert!(found["drafts"]["block"]["accepted"].as_u64() > Some(0), "{}", found["drafts"]);
                assert_eq!(found["drafts"]["copy"], none);
            }
        }
    }
}
