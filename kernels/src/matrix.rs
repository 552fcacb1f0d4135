//! A weight matrix as it lies in the file.

use crate::Format;
use crate::decode::decode_row;
use std::ops::Range;

/// A borrowed weight matrix `[rows, cols]`, row-major, each row a whole number of blocks of `format`, with a scale for all
/// of it.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
    scale: f32,
}

impl<'a> Matrix<'a> {
    /// Wraps the bytes of a matrix, whose scale is 1.
    ///
    /// # Panics
    /// If `cols` is not a whole number of blocks or `bytes` is not exactly `rows` rows long. Loaders check both first.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Self {
        let row_bytes = format.row_bytes(cols).expect("a row must be a whole number of blocks");
        assert_eq!(Some(bytes.len()), row_bytes.checked_mul(rows), "{format} [{rows}, {cols}]");
        Matrix { format, rows, cols, row_bytes, bytes, scale: 1.0 }
    }

    /// The matrix whose values are `scale` times these: what [`crate::Kernels::matmul`] and its kind, and [`Matrix::decode`]
    /// give. Dense products ([`crate::dense`]) and [`decode_row`] know nothing of it.
    pub fn scaled(self, scale: f32) -> Self {
        Matrix { scale, ..self }
    }

    /// What all values are multiplied with.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The values of row `r`.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not of its length.
    pub fn decode(&self, r: usize, out: &mut [f32]) {
        decode_row(self.format, self.row(r), out);
        if self.scale != 1.0 {
            out.iter_mut().for_each(|value| *value *= self.scale);
        }
    }

    /// The storage format of the values.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of rows: outputs of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row: inputs of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// All bytes, row after row.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of row `r`.
    pub fn row(&self, r: usize) -> &'a [u8] {
        &self.bytes[r * self.row_bytes..][..self.row_bytes]
    }

    /// The matrix of the rows in `range` alone.
    pub fn slice_rows(&self, range: Range<usize>) -> Matrix<'a> {
        Matrix {
            rows: range.len(),
            bytes: &self.bytes[range.start * self.row_bytes..range.end * self.row_bytes],
            ..*self
        }
    }
}
