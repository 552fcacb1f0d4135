//! A rectangle of a larger output matrix: the shape in which one thread writes its share.

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable rectangle `[rows, cols]` of f32 values inside a row-major buffer whose rows lie `stride` values apart.
///
/// Two tiles of one buffer may live on different threads as long as their rectangles do not overlap; whoever calls
/// [`Tile::from_raw`] vouches for that. Every access goes through [`Tile::row`] and [`Tile::row_mut`].
pub struct Tile<'a> {
    ptr: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is a unique borrow of its rectangle (established at construction), and f32 is Send.
unsafe impl Send for Tile<'_> {}

impl<'a> Tile<'a> {
    /// The whole buffer as rows of `cols` values.
    ///
    /// # Panics
    /// If the buffer is not a whole number of rows.
    pub fn new(buffer: &'a mut [f32], cols: usize) -> Self {
        assert!(cols > 0 && buffer.len().is_multiple_of(cols), "{} values in rows of {cols}", buffer.len());
        let rows = buffer.len() / cols;
        Tile { ptr: buffer.as_mut_ptr(), rows, cols, stride: cols, owner: PhantomData }
    }

    /// A rectangle starting at `ptr`.
    ///
    /// # Safety
    /// For the lifetime `'a`, the `cols` values at `ptr + r * stride` for every `r < rows` are valid and are accessed
    /// through this tile alone.
    pub unsafe fn from_raw(ptr: *mut f32, rows: usize, cols: usize, stride: usize) -> Self {
        debug_assert!(cols <= stride || rows <= 1);
        Tile { ptr, rows, cols, stride, owner: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `r`, `cols` values.
    pub fn row(&self, r: usize) -> &[f32] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        // SAFETY: r < rows, so these values belong to the rectangle this tile borrows.
        unsafe { std::slice::from_raw_parts(self.ptr.add(r * self.stride), self.cols) }
    }

    /// Row `r`, `cols` values, to be written.
    pub fn row_mut(&mut self, r: usize) -> &mut [f32] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        // SAFETY: as in `row`, and `&mut self` makes the borrow unique.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(r * self.stride), self.cols) }
    }

    /// Where the values from row `r`, column `c` on lie, and the values from one row to the next. Reading and writing
    /// there, within the tile, is as good as through [`Tile::row_mut`].
    ///
    /// # Panics
    /// If there is no such value.
    pub fn corner(&mut self, r: usize, c: usize) -> (*mut f32, usize) {
        assert!(r < self.rows && c < self.cols, "({r}, {c}) of [{}, {}]", self.rows, self.cols);
        (self.ptr.wrapping_add(r * self.stride + c), self.stride)
    }

    /// Cuts the tile into blocks of `row_unit` rows and `col_unit` columns (the last of either may be smaller), to be dealt
    /// out to threads: their rows, their columns, and each block. Rows run fastest.
    ///
    /// # Panics
    /// If a unit is zero.
    pub fn into_blocks(
        self,
        row_unit: usize,
        col_unit: usize,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>, Tile<'a>)> {
        assert!(row_unit > 0 && col_unit > 0, "blocks of nothing");
        let Tile { ptr, rows, cols, stride, .. } = self;
        let ranges = |n: usize, unit: usize| (0..n.div_ceil(unit)).map(move |i| i * unit..n.min((i + 1) * unit));
        ranges(cols, col_unit).flat_map(move |c| {
            ranges(rows, row_unit).map(move |r| {
                let start = ptr.wrapping_add(r.start * stride + c.start);
                // SAFETY: the rectangle lies inside this tile, which is given away with its borrow of `'a`; each comes once,
                // and no two of them overlap.
                let block = unsafe { Tile::from_raw(start, r.len(), c.len(), stride) };
                (r, c.clone(), block)
            })
        })
    }

    /// The same columns, rows `range` only.
    pub fn slice_rows(&mut self, range: Range<usize>) -> Tile<'_> {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        // No rows may begin where the buffer has ended.
        let start = self.ptr.wrapping_add(range.start * self.stride);
        // SAFETY: the sub-rectangle lies inside this tile, which stays borrowed while the result lives.
        unsafe { Tile::from_raw(start, range.len(), self.cols, self.stride) }
    }

    /// The same rows, columns `range` only.
    pub fn columns(&mut self, range: Range<usize>) -> Tile<'_> {
        assert!(range.start <= range.end && range.end <= self.cols, "columns {range:?} of {}", self.cols);
        // SAFETY: the sub-rectangle lies inside this tile, which stays borrowed while the result lives.
        unsafe { Tile::from_raw(self.ptr.add(range.start), self.rows, range.len(), self.stride) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_reach_their_own_values_only() {
        let mut buffer = vec![0.0; 12];
        let mut tile = Tile::new(&mut buffer, 4);
        let mut middle = tile.columns(1..3);
        for r in 0..3 {
            middle.row_mut(r).fill(r as f32 + 1.0);
        }
        assert_eq!(buffer, [0., 1., 1., 0., 0., 2., 2., 0., 0., 3., 3., 0.]);
    }

    #[test]
    fn blocks_cover_the_tile_once_and_outlive_it() {
        let mut buffer = vec![0.0; 4 * 7];
        let mut tile = Tile::new(&mut buffer, 7);
        let blocks: Vec<_> = Tile::new(tile.columns(1..6).row_mut(0), 5).into_blocks(1, 2).map(|(_, c, _)| c).collect();
        assert_eq!(blocks, [0..2, 2..4, 4..5]);
        let mut blocks: Vec<_> = tile.into_blocks(3, 4).collect();
        for (i, (rows, cols, block)) in blocks.iter_mut().enumerate() {
            assert_eq!((block.rows(), block.cols()), (rows.len(), cols.len()));
            for r in 0..block.rows() {
                block.row_mut(r).iter_mut().for_each(|x| *x += i as f32 + 1.0);
            }
        }
        let row = |upper: f32, right: f32| [[upper; 4].to_vec(), vec![right; 3]].concat();
        assert_eq!(buffer, [row(1., 3.), row(1., 3.), row(1., 3.), row(2., 4.)].concat());
    }

    #[test]
    fn rows_reach_their_own_values_only() {
        let mut buffer = vec![0.0; 8];
        let mut tile = Tile::new(&mut buffer, 2);
        let mut columns = tile.columns(1..2);
        let mut middle = columns.slice_rows(1..3);
        assert_eq!((middle.rows(), middle.cols()), (2, 1));
        middle.row_mut(0)[0] = 1.0;
        middle.row_mut(1)[0] = 2.0;
        assert_eq!(columns.slice_rows(4..4).rows(), 0);
        assert_eq!(buffer, [0., 0., 0., 1., 0., 2., 0., 0.]);
    }
}
