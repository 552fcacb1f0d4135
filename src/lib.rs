//! `qwen-edge` runs the Qwen3.5 small series from GGUF files on the CPU.

#![deny(unsafe_code)]

pub mod cli;
pub mod gguf;
pub mod machine;
pub mod synth;
