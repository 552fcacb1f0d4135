//! A fact that stands early in a conversation and is asked for late, on the demo model.
//!
//! The model is held to what its card says of it: at lengths where it answers most of the held-out questions, the fact must
//! make its answer likelier. At every length, the fact must reach the place where it is asked for at all.

use crate::support::heldout;
use kernels::Kernels;
use qwen_edge::chat::{Request, Template};
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::tokenizer::{Special, Tokenizer};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

/// The share of held-out questions of a task that the card says the program answers, 0 to 1.
fn card_score(task: &str) -> f64 {
    let card = std::fs::read_to_string(file("demo/README.md")).unwrap();
    let row = card.lines().find(|line| {
        let name = line.strip_prefix("| ").and_then(|rest| rest.split([',', ' ']).next());
        name == Some(task)
    });
    // | task | float reference | qwen-edge | wanted | before |
    let cell = row.and_then(|row| row.split('|').nth(3)).unwrap_or_else(|| panic!("no row {task} on the card"));
    let (right, of) = cell.split(',').next().and_then(|cell| cell.trim().split_once('/')).unwrap();
    right.parse::<f64>().unwrap() / of.parse::<f64>().unwrap()
}

/// The held-out questions of a task: message and expected answer.
fn questions(task: &str) -> Vec<(String, String)> {
    let string = |value: &Value| value.as_str().unwrap().to_owned();
    heldout::items()
        .into_iter()
        .filter(|item| item["task"] == task)
        .map(|item| (string(&item["messages"][0]["content"]), string(&item["expected"])))
        .collect()
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

/// Words of a line that do not name its fact.
const FILLERS: [&str; 5] = ["The", "code", "of", "is", "in"];

/// The message with the values of two facts exchanged: the one asked for, and the one furthest from it.
fn exchanged(message: &str, value: &str) -> String {
    let mut lines: Vec<String> = message.lines().map(str::to_owned).collect();
    let question = lines.last().unwrap().clone();
    let asked = words(&question);
    let fact = lines[..lines.len() - 1]
        .iter()
        .position(|line| {
            let words = words(line);
            let named: Vec<_> = words.iter().rev().skip(1).filter(|word| !FILLERS.contains(word)).collect();
            words.last() == Some(&value) && !named.is_empty() && named.iter().all(|word| asked.contains(word))
        })
        .unwrap_or_else(|| panic!("no fact for {question:?} with {value}"));
    let last = |line: &str| words(line).last().map(|word| (*word).to_owned());
    let shape = words(&lines[fact]).len();
    let other = (0..lines.len() - 1)
        .filter(|&i| words(&lines[i]).len() == shape && last(&lines[i]).as_deref() != Some(value))
        .max_by_key(|&i| i.abs_diff(fact))
        .expect("another fact");
    let other_value = last(&lines[other]).unwrap();
    let swap = |line: &str, from: &str, to: &str| {
        let at = line.rfind(from).unwrap();
        format!("{}{to}{}", &line[..at], &line[at + from.len()..])
    };
    lines[fact] = swap(&lines[fact], value, &other_value);
    lines[other] = swap(&lines[other], &other_value, value);
    lines.join("\n")
}

struct Demo {
    model: Arc<Model>,
    tokenizer: Tokenizer,
    template: Template,
}

impl Demo {
    /// Number of prompt tokens, the log-probability of `answer`, and the logits for each of its tokens.
    fn ask(&self, message: &str, answer: &str) -> (usize, f64, Vec<f32>) {
        let messages = vec![serde_json::json!({"role": "user", "content": message})];
        let prompt = self.template.prompt(&Request::new(messages, false), &self.tokenizer).unwrap();
        let mut ids = self.tokenizer.encode_prompt(&prompt);
        let n_prompt = ids.len();
        let answer = self.tokenizer.encode(answer, Special::None);
        ids.extend(&answer);
        let settings = Settings { n_ctx: ids.len(), n_batch: 512, kv: KvType::F16, n_checkpoint: 0, n_sequence: 1 };
        let mut context =
            Context::new(self.model.clone(), Compute::new(Kernels::select(None).unwrap(), 2), settings).unwrap();
        // Every answer token is judged by the logits behind the token before it.
        let (before, rest) = ids.split_at(n_prompt - 1);
        context.prefill(&text_rows(before, 0), None, |_| true).unwrap();
        let rows = text_rows(rest, before.len() as u32);
        context.forward(&rows[..answer.len()], answer.len()).unwrap();
        let (mut log_p, mut all) = (0.0, Vec::new());
        for (row, &id) in answer.iter().enumerate() {
            let logits = context.compute_logits(row);
            let most = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits.iter().map(|v| f64::from(v - most).exp()).sum();
            log_p += f64::from(logits[id as usize] - most) - sum.ln();
            all.extend_from_slice(logits);
        }
        (n_prompt, log_p, all)
    }
}

#[test]
fn a_fact_placed_early_is_found_late_as_far_as_the_card_says() {
    let gguf = Gguf::open(&file("demo-q8_0.gguf")).unwrap();
    let model = Arc::new(Model::bind(&gguf).unwrap());
    let (tokenizer, template) = (Tokenizer::from_gguf(&gguf).unwrap(), Template::from_gguf(&gguf).unwrap());
    let demo = Demo { model, tokenizer, template };
    // Emulated, four lists of 4,000 tokens take minutes: that far the fact is followed without emulation, and the kernels
    // at those positions are compared with an independent implementation by tests/all/long_context.rs, emulated too.
    let emulated = std::env::var_os("QWEN_EDGE_RUNNER").is_some();
    let tasks: &[_] = if emulated { &[("recall", 4)] } else { &[("recall", 12), ("recall-4k", 2)] };
    for &(task, n) in tasks {
        let score = card_score(task);
        let (mut gain, mut longest) = (0.0, 0);
        for (message, answer) in questions(task).iter().take(n) {
            // The answer quotes the line of the list, which ends in the value.
            let value = words(answer).pop().expect("a value");
            let (n_prompt, with, logits) = demo.ask(message, answer);
            let (_, without, others) = demo.ask(&exchanged(message, value), answer);
            assert!(with.is_finite() && without.is_finite());
            let moved = logits.iter().zip(&others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(moved > 1e-3, "{task}, {n_prompt} tokens: the fact moves no logit by more than {moved}");
            gain += (with - without) / n as f64;
            longest = longest.max(n_prompt);
        }
        println!("{task}, up to {longest} tokens: card {:.0} %, gain {gain:.3} nats", score * 100.0);
        if score >= 0.5 {
            assert!(gain > 1.0, "{task}: the card says {score}, and the fact is worth {gain} nats to its answer");
        }
    }
}
