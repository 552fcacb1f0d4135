//! What is asked of a server, and of which model.

use super::http::Response;
use super::scratch::Scratch;
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth, Vocab};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The model that can answer.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q8_0.gguf")
}

/// A model of random weights.
pub fn random(scratch: &Scratch) -> PathBuf {
    let n_vocab = Vocab::published_cut(1088).tokens.len();
    let dims = Dims { n_embd: 256, n_layer: 4, n_ff: 512, n_vocab, ..Dims::of(Size::B0_8) };
    let synth = Synth::text(&Options { dims, quant: Quant::Q8_0, mtp: false, newer: false, seed: 1 });
    scratch.write("model.gguf", synth.to_bytes())
}

pub fn user(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

/// A question whose answer by random weights repeats itself until the context is full.
pub fn forever() -> Value {
    with(user("a"), json!({"temperature": 0, "frequency_penalty": -2}))
}

/// A long question whose answer by the demo model does.
pub fn demo_forever() -> Value {
    with(user(&"a ".repeat(300)), json!({"temperature": 0, "frequency_penalty": -2}))
}

pub fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub fn text(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}
