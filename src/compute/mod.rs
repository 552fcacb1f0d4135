//! What computes: the functions of the CPU's level and the thread team, batches of activations, weights, and the
//! products of these.

pub mod arena;
pub mod batch;
#[allow(unsafe_code)]
pub mod team;
pub mod weight;

use kernels::Kernels;
use team::Team;

/// The functions of one instruction-set level, and the threads that call them. A process has one: text and pictures
/// take turns.
pub struct Compute {
    /// The functions.
    pub kernels: &'static Kernels,
    /// The threads.
    pub team: Team,
}

impl Compute {
    /// These functions on `threads` threads, the calling one included; at least one.
    pub fn new(kernels: &'static Kernels, threads: usize) -> Compute {
        Compute { kernels, team: Team::new(threads) }
    }
}
