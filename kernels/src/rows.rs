//! Rows of a larger matrix, to be read: the counterpart of [`crate::Tile`].

use std::ops::Range;

/// A borrowed rectangle `[rows, cols]` of f32 values whose rows lie `stride` values apart.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// The rectangle whose first value is `data[0]`.
    ///
    /// # Panics
    /// If the last row would reach past the end of `data`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        let end = rows.checked_sub(1).map_or(Some(0), |r| r.checked_mul(stride)?.checked_add(cols));
        assert!(end.is_some_and(|end| end <= data.len()), "[{rows}, {cols}] by {stride} in {} values", data.len());
        Rows { data, rows, cols, stride }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The rows in `range` alone.
    ///
    /// # Panics
    /// If they are not all there.
    pub fn slice(&self, range: Range<usize>) -> Rows<'a> {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        if range.is_empty() {
            return Rows { data: &[], rows: 0, ..*self };
        }
        Rows { data: &self.data[range.start * self.stride..], rows: range.len(), ..*self }
    }

    /// Row `r`, `cols` values.
    #[inline(always)]
    pub fn row(&self, r: usize) -> &'a [f32] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        &self.data[r * self.stride..][..self.cols]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_may_end_where_the_buffer_ends() {
        let data = [0., 1., 2., 3., 4.];
        let rows = Rows::new(&data[1..], 2, 1, 3);
        assert_eq!((rows.row(0), rows.row(1)), (&[1.][..], &[4.][..]));
        assert_eq!(Rows::new(&[], 0, 7, 7).rows(), 0);
    }

    #[test]
    #[should_panic(expected = "[2, 2] by 3")]
    fn rows_past_the_end_are_refused() {
        Rows::new(&[0.0; 4], 2, 2, 3);
    }
}
