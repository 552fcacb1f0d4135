//! The reference product: decode a block of weights to f32, multiply with the activations' values in plain loops, sum
//! in f64. It shares no code with the fast levels; it is also the whole of [`crate::Isa::Scalar`].

use super::Inputs;
use super::entry::{Gemm, Many, Multiply, Product, Written};
use crate::decode::decode_row;
use crate::{Format, Matrix, Tile};

/// Weights decoded at a time: a multiple of every block length.
const CHUNK: usize = 256;

/// Columns that share one decoding of the weights.
const COLUMNS: usize = 16;

pub(super) fn product(_: Format) -> Product {
    let written = |multiply: Multiply| Written { one: multiply, two: multiply, many: Many::Fours(multiply) };
    Product {
        written: written(multiply),
        written_int8x2: written(multiply_int8x2),
        gemm: Gemm::Whole(multiply),
        gemm_bf16: None,
    }
}

/// [`Multiply`] for any number of rows.
pub(super) fn multiply(w: Matrix<'_>, x: Inputs<'_>, first: usize, y: &mut Tile<'_>) {
    let chunk_bytes = w.format().row_bytes(CHUNK).expect("a chunk is whole blocks");
    for n in 0..w.rows() {
        for column in (0..y.rows()).step_by(COLUMNS) {
            let columns = column..(column + COLUMNS).min(y.rows());
            let mut sums = [0.0; COLUMNS];
            for (c, bytes) in w.row(n).chunks(chunk_bytes).enumerate() {
                let start = c * CHUNK;
                let len = CHUNK.min(w.cols() - start);
                let mut weights = [0.0; CHUNK];
                decode_row(w.format(), bytes, &mut weights[..len]);
                for (sum, m) in sums.iter_mut().zip(columns.clone()) {
                    *sum += dot(&weights[..len], x, w, first + m, start);
                }
            }
            for (sum, m) in sums.into_iter().zip(columns) {
                y.row_mut(m)[n] = sum as f32;
            }
        }
    }
}

/// Activation rows in two 8-bit terms, one after the other.
fn multiply_int8x2(w: Matrix<'_>, x: Inputs<'_>, first: usize, y: &mut Tile<'_>) {
    if w.format().is_float() {
        return multiply(w, x, first, y);
    }
    let mut terms = vec![0.0; 2 * y.rows() * w.rows()];
    multiply(w, x, 2 * first, &mut Tile::new(&mut terms, w.rows()));
    for (r, terms) in terms.chunks(2 * w.rows()).enumerate() {
        for (n, y) in y.row_mut(r).iter_mut().enumerate() {
            *y = terms[n] + terms[w.rows() + n];
        }
    }
}

/// `Σ weights[i]·x[m, start + i]`.
fn dot(weights: &[f32], x: Inputs<'_>, w: Matrix<'_>, m: usize, start: usize) -> f64 {
    let mut sum = 0.0;
    if w.format().is_float() {
        let x = &x.x[m * w.cols() + start..];
        for (&w, &x) in weights.iter().zip(x) {
            sum += f64::from(w) * f64::from(x);
        }
    } else {
        let row = x.q.row(m);
        for (i, &w) in weights.iter().enumerate() {
            let k = start + i;
            sum += f64::from(w) * f64::from(row.d[row.order.scale(k)]) * f64::from(row.q[row.order.quant(k)]);
        }
    }
    sum
}
