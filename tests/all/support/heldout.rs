//! The demo model's held-out questions, asked alone and in company.

use super::levels;
use qwen_edge::chat::Request;
use qwen_edge::chat::thinking::{Channel, Thinking};
use qwen_edge::constrain::Constraint;
use qwen_edge::engine::answers::{Answers, Conversation, Waits};
use qwen_edge::engine::context::text_rows;
use qwen_edge::engine::draft::{Draft, Drafts};
use qwen_edge::engine::generate::{Answer, Audience, Task};
use qwen_edge::engine::model_file::{ModelFile, StartOptions, Tower};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::ready::Ready;
use qwen_edge::model::input::InputRow;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::sampler::Settings;
use qwen_edge::tokenizer::Special;
use qwen_edge::vision::Source;
use qwen_edge::vision::positions::Walk;
use qwen_edge::vision::prompt::{Prompt, arrange};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(path)
}

/// The demo model with its tower, and room for eight conversations.
pub fn ready(draft: Draft, threads: usize) -> Ready {
    let options = StartOptions {
        wish: Wish { n_ctx: Some(9216), kv: Some(KvType::F16), n_sequence: Some(8), ..Wish::default() },
        tower: Some(Tower::open(repository("mmproj-demo.gguf")).unwrap()),
        draft,
        threads: Some(threads),
        isa: Some(levels().pop().unwrap().isa()),
        ..StartOptions::default()
    };
    ModelFile::open(repository("demo-q8_0.gguf")).unwrap().make_ready(options, |_, _| ()).unwrap()
}

/// The questions, with what is expected of them.
pub fn items() -> Vec<Value> {
    let lines = std::fs::read_to_string(repository("demo/heldout.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every `nth` question, as the template and the tower make a prompt of it.
pub fn questions(ready: &mut Ready, nth: usize) -> Vec<Prompt> {
    let items = items().into_iter().step_by(nth);
    let (viewer, vision_ids) = ready.viewer.as_mut().unwrap();
    let prompt = |item: Value| {
        let mut messages = item["messages"].as_array().unwrap().clone();
        let mut images = Vec::new();
        if let Some(image) = item["image"].as_str() {
            let text = messages[0]["content"].take();
            messages[0]["content"] = json!([{"type": "image"}, {"type": "text", "text": text}]);
            let source = Source::File(repository("demo").join(image));
            images.push(viewer.image(&source, ready.runner.compute(), |_, _| ()).unwrap().seen);
        }
        let mut request = Request::new(messages, item["thinking"] == true);
        request.tools = item.get("tools").cloned();
        let ids = ready.tokenizer.encode_prompt(&ready.template.prompt(&request, &ready.tokenizer).unwrap());
        let text = |stamp: &str| ready.tokenizer.encode(stamp, Special::None);
        arrange(&ids, *vision_ids, &images, &[], text).unwrap()
    };
    items.map(prompt).collect()
}

/// Nobody listens, and nobody interrupts.
struct Nobody;

impl Audience for Nobody {
    fn reading(&mut self, _: usize, _: usize) {}
    fn writing(&mut self, _: Channel, _: &str) {}
    fn proceed(&mut self) -> bool {
        true
    }
}

/// The numbers below `n` in an order in which neighbours were far apart.
pub fn shuffled(n: usize) -> Vec<usize> {
    let mut shuffled: Vec<usize> = (0..n).collect();
    shuffled.sort_by_key(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23));
    shuffled
}

/// An answer.
#[derive(Clone, Default)]
pub struct Answered {
    pub ids: Vec<u32>,
    pub stop: &'static str,
    pub drafts: Drafts,
}

impl PartialEq for Answered {
    fn eq(&self, other: &Answered) -> bool {
        (&self.ids, self.stop) == (&other.ids, other.stop)
    }
}

/// The answers to these questions, asked in this order with so many seats; `seed` is that of the first.
pub fn answers(
    ready: &mut Ready,
    prompts: &[Prompt],
    order: &[usize],
    seats: usize,
    how: (Settings, u64),
) -> Vec<Answered> {
    answers_that_keep_to(ready, prompts, order, seats, how, |_| None)
}

/// The same, the answer to each question keeping to its constraint.
pub fn answers_that_keep_to(
    ready: &mut Ready,
    prompts: &[Prompt],
    order: &[usize],
    seats: usize,
    (settings, seed): (Settings, u64),
    constraint: impl Fn(usize) -> Option<Constraint>,
) -> Vec<Answered> {
    let (_, vision_ids) = *ready.viewer.as_ref().unwrap();
    let n_embd = ready.runner.model().config.n_embd;
    let waits = Waits { written: Duration::from_millis(50), alone: Duration::from_millis(100) };
    let mut table = Answers::new(seats, &ready.runner, waits);
    let (mut waiting, mut sitting) = (order.iter(), vec![0; seats]);
    let mut found = vec![Answered::default(); prompts.len()];
    loop {
        while let Some(seat) = table.free_seat()
            && let Some(&i) = waiting.next()
        {
            let prompt = &prompts[i];
            let rows: Vec<InputRow> = match prompt.seen.is_empty() {
                true => text_rows(&prompt.ids, 0),
                false => prompt.rows(vision_ids, n_embd, &mut Walk::default()).unwrap(),
            };
            let thinking = Thinking::after(&prompt.ids, &ready.tokenizer, None);
            let mut sampler = ready.sampler(settings, seed + i as u64);
            let (checkpoint_at, calls) = (Vec::new(), None);
            let constraint = constraint(i);
            let call_grammar = None;
            let task = Task {
                prompt: rows,
                checkpoint_at,
                n_max: 160,
                thinking,
                constraint,
                call_grammar,
                calls,
                loop_guard: true,
            };
            let answer = Answer::new(task, 0, &mut sampler).unwrap();
            let sequence = ready.runner.sequence();
            sitting[seat] = i;
            table.sit(seat, Conversation { sequence, answer, sampler, audience: Box::new(Nobody) });
        }
        if table.is_empty() {
            return found;
        }
        for finished in table.pass(&mut ready.runner, &ready.tokenizer).unwrap() {
            let outcome = finished.outcome.unwrap();
            let (stop, drafts) = (outcome.stop.name(), outcome.drafts);
            found[sitting[finished.seat]] = Answered { ids: outcome.ids, stop, drafts };
        }
    }
}
