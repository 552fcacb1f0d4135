//! `qwen-edge` runs the Qwen3.5 small series from GGUF files on the CPU.

#![deny(unsafe_code)]

pub mod chat;
pub mod compute;
pub mod engine;
pub mod gguf;
pub mod model;
pub mod platform;
pub mod sampler;
#[cfg(feature = "synth")]
pub mod synth;
pub mod tokenizer;
pub mod vision;
