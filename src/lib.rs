//! `qwen-edge` runs the Qwen3.5 small series from GGUF files on the CPU.

#![deny(unsafe_code)]

pub mod chat;
pub mod cli;
pub mod context;
pub mod generate;
pub mod gguf;
pub mod machine;
pub mod memory;
pub mod model;
pub mod output;
pub mod sampler;
pub mod synth;
#[allow(unsafe_code)]
pub mod team;
pub mod tokenizer;
pub mod vision;
