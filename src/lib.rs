//! `qwen-edge` runs the Qwen3.5 small series from GGUF files on the CPU.

pub mod cli;
