//! All tests of the library and the program that are not unit tests: one program, which links the crate once, with a module
//! for each subject. `cargo test --test all golden::` runs one of them.

// Where tests of what a system does not have are left out, what they share with others is not.
#![cfg_attr(windows, allow(unused_imports, dead_code))]

mod allocations;
mod baked;
mod batch;
mod chat;
mod cli_logits;
mod company;
mod constrain;
mod drafts;
mod gguf;
mod gguf_properties;
mod golden;
mod hostile;
mod inspect;
mod library;
mod long_context;
mod loops;
mod manners;
mod memory;
mod model_files;
mod mtp;
mod names;
mod prompt_cache;
mod pull;
mod recall;
mod relatives;
mod reuse;
mod sequences;
mod serve;
mod serve_company;
mod serve_dialects;
mod serve_hostile;
mod serve_llama_cpp;
mod serve_models;
mod serve_ollama;
mod serve_page;
mod serve_reuse;
mod serve_schema;
mod serve_tools;
mod shelf;
#[cfg(target_os = "linux")]
mod signals;
mod support;
mod synth;
mod timeline;
mod tokenizer;
mod vision;
#[cfg(windows)]
mod windows;

/// Counts for tests of what an input may allocate.
#[global_allocator]
static ALLOCATOR: support::allocation::Counting = support::allocation::Counting;
