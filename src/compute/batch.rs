//! Products of weights with a batch of activations, shared out over the team.

use crate::compute::Compute;
use crate::compute::arena::Arena;
use crate::compute::team::{Grid, Phase, Team};
use crate::platform::machine::commit_memory;
use kernels::activations::Forms;
use kernels::qmatmul::GEMV_COLUMNS;
use kernels::{Inputs, Kernels, Matrix, QuantRows, Tile};

/// Rows that the kernels take at once: a buffer may be completed to a whole number of these.
const WHOLE_ROWS: usize = 16;

/// The lengths of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct BatchShape {
    /// The forms that the weights ask for which the rows meet.
    pub forms: Forms,
    /// Rows at most.
    pub rows: usize,
    /// Values of a row at most.
    pub cols: usize,
    /// Whether the rows may be prepared for [`precise_products`].
    pub refined: bool,
}

impl BatchShape {
    /// Bytes of the batch at most; sizes beyond the address space count as all of it.
    pub fn bytes(&self) -> usize {
        let BatchShape { forms, rows, cols, refined } = *self;
        let terms = if refined && forms.quants { 2 * QuantRows::row_bytes(Forms::QUANTS, cols) } else { 0 };
        let records = rows.checked_next_multiple_of(WHOLE_ROWS).unwrap_or(usize::MAX);
        let values = rows.saturating_mul(4 * cols);
        values.saturating_add(records.saturating_mul(QuantRows::row_bytes(forms, cols) + terms))
    }
}

/// A batch of activation rows `[m, k]` in the forms products take.
pub struct Batch {
    /// Values `[m, k]`.
    pub x: Vec<f32>,
    q: QuantRows,
    /// For products in two 8-bit terms, `[2m, k]`: rows 2r and 2r + 1 are those of row r. Made when a batch is first refined:
    /// where products of bf16 are fast none is, or few rows are.
    int8x2: QuantRows,
    rows: usize,
    cols: usize,
}

impl Batch {
    /// Room for all rows of `shape`.
    pub fn new(shape: BatchShape) -> Batch {
        let BatchShape { forms, rows, cols, .. } = shape;
        let (q, int8x2) = (QuantRows::new(forms, rows, cols), QuantRows::int8x2(0, cols));
        Batch { x: vec![0.0; rows * cols], q, int8x2, rows, cols }
    }

    /// Makes the system give the memory of all rows now.
    pub fn commit_memory(&mut self) {
        commit_memory(&mut self.x);
        commit_memory(self.q.records_mut());
    }

    /// Gives the batch another shape, keeping its memory; contents are unspecified afterwards.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        if (rows, cols) != (self.rows, self.cols) {
            self.x.resize(rows * cols, 0.0);
            self.q.reshape(rows, cols);
            (self.rows, self.cols) = (rows, cols);
        }
    }

    /// Calls `fill(row number, row)` for every row, then brings the row into the forms of products.
    pub fn fill(&mut self, compute: &mut Compute, fill: impl Fn(usize, &mut [f32]) + Sync) {
        let (cols, layout, kernels) = (self.cols, self.q.layout(), compute.kernels);
        compute.team.split2((&mut self.x, cols), (self.q.records_mut(), layout.record_len()), |r, x, records| {
            fill(r, x);
            kernels.quantize_row(x, layout.row_mut(records));
        });
    }

    /// As [`Batch::fill`], where row `r` comes with piece `r` of `extra`, `unit` values each.
    pub fn fill_beside(
        &mut self,
        compute: &mut Compute,
        (extra, unit): (&mut [f32], usize),
        fill: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        let (cols, layout, kernels) = (self.cols, self.q.layout(), compute.kernels);
        let records = (self.q.records_mut(), layout.record_len());
        compute.team.split3((extra, unit), (&mut self.x, cols), records, |r, extra, x, records| {
            fill(r, extra, x);
            kernels.quantize_row(x, layout.row_mut(records));
        });
    }

    /// Whether [`precise_products`] take these rows in bf16. A few rows wait for the weights to be read, so they take
    /// two terms, which are closer.
    fn in_bf16(&self, kernels: &Kernels) -> bool {
        kernels.has_bf16() && self.rows > GEMV_COLUMNS
    }

    /// Whether [`precise_products`] of these rows take little longer than others.
    pub fn refines_cheaply(&self, kernels: &Kernels) -> bool {
        self.rows <= GEMV_COLUMNS || self.in_bf16(kernels) || !self.q.forms().quants
    }

    /// Prepares the rows for [`precise_products`].
    pub fn refine(&mut self, compute: &mut Compute) {
        let kernels = compute.kernels;
        if self.in_bf16(kernels) || !self.q.forms().quants {
            return;
        }
        let (x, cols) = (&self.x, self.cols);
        self.int8x2.reshape(self.rows, cols);
        let layout = self.int8x2.layout();
        compute.team.split(self.int8x2.records_mut(), 2 * layout.record_len(), |r, records| {
            let (first, second) = records.split_at_mut(layout.record_len());
            let x = &x[r * cols..][..cols];
            kernels.quantize_row_int8x2(x, layout.row_mut(first), layout.row_mut(second));
        });
    }

    /// The rows as operands of products.
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { x: &self.x, q: &self.q }
    }
}

/// Rows of outputs, `n` in all, that one work item computes: enough items to share out evenly, each a whole number of the
/// kernels' 32-row panels.
pub fn strip(n: usize, threads: usize) -> usize {
    (n / (threads * 16)).next_multiple_of(32).clamp(32, 256)
}

/// Computes `y[m, n] = Σ_k w[n, k] · x[m, k]` for each pair of a matrix and its output, in one parallel region.
///
/// # Panics
/// If an output is not `[m, w.rows()]` for the batch's m.
pub fn products<const N: usize>(compute: &mut Compute, x: &Batch, phase: Phase, pairs: [(Matrix<'_>, &mut [f32]); N]) {
    let kernels = compute.kernels;
    shared(&mut compute.team, x, phase, pairs, |_, w, mut y| kernels.matmul(w, x.inputs(), &mut y));
}

/// As [`products`], for inputs whose rounding the model amplifies: where the weights are quantised, activations are taken
/// in bf16, or in two 8-bit terms, some 15 bits, where that is not faster. Two terms cost little for a few tokens, whose
/// time is that of reading the weights, and twice the time of one for a batch.
///
/// # Panics
/// As [`products`]; if the batch was not refined.
pub fn precise_products<const N: usize>(
    compute: &mut Compute,
    x: &Batch,
    phase: Phase,
    pairs: [(Matrix<'_>, &mut [f32]); N],
) {
    if !x.q.forms().quants {
        return products(compute, x, phase, pairs);
    }
    let Compute { kernels, ref mut team } = *compute;
    if x.in_bf16(kernels) {
        return shared(team, x, phase, pairs, |_, w, mut y| kernels.matmul_bf16(w, x.inputs(), &mut y));
    }
    assert_eq!(x.int8x2.rows(), 2 * x.rows, "a refined batch");
    if x.rows <= GEMV_COLUMNS {
        let inputs = Inputs { x: &x.x, q: &x.int8x2 };
        return shared(team, x, phase, pairs, |_, w, mut y| kernels.matmul_int8x2(w, inputs, &mut y));
    }
    shared(team, x, phase, pairs, |arena, w, mut y| {
        if w.format().is_float() {
            return kernels.matmul(w, x.inputs(), &mut y);
        }
        let width = w.rows();
        let terms = arena.values(2 * x.rows * width);
        kernels.matmul(w, Inputs { x: &[], q: &x.int8x2 }, &mut Tile::new(terms, width));
        for (r, terms) in terms.chunks(2 * width).enumerate() {
            let (first, second) = terms.split_at(width);
            for ((y, a), b) in y.row_mut(r).iter_mut().zip(first).zip(second) {
                *y = a + b;
            }
        }
    });
}

/// Values of an arena that [`precise_products`] of `rows` rows and `n` outputs in all take at most.
pub fn precise_arena_len(rows: usize, n: usize, threads: usize) -> usize {
    if rows <= GEMV_COLUMNS { 0 } else { rows.saturating_mul(2 * strip(n, threads.max(1)).min(n)) }
}

/// Shares out products by strips of their outputs.
fn shared<const N: usize>(
    team: &mut Team,
    x: &Batch,
    phase: Phase,
    pairs: [(Matrix<'_>, &mut [f32]); N],
    product: impl Fn(&mut Arena, Matrix<'_>, Tile<'_>) + Sync,
) {
    let weights = pairs.each_ref().map(|(w, _)| *w);
    // Items of all products are of one size, so that even shares of them take the same time.
    let width = strip(weights.iter().map(Matrix::rows).sum(), team.threads());
    let mut grids = pairs.map(|(w, y)| {
        assert_eq!(y.len(), x.rows * w.rows(), "output of a product");
        Grid::strips(y, w.rows(), width)
    });
    let before = team.enter(phase);
    team.grids_with(&mut grids, |arena, i, _, cols, tile| product(arena, weights[i].slice_rows(cols), tile));
    team.enter(before);
}
