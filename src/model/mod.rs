//! The Qwen3.5 text model: hyper-parameters, weights, and the forward pass over them.
//!
//! [`Config`] and [`Model`] are read from the file once and checked completely; after that the forward pass (see
//! [`crate::engine::context`]) cannot fail.
//!
//! `MODEL.md`, beside this file, is the model in formulas: shapes, the tensors of each, traps and sources. Doc comments
//! cite its sections.

pub mod attention;
pub mod bind;
mod blocks;
pub mod config;
pub mod deltanet;
pub mod draft_file;
pub mod error;
mod experts;
pub mod ffn;
pub mod ffn_slots;
pub mod finite;
pub mod forward;
pub mod input;
pub mod kind;
pub mod kv_type;
pub mod memory;
pub mod mtp;
pub mod names;
pub mod pages;
pub mod pass;
pub mod rope;
pub mod state;
pub mod stream;
pub mod weights;

pub use config::{Config, LayerKind};
pub use error::Error;
pub use kind::FileKind;
pub use weights::Model;
