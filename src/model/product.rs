//! Products of weights with a batch of activations, shared out over the team.

use crate::machine::touch;
use crate::team::{Grid, Part, Team};
use kernels::activations::row_mut;
use kernels::{Inputs, Kernels, Matrix, QuantRows};

/// A batch of activation rows `[m, k]` in both forms products take.
pub struct Batch {
    /// Values `[m, k]`.
    pub x: Vec<f32>,
    q: QuantRows,
    rows: usize,
    cols: usize,
}

impl Batch {
    /// Room for `rows` rows of `cols` values.
    pub fn new(rows: usize, cols: usize) -> Batch {
        Batch { x: vec![0.0; rows * cols], q: QuantRows::new(rows, cols), rows, cols }
    }

    /// Makes the system give the memory of all rows now.
    pub fn touch(&mut self) {
        touch(&mut self.x);
        touch(self.q.records_mut());
    }

    /// Gives the batch another shape, keeping its memory; contents are unspecified afterwards.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        if (rows, cols) != (self.rows, self.cols) {
            self.x.resize(rows * cols, 0.0);
            self.q.reshape(rows, cols);
            (self.rows, self.cols) = (rows, cols);
        }
    }

    /// Calls `fill(row number, row)` for every row, then brings the row into its 8-bit form.
    pub fn fill(&mut self, team: &mut Team, kernels: &Kernels, fill: impl Fn(usize, &mut [f32]) + Sync) {
        let (cols, record_len) = (self.cols, self.q.record_len());
        team.split2((&mut self.x, cols), (self.q.records_mut(), record_len), |r, x, records| {
            fill(r, x);
            kernels.quantize_row(x, row_mut(records, cols));
        });
    }

    /// As [`Batch::fill`], where row `r` comes with piece `r` of `extra`, `unit` values each.
    pub fn fill_beside(
        &mut self,
        team: &mut Team,
        kernels: &Kernels,
        (extra, unit): (&mut [f32], usize),
        fill: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        let (cols, record_len) = (self.cols, self.q.record_len());
        team.split3((extra, unit), (&mut self.x, cols), (self.q.records_mut(), record_len), |r, extra, x, records| {
            fill(r, extra, x);
            kernels.quantize_row(x, row_mut(records, cols));
        });
    }

    /// The rows as operands of products.
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { x: &self.x, q: &self.q }
    }
}

/// Rows of a product's output that one work item computes: enough items to share out evenly, each a whole number of the
/// kernels' 32-row panels.
pub fn strip(n: usize, threads: usize) -> usize {
    (n / (threads * 4)).next_multiple_of(32).clamp(32, 256)
}

/// Computes `y[m, n] = Σ_k w[n, k] · x[m, k]` for each pair of a matrix and its output, in one parallel region.
///
/// # Panics
/// If an output is not `[m, w.rows()]` for the batch's m.
pub fn products<const N: usize>(
    team: &mut Team,
    kernels: &Kernels,
    x: &Batch,
    part: Part,
    pairs: [(Matrix<'_>, &mut [f32]); N],
) {
    let weights = pairs.each_ref().map(|(w, _)| *w);
    let threads = team.threads();
    let mut grids = pairs.map(|(w, y)| {
        assert_eq!(y.len(), x.rows * w.rows(), "output of a product");
        Grid::strips(y, w.rows(), strip(w.rows(), threads))
    });
    let before = team.enter(part);
    team.grids(&mut grids, |i, _, cols, mut tile| kernels.matmul(weights[i].slice_rows(cols), x.inputs(), &mut tile));
    team.enter(before);
}
