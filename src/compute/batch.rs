//! Products of weights with a batch of activations, shared out over the team.

use crate::compute::Compute;
use crate::compute::arena::Arena;
use crate::compute::team::{Grid, Phase};
use crate::platform::machine::commit_memory;
use kernels::activations::Forms;
use kernels::{Inputs, Kernels, Matrix, QuantRows, Tile, Way};

/// How many rows of each way there are. Prompt rows come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RowCounts {
    /// Rows that are multiplied as those of a prompt.
    pub prompt: usize,
    /// Rows that are multiplied as those of an answer.
    pub written: usize,
}

impl RowCounts {
    /// Rows in all.
    pub fn total(&self) -> usize {
        self.prompt.saturating_add(self.written)
    }
}

/// The lengths of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct BatchShape {
    /// The forms that the weights ask for which the rows meet.
    pub forms: Forms,
    /// Rows at most, of each way.
    pub rows: RowCounts,
    /// Rows at most, of both together.
    pub total: usize,
    /// Values of a row at most.
    pub cols: usize,
    /// Whether the rows may be [refined](Batch::refine).
    pub refined: bool,
}

impl BatchShape {
    /// Bytes of the batch at most; sizes beyond the address space count as all of it.
    pub fn bytes(&self) -> usize {
        let BatchShape { forms, rows, total, cols, refined } = *self;
        let records = |way, rows| {
            let terms = if refined && forms.quants { QuantRows::bytes(way, Forms::QUANTS, 2, rows, cols) } else { 0 };
            QuantRows::bytes(way, forms, 1, rows, cols).saturating_add(terms)
        };
        let values = total.saturating_mul(4 * cols);
        values.saturating_add(records(Way::Prompt, rows.prompt)).saturating_add(records(Way::Written, rows.written))
    }
}

/// How exact a product with quantised weights is to be. Products with others are exact enough for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exactness {
    /// Activations in blocks of 8 bits.
    Plain,
    /// For inputs whose rounding the model amplifies. Written rows are taken in two 8-bit terms, some 15 bits: they wait
    /// for the weights to be read, so that this costs little. Prompt rows are taken in bf16, or where the level does not
    /// multiply that fast, in two terms as well, in twice the time of one.
    Precise,
    /// The same, but prompt rows that would take twice the time are taken plainly.
    PreciseIfCheap,
}

/// A batch of activation rows `[n, k]` in the forms products take: prompt rows, then written ones.
pub struct Batch {
    /// Values `[n, k]`.
    pub x: Vec<f32>,
    prompt: Part,
    written: Part,
    rows: RowCounts,
    cols: usize,
    refined: bool,
}

/// The rows of one way.
struct Part {
    q: QuantRows,
    /// For products in two 8-bit terms: rows 2r and 2r + 1 are those of row r. Made when a batch is first refined: where
    /// products of bf16 are fast, no prompt row is.
    int8x2: QuantRows,
}

impl Part {
    fn new(way: Way, shape: BatchShape, rows: usize) -> Part {
        Part { q: QuantRows::new(way, shape.forms, rows, shape.cols), int8x2: QuantRows::int8x2(way, 0, shape.cols) }
    }
}

impl Batch {
    /// Room for all rows of `shape`.
    pub fn new(shape: BatchShape) -> Batch {
        let BatchShape { rows, total, cols, .. } = shape;
        Batch {
            x: vec![0.0; total * cols],
            prompt: Part::new(Way::Prompt, shape, rows.prompt),
            written: Part::new(Way::Written, shape, rows.written),
            rows,
            cols,
            refined: false,
        }
    }

    /// Makes the system give the memory of all rows now.
    pub fn commit_memory(&mut self) {
        commit_memory(&mut self.x);
        commit_memory(self.prompt.q.records_mut());
        commit_memory(self.written.q.records_mut());
    }

    /// Gives the batch another shape, keeping its memory; contents are unspecified afterwards.
    pub fn reshape(&mut self, rows: RowCounts, cols: usize) {
        if (rows, cols) != (self.rows, self.cols) {
            self.x.resize(rows.total() * cols, 0.0);
            self.prompt.q.reshape(rows.prompt, cols);
            self.written.q.reshape(rows.written, cols);
            (self.rows, self.cols, self.refined) = (rows, cols, false);
        }
    }

    /// Calls `fill(row number, row)` for every row, then brings the row into the forms of products.
    pub fn fill(&mut self, compute: &mut Compute, fill: impl Fn(usize, &mut [f32]) + Sync) {
        let mut nothing = vec![(); self.rows.total()];
        self.fill_beside(compute, (&mut nothing, 1), |r, _, x| fill(r, x));
    }

    /// As [`Batch::fill`], where row `r` comes with piece `r` of `extra`, `unit` values each.
    pub fn fill_beside<T: Send>(
        &mut self,
        compute: &mut Compute,
        (extra, unit): (&mut [T], usize),
        fill: impl Fn(usize, &mut [T], &mut [f32]) + Sync,
    ) {
        let (cols, n_prompt, kernels) = (self.cols, self.rows.prompt, compute.kernels);
        let (prompt, written) = (&mut self.prompt.q, &mut self.written.q);
        let layouts = [prompt.layout(), written.layout()];
        let records =
            [(prompt.records_mut(), layouts[0].record_len()), (written.records_mut(), layouts[1].record_len())];
        self.refined = false;
        compute.team.split_rows((extra, unit), (&mut self.x, cols), records, |r, extra, x, records| {
            fill(r, extra, x);
            kernels.quantize_row(x, layouts[usize::from(r >= n_prompt)].row_mut(records));
        });
    }

    /// Prepares the filled rows for products that are more exact than [`Exactness::Plain`].
    pub fn refine(&mut self, compute: &mut Compute) {
        self.refined = true;
        if !self.prompt.q.forms().quants {
            return;
        }
        let kernels = compute.kernels;
        let (cols, RowCounts { prompt, written }) = (self.cols, self.rows);
        let in_terms = RowCounts { prompt: if kernels.has_bf16() { 0 } else { prompt }, written };
        self.prompt.int8x2.reshape(in_terms.prompt, cols);
        self.written.int8x2.reshape(in_terms.written, cols);
        let layouts = [self.prompt.int8x2.layout(), self.written.int8x2.layout()];
        let records = [
            (self.prompt.int8x2.records_mut(), 2 * layouts[0].record_len()),
            (self.written.int8x2.records_mut(), 2 * layouts[1].record_len()),
        ];
        let x = &mut self.x[(prompt - in_terms.prompt) * cols..];
        let mut nothing = vec![(); in_terms.total()];
        compute.team.split_rows((&mut nothing, 1), (x, cols), records, |r, _, x, records| {
            let layout = layouts[usize::from(r >= in_terms.prompt)];
            let (first, second) = records.split_at_mut(layout.record_len());
            kernels.quantize_row_int8x2(x, layout.row_mut(first), layout.row_mut(second));
        });
    }

    /// `y[m, n] = Σ_k w[n, k] · x[m, k]` for all rows of the batch, by the calling thread, whose arena is `arena`.
    ///
    /// # Panics
    /// If `y` is not `[m, w.rows()]` for the batch's m, or it is to be precise and the batch was not refined.
    pub fn multiply(
        &self,
        kernels: &Kernels,
        arena: &mut Arena,
        w: Matrix<'_>,
        exactness: Exactness,
        y: &mut Tile<'_>,
    ) {
        let RowCounts { prompt, written } = self.rows;
        assert_eq!(y.rows(), prompt + written, "output of a batch");
        assert!(exactness == Exactness::Plain || self.refined, "a refined batch");
        let precise = exactness != Exactness::Plain && self.prompt.q.forms().quants;
        let (x, x_written) = self.x.split_at(prompt * self.cols);
        if prompt > 0 {
            let inputs = Inputs { x, q: &self.prompt.q };
            let y = &mut y.slice_rows(0..prompt);
            if precise && kernels.has_bf16() {
                kernels.matmul_bf16(w, inputs, y, &mut arena.dense);
            } else if precise && exactness == Exactness::Precise && !w.format().is_float() {
                self.multiply_terms(kernels, arena, w, y);
            } else {
                kernels.matmul(w, inputs, y, &mut arena.dense);
            }
        }
        if written > 0 {
            let y = &mut y.slice_rows(prompt..prompt + written);
            if precise {
                kernels.matmul_int8x2(w, Inputs { x: x_written, q: &self.written.int8x2 }, y);
            } else {
                kernels.matmul(w, Inputs { x: x_written, q: &self.written.q }, y, &mut arena.dense);
            }
        }
    }

    /// Prompt rows in two terms: the sum of the products of either.
    fn multiply_terms(&self, kernels: &Kernels, arena: &mut Arena, w: Matrix<'_>, y: &mut Tile<'_>) {
        let width = w.rows();
        let (terms, dense) = arena.values_and_dense(2 * self.rows.prompt * width);
        kernels.matmul(w, Inputs { x: &[], q: &self.prompt.int8x2 }, &mut Tile::new(terms, width), dense);
        for (r, terms) in terms.chunks(2 * width).enumerate() {
            let (first, second) = terms.split_at(width);
            for ((y, a), b) in y.row_mut(r).iter_mut().zip(first).zip(second) {
                *y = a + b;
            }
        }
    }
}

/// Rows of outputs, `n` in all, that one work item computes: enough items to share out evenly, each a whole number of the
/// kernels' 32-row panels.
pub fn strip(n: usize, threads: usize) -> usize {
    (n / (threads * 16)).next_multiple_of(32).clamp(32, 256)
}

/// Computes `y[m, n] = Σ_k w[n, k] · x[m, k]` for each matrix, as exactly as it is to be, and its output, in one parallel
/// region. One work item multiplies all rows with its strip of weights, so that memory is read once.
///
/// # Panics
/// If an output is not `[m, w.rows()]` for the batch's m; if one is to be precise and the batch was not refined.
pub fn products<const N: usize>(
    compute: &mut Compute,
    x: &Batch,
    phase: Phase,
    products: [(Matrix<'_>, Exactness, &mut [f32]); N],
) {
    let Compute { kernels, ref mut team } = *compute;
    let weights = products.each_ref().map(|(w, exactness, _)| (*w, *exactness));
    // Items of all products are of one size, so that even shares of them take the same time.
    let width = strip(weights.iter().map(|(w, _)| w.rows()).sum(), team.threads());
    let mut grids = products.map(|(w, _, y)| {
        assert_eq!(y.len(), x.rows.total() * w.rows(), "output of a product");
        Grid::strips(y, w.rows(), width)
    });
    let before = team.enter(phase);
    team.grids_with(&mut grids, |arena, i, _, cols, mut y| {
        let (w, exactness) = weights[i];
        x.multiply(kernels, arena, w.slice_rows(cols), exactness, &mut y);
    });
    team.enter(before);
}

/// Values of an arena that [`products`] with `n` outputs in all of `prompt` prompt rows take at most, if they are
/// [`Exactness::Precise`].
pub fn precise_arena_len(prompt: usize, n: usize, threads: usize) -> usize {
    prompt.saturating_mul(2 * strip(n, threads.max(1)).min(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::{Format, Isa};

    const COLS: usize = 512;
    const OUTPUTS: usize = 70;

    fn value(i: usize) -> f32 {
        ((i * 7919) % 2003) as f32 / 1001.0 - 1.0
    }

    fn shape(forms: Forms, rows: RowCounts) -> BatchShape {
        BatchShape { forms, rows, total: rows.total(), cols: COLS, refined: true }
    }

    /// The products of rows `first ..` of an endless text, of each exactness.
    fn outputs(compute: &mut Compute, w: Matrix<'_>, rows: RowCounts, first: [usize; 2]) -> [Vec<f32>; 3] {
        let mut batch = Batch::new(shape(Forms::of([w.format()]), rows));
        batch.fill(compute, |r, x| {
            let row = if r < rows.prompt { first[0] + r } else { first[1] + r - rows.prompt };
            x.iter_mut().enumerate().for_each(|(i, x)| *x = value(row * COLS + i));
        });
        batch.refine(compute);
        let mut y = [(); 3].map(|()| vec![0.0; rows.total() * OUTPUTS]);
        let all = [Exactness::Plain, Exactness::Precise, Exactness::PreciseIfCheap];
        let mut pairs = all.into_iter().zip(&mut y).map(|(exactness, y)| (w, exactness, &mut y[..]));
        let pairs = [(); 3].map(|()| pairs.next().expect("three of them"));
        products(compute, &batch, Phase::Products, pairs);
        y
    }

    #[test]
    fn a_row_has_the_same_products_alone_and_among_rows_of_both_ways() {
        for isa in Isa::available() {
            for format in [Format::Q4_K, Format::Q8_0, Format::F16, Format::F32] {
                let row_bytes = format.row_bytes(COLS).unwrap();
                let bytes: Vec<u8> = (0..OUTPUTS * row_bytes).map(|i| (i * 31 % 61) as u8).collect();
                let w = Matrix::new(format, OUTPUTS, COLS, &bytes);
                let compute = &mut Compute::new(Kernels::select(Some(isa)).unwrap(), 2);
                let rows = RowCounts { prompt: 3, written: 6 };
                let together = outputs(compute, w, rows, [0, 100]);
                for r in 0..rows.total() {
                    let alone = if r < rows.prompt {
                        outputs(compute, w, RowCounts { prompt: 1, written: 0 }, [r, 0])
                    } else {
                        outputs(compute, w, RowCounts { prompt: 0, written: 1 }, [0, 100 + r - rows.prompt])
                    };
                    for (together, alone) in together.iter().zip(&alone) {
                        assert_eq!(together[r * OUTPUTS..][..OUTPUTS], alone[..], "{isa} {format}, row {r}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_batch_takes_no_more_memory_than_its_shape_says() {
        let forms = Forms { quants: true, int16: true };
        let shape = shape(forms, RowCounts { prompt: 37, written: 9 });
        let mut batch = Batch::new(shape);
        let compute = &mut Compute::new(Kernels::select(None).unwrap(), 1);
        for (prompt, written, cols) in [(1, 9, COLS), (20, 0, 70), (37, 9, COLS), (0, 1, 256), (37, 9, COLS)] {
            batch.reshape(RowCounts { prompt, written }, cols);
            batch.fill(compute, |r, x| x.fill(r as f32));
            batch.refine(compute);
        }
        let parts = [&batch.prompt, &batch.written];
        let records: usize = parts.iter().flat_map(|part| [&part.q, &part.int8x2]).map(QuantRows::capacity).sum();
        assert!(4 * batch.x.capacity() + records <= shape.bytes());
    }
}
