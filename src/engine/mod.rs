//! A model at work: the plan of its memory, the runner and the sequences that share its passes, and the answers it writes.

pub mod answers;
pub mod baked;
pub mod byte_size;
pub mod context;
pub mod draft;
mod draw;
pub mod expert_uses;
pub mod forks;
pub mod generate;
mod greedy_dual;
pub mod load;
pub mod loop_guard;
pub mod message;
pub mod model_file;
pub mod numerics;
pub mod plan;
pub mod prompt_cache;
pub mod ready;
pub mod run_error;
pub mod runner;
pub mod scheduler;
pub mod scoring;
pub mod sequence;
pub mod session;
pub mod shelf;
pub mod shortage;
pub mod snapshot;
