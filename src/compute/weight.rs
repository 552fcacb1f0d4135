//! A weight matrix where it lies in the model's file.

use crate::gguf::Stored;
use kernels::{Format, Matrix};
use std::ops::Range;

/// A weight matrix `[rows, cols]`, row-major, each row a whole number of blocks of its format, with a scale for all of it. A
/// clone is the same weights.
#[derive(Clone, Debug)]
pub struct Weight {
    stored: Stored,
    format: Format,
    rows: usize,
    cols: usize,
    scale: f32,
}

impl Weight {
    /// Takes bytes for a matrix, whose scale is 1.
    ///
    /// # Panics
    /// If they are not exactly those of its rows. The container has checked that a tensor has the bytes of its shape.
    pub fn new(stored: Stored, format: Format, rows: usize, cols: usize) -> Weight {
        let weight = Weight { stored, format, rows, cols, scale: 1.0 };
        weight.matrix();
        weight
    }

    /// The weights whose values are `scale` times these.
    pub fn scaled(self, scale: f32) -> Weight {
        Weight { scale, ..self }
    }

    /// What all values are multiplied with.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The matrix as an operand of products.
    #[inline]
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.format, self.rows, self.cols, &self.stored).scaled(self.scale)
    }

    /// The matrix whose bytes were copied from the file.
    ///
    /// # Panics
    /// If they are not as many.
    pub fn matrix_of<'b>(&self, bytes: &'b [u8]) -> Matrix<'b> {
        Matrix::new(self.format, self.rows, self.cols, bytes)
    }

    /// The weights of the rows in `range` alone.
    ///
    /// # Panics
    /// If they are not inside.
    pub fn slice_rows(&self, range: Range<usize>) -> Weight {
        let row_bytes = self.matrix().row_bytes();
        let stored = self.stored.slice(range.start * row_bytes..range.end * row_bytes);
        Weight { stored, rows: range.len(), ..*self }
    }

    /// Number of rows: outputs of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The storage format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The bytes, for those who bring them into memory or take them out.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }
}
