//! Drafting changes no text: the demo model gives the same answers without drafts, with as many as are worth it, and with a
//! fixed number, alone and in company.

use crate::support::heldout::{Answered, answers, questions, ready, shuffled};
use crate::support::program::{emulated, program};
use crate::support::rewrite::{Rewrite, Tensor};
use crate::support::scratch::Scratch;
use qwen_edge::engine::draft::Draft;
use qwen_edge::engine::message::Message;
use qwen_edge::engine::model_file::{ModelFile, StartOptions};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::session::AnswerOptions;
use qwen_edge::gguf::Gguf;
use qwen_edge::gguf::writer::Writer;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::sampler::Settings;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Asks every `nth` question in every mode of drafting, greedily and by chance with these seeds.
fn ask(nth: usize, threads: &[usize], seeds: &[u64]) {
    let chance = Settings { temperature: 0.8, top_k: 20, presence_penalty: 0.5, ..Settings::default() };
    let sampling: Vec<(Settings, u64)> =
        [(Settings::greedy(), 0)].into_iter().chain(seeds.iter().map(|&seed| (chance, seed))).collect();
    let mut plain = ready(Draft::Off, 1);
    let prompts = questions(&mut plain, nth);
    let order: Vec<usize> = (0..prompts.len()).collect();
    let expected: Vec<Vec<Answered>> =
        sampling.iter().map(|&how| answers(&mut plain, &prompts, &order, 1, how)).collect();
    assert!(expected.iter().flatten().all(|answer| answer.drafts.passes == 0));
    for &threads in threads {
        for draft in [Draft::Auto, Draft::Fixed(1), Draft::Fixed(2), Draft::Fixed(3), Draft::Fixed(4)] {
            let mut drafting = ready(draft, threads);
            for (&how, expected) in sampling.iter().zip(&expected) {
                for seats in [1, 8] {
                    let order = if seats == 1 { order.clone() } else { shuffled(prompts.len()) };
                    let found = answers(&mut drafting, &prompts, &order, seats, how);
                    let differing: Vec<usize> = (0..found.len()).filter(|&i| found[i] != expected[i]).collect();
                    let what = format!(
                        "{draft:?}, {threads} threads, {seats} seats, temperature {}, seed {}",
                        how.0.temperature, how.1
                    );
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
    ask(if emulated() { 100 } else { 24 }, &[2], &[0]);
}

#[test]
#[ignore = "all 394 questions take minutes: a part of `make verify`"]
fn all_held_out_questions_have_the_same_answers_with_drafts() {
    ask(1, &[1, 2], &[0, 1_000, 2_000]);
}

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

/// What the program reports of one answer of the demo, with these options more.
fn run(options: &[&str]) -> Value {
    run_of(Path::new(DEMO), options)
}

/// The same of another model.
fn run_of(model: &Path, options: &[&str]) -> Value {
    let prompt = "Repeat after me: silver lake garden stone window river";
    let mut command = program();
    command.arg("run").arg(model).args(["-p", prompt, "--json", "--greedy", "--seed", "1"]).args(options);
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

/// The demo in two files, as some publish it: without the block for drafting, and the block with what it shares.
fn parts(scratch: &Scratch) -> (PathBuf, Rewrite) {
    let demo = Gguf::open(Path::new(DEMO)).unwrap();
    let is_of_block = |name: &str| name.starts_with("blk.4.");
    let mut trunk = Rewrite::of(&demo, &["qwen35.block_count", "qwen35.nextn_predict_layers"]);
    trunk.keys.u32("qwen35.block_count", 4);
    trunk.tensors.retain(|tensor| !is_of_block(&tensor.name));
    let shared = ["token_embd.weight", "output_norm.weight"];
    let mut block = Rewrite::of(&demo, &[]);
    block.tensors.retain(|tensor| is_of_block(&tensor.name) || shared.contains(&&*tensor.name));
    (scratch.write("model.gguf", trunk.bytes()), block)
}

#[test]
fn a_block_in_a_file_of_its_own_drafts_as_the_one_inside_does() {
    let scratch = Scratch::new("draft-file");
    let (model, block) = parts(&scratch);
    let block = scratch.write("mtp-model.gguf", block.bytes());
    let block = ["--draft-model", block.to_str().unwrap()];
    for how in [&["--draft", "2"][..], &["--draft", "2", "--no-mmap"], &["--draft", "2", "--kv", "q8_0"]] {
        let inside = run(how);
        let beside = run_of(&model, &[how, &block].concat());
        assert!(inside["drafts"]["block"]["accepted"].as_u64() > Some(0), "{inside}");
        for key in ["ids", "stop", "drafts"] {
            assert_eq!(beside[key], inside[key], "{how:?}, {key}");
        }
    }
    let without = run_of(&model, &["--draft", "2"]);
    assert_eq!(without["drafts"]["passes"], 0);
    let off = run_of(&model, &[&["--draft", "off"], &block[..]].concat());
    assert_eq!((&off["drafts"]["passes"], &off["ids"]), (&json!(0), &without["ids"]));
}

#[test]
fn a_file_that_has_no_block_for_this_model_is_refused_and_says_what_is_wrong() {
    let scratch = Scratch::new("draft-file-wrong");
    let (model, block) = parts(&scratch);
    let refused = |name: &str, change: &dyn Fn(&mut Rewrite), says: &str| {
        let mut file = Rewrite { keys: Writer::new(), tensors: block.tensors.clone() };
        file.keys.string("general.architecture", "qwen35");
        change(&mut file);
        let path = scratch.write(name, file.bytes());
        let output = program()
            .arg("run")
            .arg(&model)
            .args(["-p", "x", "--draft-model", path.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says) && !said.contains("panicked"), "{name}: {said}");
    };
    let without = |part: &'static str| move |file: &mut Rewrite| file.tensors.retain(|t| !t.name.contains(part));
    refused("no-joint", &without("eh_proj"), "no tensor blk.4.nextn.eh_proj.weight");
    refused("half", &without("blk.4.ffn_up"), "no tensor blk.4.ffn_up.weight");
    refused("other", &|file| _ = file.keys.string("general.architecture", "llama"), "architecture");
    let narrow = |file: &mut Rewrite| {
        file.tensors.retain(|tensor| tensor.name != "blk.4.nextn.enorm.weight");
        file.tensors.push(Tensor::f32("blk.4.nextn.enorm.weight", &[8], &[1.0; 8]));
    };
    refused("narrow", &narrow, "expected [256]");
    let words = |file: &mut Rewrite| _ = file.keys.strings("tokenizer.ggml.tokens", ["a", "b"].iter());
    refused("words", &words, "expected the 4096 tokens of the model");
    refused(
        "rows",
        &|file| {
            file.tensors.retain(|tensor| tensor.name != "token_embd.weight");
            file.tensors.push(Tensor::f32("token_embd.weight", &[2, 256], &[0.0; 512]));
        },
        "tensor token_embd.weight",
    );
}

#[test]
fn chats_of_three_turns_are_the_same_with_drafts_stretched_or_not() {
    let turns =
        ["Repeat after me: silver lake garden", "Sort the words: window, apple, lake", "Repeat after me: stone river"];
    let chat = |draft: Draft, yarn: Option<f32>, kv: KvType, temperature: f32, seed: u64, threads: usize| {
        let wish = Wish { n_ctx: Some(2048), kv: Some(kv), ..Wish::default() };
        let options = StartOptions { wish, draft, yarn, seed, threads: Some(threads), ..StartOptions::default() };
        let file = ModelFile::open(DEMO).unwrap();
        let sampling = match temperature {
            0.0 => Settings::greedy(),
            temperature => Settings { temperature, ..Settings::default() },
        };
        let answers = AnswerOptions { sampling, max_tokens: 40, ..file.published_answers(false) };
        let options = StartOptions { answers: Some(answers), ..options };
        let mut session = file.start(options, |_, _| ()).unwrap();
        let mut messages = Vec::new();
        for turn in turns {
            messages.push(Message::user(turn));
            let outcome = session.answer(&messages, |_| ()).unwrap();
            messages.push(Message::assistant(&outcome.text));
        }
        messages.iter().map(Message::to_json).collect::<Vec<_>>()
    };
    for (yarn, kv) in [(None, KvType::F16), (None, KvType::Q8_0), (Some(2.0), KvType::F16)] {
        for (temperature, seed) in [(0.0, 1), (0.8, 1), (0.8, 2), (0.8, 3)] {
            let plain = chat(Draft::Off, yarn, kv, temperature, seed, 1);
            for draft in [Draft::Auto, Draft::Fixed(1), Draft::Fixed(4)] {
                for threads in [1, 2] {
                    let found = chat(draft, yarn, kv, temperature, seed, threads);
                    assert_eq!(found, plain, "{draft:?}, {yarn:?}, {kv:?}, {temperature}, {seed}, {threads} threads");
                }
            }
        }
    }
}
