//! Activations in the 8-bit form the integer products take.
//!
//! Each row is cut into blocks of [`BLOCK`] values: `x[i] ≈ d[b] · q[i]`, `d = max|x| / 127` over the block in f32,
//! `q = round(x / d)` in `-127..=127` (never -128, so that sign tricks hold). Sums of 16 quants stand beside them for
//! formats with an offset. One scale a 32 values and f32 scales are finer than the 256-value blocks of other runtimes.

/// Values that share one scale.
pub const BLOCK: usize = 32;

/// Quants that share one sum: the finest sub-block of any weight format.
pub const SUM_BLOCK: usize = 16;

/// Rows of quantised activations `[m, k]`. Rows are records of one buffer, so that threads can fill disjoint rows.
pub struct QuantRows {
    buffer: Vec<Record>,
    rows: usize,
    cols: usize,
}

/// 64 bytes of a row's record; gives the buffer its alignment.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub struct Record([u8; 64]);

/// One row, to be read.
#[derive(Clone, Copy)]
pub struct QuantRow<'a> {
    /// Quants, `[k]`, k rounded up to a multiple of 64 with zeros.
    pub q: &'a [i8],
    /// Scales, `[k / 32]` (of the padded k).
    pub d: &'a [f32],
    /// Sums of 16 quants, `[k / 16]` (of the padded k).
    pub sums: &'a [i16],
}

/// One row, to be written; fields as in [`QuantRow`].
pub struct QuantRowMut<'a> {
    /// Quants.
    pub q: &'a mut [i8],
    /// Scales.
    pub d: &'a mut [f32],
    /// Sums of 16 quants.
    pub sums: &'a mut [i16],
}

/// Columns of a record: a whole number of 256-value super-blocks, so that kernels may read past a ragged end.
fn padded(cols: usize) -> usize {
    cols.next_multiple_of(256)
}

/// Bytes of one row's record: quants, scales, sums.
fn record_bytes(cols: usize) -> usize {
    let k = padded(cols);
    k + k / BLOCK * 4 + k / SUM_BLOCK * 2
}

impl QuantRows {
    /// Room for `rows` rows of `cols` values, all zero.
    pub fn new(rows: usize, cols: usize) -> Self {
        let records = record_bytes(cols) / 64 * rows;
        QuantRows { buffer: vec![bytemuck::Zeroable::zeroed(); records], rows, cols }
    }

    /// Gives the buffer another shape, keeping its memory. Contents are unspecified afterwards.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        self.buffer.resize(record_bytes(cols) / 64 * rows, bytemuck::Zeroable::zeroed());
        (self.rows, self.cols) = (rows, cols);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `r`.
    pub fn row(&self, r: usize) -> QuantRow<'_> {
        let n = self.record_len();
        let (q, rest) = bytemuck::cast_slice(&self.buffer[r * n..(r + 1) * n]).split_at(padded(self.cols));
        let (d, sums) = rest.split_at(padded(self.cols) / BLOCK * 4);
        QuantRow { q: bytemuck::cast_slice::<u8, i8>(q), d: bytemuck::cast_slice(d), sums: bytemuck::cast_slice(sums) }
    }

    /// Records of all rows, [`QuantRows::record_len`] each: threads split this slice by rows.
    pub fn records_mut(&mut self) -> &mut [Record] {
        &mut self.buffer
    }

    /// [`Record`]s a row takes.
    pub fn record_len(&self) -> usize {
        record_bytes(self.cols) / 64
    }
}

/// Views one row's records, for a row of `cols` values, as its fields.
pub fn row_mut(records: &mut [Record], cols: usize) -> QuantRowMut<'_> {
    let (q, rest) = bytemuck::cast_slice_mut(records).split_at_mut(padded(cols));
    let (d, sums) = rest.split_at_mut(padded(cols) / BLOCK * 4);
    QuantRowMut {
        q: bytemuck::cast_slice_mut::<u8, i8>(q),
        d: bytemuck::cast_slice_mut(d),
        sums: bytemuck::cast_slice_mut(sums),
    }
}
