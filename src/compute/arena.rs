//! What a thread of the team works in: memory that an item needs beside its inputs and outputs, kept for the next item.

use kernels::dense::DenseScratch;

/// The working memory of one thread. Its contents are those of the items before.
// Threads write the lengths of their own all the time: no two share a cache line, nor a pair of them.
#[derive(Default)]
#[repr(align(128))]
pub struct Arena {
    /// Values, as many as an item of the past has needed.
    pub values: Vec<f32>,
    /// What products with dense rows are made in.
    pub dense: DenseScratch,
}

impl Arena {
    /// `n` of the values.
    pub fn values(&mut self, n: usize) -> &mut [f32] {
        self.values_and_dense(n).0
    }

    /// `n` of the values, and what products are made in.
    pub fn values_and_dense(&mut self, n: usize) -> (&mut [f32], &mut DenseScratch) {
        if self.values.len() < n {
            self.values.resize(n, 0.0);
        }
        (&mut self.values[..n], &mut self.dense)
    }
}
