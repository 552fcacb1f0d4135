//! Kernels of `qwen-edge`: slices of numbers in, slices of numbers out.
//!
//! The crate knows the number formats of GGUF files and the few operations a hybrid Gated DeltaNet transformer needs,
//! at every instruction-set level it supports. It knows nothing of files, layers, threads or tokens: splitting work
//! over threads is the caller's business, and [`Tile`] is how a part of an output is handed over.
//!
//! [`Kernels`] is the table of functions of one level, chosen once at start and passed down by reference.

pub mod activations;
#[cfg(target_arch = "x86_64")]
mod amx_tiles;
pub mod attention;
#[cfg(test)]
mod conformance;
pub mod decode;
pub mod deltanet;
pub mod dense;
pub mod format;
pub mod isa;
mod kernels;
pub mod matrix;
pub mod memory;
pub mod qmatmul;
pub mod rows;
mod scratch;
mod simd;
pub mod tile;
#[cfg(target_arch = "x86_64")]
mod transpose;
pub mod vecmath;

pub use activations::{QuantRows, Way};
pub use format::Format;
pub use isa::Isa;
pub use kernels::Kernels;
pub use matrix::Matrix;
pub use qmatmul::Inputs;
pub use rows::Rows;
pub use tile::Tile;
