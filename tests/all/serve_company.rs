//! What `serve` answers does not depend on who else is served: the demo model, its held-out questions, with pictures and
//! thinking and tools, by eight clients at once and by one.

use crate::support::chats::{demo, with};
use crate::support::heldout::{self, shuffled};
use crate::support::http::Server;
use base64::Engine;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every `nth` held-out question, as a client asks it.
fn questions(nth: usize) -> Vec<Value> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let question = |item: Value| {
        let mut messages = item["messages"].clone();
        if let Some(image) = item["image"].as_str() {
            let base64 = base64::engine::general_purpose::STANDARD.encode(std::fs::read(demo.join(image)).unwrap());
            let url = format!("data:image/png;base64,{base64}");
            let text = messages[0]["content"].take();
            messages[0]["content"] =
                json!([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]);
        }
        json!({
            "messages": messages,
            "max_tokens": 160,
            "tools": item["tools"],
            "chat_template_kwargs": {"enable_thinking": item["thinking"]},
        })
    };
    heldout::items().into_iter().step_by(nth).map(question).collect()
}

/// The answers of so many clients, each of which asks the next question of this order when it has an answer.
fn answers(server: &Server, bodies: &[Value], order: &[usize], clients: usize) -> Vec<Value> {
    let next = AtomicUsize::new(0);
    let ask = || {
        let mut answers = Vec::new();
        while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            answers.push((i, without_ids(server.chat(&bodies[i]).json()["choices"].take())));
        }
        answers
    };
    let mut found = vec![Value::Null; bodies.len()];
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        for (i, answer) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
            found[i] = answer;
        }
    });
    found
}

/// Choices without the ids of calls, which nobody chose.
fn without_ids(mut choices: Value) -> Value {
    let calls = choices[0]["message"]["tool_calls"].as_array_mut();
    calls.into_iter().flatten().for_each(|call| call["id"] = Value::Null);
    choices
}

fn ask(nth: usize) {
    let ways = [json!({"temperature": 0}), json!({"temperature": 0.9, "top_k": 20, "seed": 7})];
    let bodies: Vec<Value> =
        questions(nth).iter().flat_map(|question| ways.clone().map(|way| with(question.clone(), way))).collect();
    let order: Vec<usize> = (0..bodies.len()).collect();
    let alone = answers(&Server::start(&demo(), &["--parallel", "1"]), &bodies, &order, 1);
    let together = answers(&Server::start(&demo(), &["--parallel", "8"]), &bodies, &shuffled(bodies.len()), 8);
    for ((body, alone), together) in bodies.iter().zip(&alone).zip(&together) {
        let message = &alone[0]["message"];
        assert!(message["content"].is_string() || message["tool_calls"].is_array(), "{body}: {alone}");
        assert_eq!(alone, together, "{body}");
    }
    println!("{} questions, greedy and seeded", bodies.len() / 2);
}

#[test]
fn eight_clients_at_once_get_the_texts_that_each_gets_alone() {
    ask(16);
}

#[test]
#[ignore = "all questions take minutes: a part of `make verify`"]
fn eight_clients_at_once_get_the_texts_that_each_gets_alone_for_all_held_out_questions() {
    ask(1);
}
