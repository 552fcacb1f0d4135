//! What computes: the thread team, batches of activations, weights, and the products of these.

pub mod batch;
#[allow(unsafe_code)]
pub mod team;
pub mod weight;
