//! Activations in the forms that integer products take: 8-bit quants for quantised weights, 13-bit integers for weights
//! in 16-bit floats.
//!
//! For quants, each row is cut into blocks of [`BLOCK`] values: `x[i] ≈ d[b]·q[i]`, `d = max|x| / 127` over the block
//! in f32, `q = round(x / d)` in `-127..=127` (never -128, so that sign tricks hold). Beside them stand the sums of 16
//! quants, times their scale, for formats with an offset. One f32 scale for 32 values is finer than the f16 scales or
//! 256-value blocks of other runtimes.
//!
//! How a row is multiplied is its [`Way`], not a matter of how many there are. Written rows lie in the
//! [order of lanes](Order::Lanes), prompt rows in the order of their values.
//!
//! Where the CPU has fast products of bf16, prompt rows with quants also carry the values rounded to bf16. 13-bit integers,
//! of prompt rows too, are stored as [`Precision::Int16`] says.
//!
//! A block that holds a NaN or an infinity gets a NaN scale and zero quants: every product it enters is NaN, so the
//! accident stays visible. A block whose largest magnitude is below [`TINY`] is stored as zeros.

use crate::dense::Precision;
use crate::{Format, Isa, isa};
use std::sync::LazyLock;

/// How a row is multiplied: by which sequence of operations, whatever the number of rows that share a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// As those of a prompt, which are many: what it costs is arithmetic. Weights are unpacked for panels, activations
    /// may be rounded as the level multiplies them fastest.
    Prompt,
    /// As those of an answer, one after the other or a few at once: what it costs is reading the weights.
    Written,
}

impl Way {
    /// The order of such rows.
    pub fn order(self) -> Order {
        match self {
            Way::Prompt => Order::Values,
            Way::Written => Order::Lanes,
        }
    }
}

/// Values that share one scale.
pub const BLOCK: usize = 32;

/// Quants that share one sum: the finest sub-block of any weight format.
pub const SUM_BLOCK: usize = 16;

/// Adding 1.5·2²³ rounds to the nearest integer, ties to even, which the sum holds in its low bits.
const MAGIC: f32 = 12_582_912.0;

/// Steps of a second term in one of the first: a power of two, and what the first leaves out, half a step, is at most
/// one more than the 127 that quants may be.
const SECOND: f32 = 256.0;

/// Blocks with no magnitude of at least this (2⁻¹⁰⁰) count as zero; the reciprocal of their scale could overflow.
pub const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// How the quants, scales and sums of 256 values follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As the values do.
    Values,
    /// In four vectors of 16 lanes, where what shares a lane belongs to the same 16 values: their products are added up
    /// as integers, and scaled once.
    ///
    /// ```text
    /// quants 64v + 16b + 4m + i, all below 4    byte i of lane 4b + v of vector m
    /// sum of values 64v + 16b ..                lane 4b + v
    /// scale of values 64v + 32c .., c below 2   place 4c + v
    /// ```
    Lanes,
}

impl Order {
    /// Where quant `k` of a row stands.
    pub fn quant(self, k: usize) -> usize {
        let (v, b, m, i) = (k / 64 % 4, k / 16 % 4, k / 4 % 4, k % 4);
        match self {
            Order::Values => k,
            Order::Lanes => k / 256 * 256 + 64 * m + 16 * b + 4 * v + i,
        }
    }

    /// Where the scale of value `k` stands.
    pub fn scale(self, k: usize) -> usize {
        let block = k / BLOCK;
        match self {
            Order::Values => block,
            Order::Lanes => block / 8 * 8 + 4 * (block % 2) + block % 8 / 2,
        }
    }

    /// Where the sum that value `k` is a part of stands.
    pub fn sum(self, k: usize) -> usize {
        let block = k / SUM_BLOCK;
        match self {
            Order::Values => block,
            Order::Lanes => block / 16 * 16 + 4 * (block % 4) + block % 16 / 4,
        }
    }
}

/// The forms that rows are kept in: those that the weights they meet ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forms {
    /// 8-bit quants, for quantised weights.
    pub quants: bool,
    /// 13-bit integers, for weights in 16-bit floats. Written rows do without them.
    pub int16: bool,
}

impl Forms {
    /// Quants alone.
    pub const QUANTS: Forms = Forms { quants: true, int16: false };

    /// What rows need that meet weights of these formats.
    pub fn of(formats: impl IntoIterator<Item = Format>) -> Forms {
        formats.into_iter().fold(Forms { quants: false, int16: false }, |forms, format| Forms {
            quants: forms.quants || !format.is_float(),
            int16: forms.int16 || matches!(format, Format::F16 | Format::BF16),
        })
    }
}

/// How a row lies in memory.
#[derive(Clone, Copy)]
pub struct Layout {
    cols: usize,
    way: Way,
    /// Bytes of the fields: quants, scales, sums, filling, bf16 values, 13-bit integers. A multiple of 64 in all.
    fields: [usize; 6],
}

impl Layout {
    /// That of rows of `cols` values in the forms asked for, as far as this CPU has a use for them.
    fn new(way: Way, forms: Forms, cols: usize) -> Layout {
        let k = if forms.quants { padded(cols) } else { 0 };
        let (d, ds) = (k / BLOCK * 4, k / SUM_BLOCK * 4);
        let bf16 = if way == Way::Prompt && has_bf16() { 2 * k } else { 0 };
        let has_int16 = way == Way::Prompt && forms.int16 && has_int16();
        let int16 = if has_int16 { 4 * Precision::Int16.words(cols) } else { 0 };
        let int16 = int16.next_multiple_of(64);
        // At least a record, so that threads can split rows of nothing too.
        let filled = (k + d + ds).next_multiple_of(64).max(if bf16 + int16 == 0 { 64 } else { 0 });
        Layout { cols, way, fields: [k, d, ds, filled - (k + d + ds), bf16, int16] }
    }

    /// [`Record`]s a row takes.
    pub fn record_len(&self) -> usize {
        self.fields.iter().sum::<usize>() / 64
    }

    /// Views one row's records as its fields.
    ///
    /// # Panics
    /// If `records` is not one row long.
    pub fn row_mut<'a>(&self, records: &'a mut [Record]) -> QuantRowMut<'a> {
        assert_eq!(records.len(), self.record_len(), "records of a row of {}", self.cols);
        let [q_len, d_len, ds_len, filling, bf16_len, _] = self.fields;
        let (q, rest) = bytemuck::cast_slice_mut(records).split_at_mut(q_len);
        let (d, rest) = rest.split_at_mut(d_len);
        let (ds, rest) = rest.split_at_mut(ds_len);
        let (bf16, int16) = rest[filling..].split_at_mut(bf16_len);
        let int16: &mut [u32] = bytemuck::cast_slice_mut(int16);
        let n_words = Precision::Int16.words(self.cols).min(int16.len());
        QuantRowMut {
            q: bytemuck::cast_slice_mut::<u8, i8>(q),
            d: bytemuck::cast_slice_mut(d),
            ds: bytemuck::cast_slice_mut(ds),
            bf16: bytemuck::cast_slice_mut(bf16),
            int16: &mut int16[..n_words],
            order: self.way.order(),
        }
    }
}

/// Rows of activations `[m, k]` of one way in the forms of products. Rows are records of one buffer, so that threads can fill
/// disjoint rows.
pub struct QuantRows {
    buffer: Vec<Record>,
    forms: Forms,
    /// Activation rows.
    rows: usize,
    /// Rows of quants to each.
    terms: usize,
    layout: Layout,
}

/// 64 bytes of a row's record; gives the buffer its alignment.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub struct Record([u8; 64]);

/// One row, to be read. All fields cover k rounded up to a multiple of 256, with zeros past k; they are empty in rows
/// without quants.
#[derive(Clone, Copy)]
pub struct QuantRow<'a> {
    /// Quants, `[k]`.
    pub q: &'a [i8],
    /// Scales, `[k / 32]`.
    pub d: &'a [f32],
    /// Sums of 16 quants times their scale, `[k / 16]`.
    pub ds: &'a [f32],
    /// Values as bf16, `[k]`; empty in written rows, and where the CPU has no use for them.
    pub bf16: &'a [u16],
    /// The order of all but the bf16 values.
    pub order: Order,
}

/// One row, to be written; fields as in [`QuantRow`], and the 13-bit integers.
pub struct QuantRowMut<'a> {
    /// Quants.
    pub q: &'a mut [i8],
    /// Scales.
    pub d: &'a mut [f32],
    /// Sums of 16 quants times their scale.
    pub ds: &'a mut [f32],
    /// Values as bf16, `[k]`, zeros past the end of x; empty in written rows, and where the CPU has no use for them.
    pub bf16: &'a mut [u16],
    /// Values as 13-bit integers, as many words as [`Precision::words`] says; empty in rows without them.
    pub int16: &'a mut [u32],
    /// The order of quants, scales and sums.
    pub order: Order,
}

/// Rows of bf16 that a tile holds: [`QuantRows`] with bf16 values are completed to so many with rows of zeros.
const TILE_ROWS: usize = 16;

/// Whether rows carry bf16 values: on a CPU with fast products of them, and in tests, which emulate the tiles.
fn has_bf16() -> bool {
    static HAS: LazyLock<bool> =
        LazyLock::new(|| cfg!(test) || Isa::Amx.is_available() || isa::bf16_products_are_fast());
    *HAS
}

/// Whether a level of this CPU multiplies 13-bit integers.
fn has_int16() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| Isa::Avx2.is_available());
    *HAS
}

/// Columns of a record: a whole number of 256-value super-blocks, so that kernels may read past a ragged end.
fn padded(cols: usize) -> usize {
    cols.next_multiple_of(256)
}

/// [`Record`]s of a buffer.
fn buffer_len(rows: usize, layout: &Layout) -> usize {
    let whole = if layout.fields[4] > 0 { TILE_ROWS } else { 1 };
    rows.checked_next_multiple_of(whole).unwrap_or(usize::MAX).saturating_mul(layout.record_len())
}

impl QuantRows {
    /// Room for `rows` rows of `cols` values, all zero.
    pub fn new(way: Way, forms: Forms, rows: usize, cols: usize) -> Self {
        Self::with_terms(way, forms, 1, rows, cols)
    }

    /// Room for the quants of `rows` rows in two 8-bit terms: rows 2r and 2r + 1 are those of row r.
    pub fn int8x2(way: Way, rows: usize, cols: usize) -> Self {
        Self::with_terms(way, Forms::QUANTS, 2, rows, cols)
    }

    fn with_terms(way: Way, forms: Forms, terms: usize, rows: usize, cols: usize) -> Self {
        let layout = Layout::new(way, forms, cols);
        let buffer = vec![bytemuck::Zeroable::zeroed(); buffer_len(terms * rows, &layout)];
        QuantRows { buffer, forms, rows, terms, layout }
    }

    /// Gives the buffer another shape, keeping its memory, the way, the forms and the number of terms. Contents are unspecified
    /// afterwards.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        (self.rows, self.layout) = (rows, Layout::new(self.layout.way, self.forms, cols));
        let len = buffer_len(self.rows(), &self.layout);
        // No more than is asked for: sizes are planned.
        self.buffer.reserve_exact(len.saturating_sub(self.buffer.len()));
        self.buffer.resize(len, bytemuck::Zeroable::zeroed());
    }

    /// Bytes that `rows` rows of `cols` values in `terms` terms take; sizes beyond the address space count as all of it.
    pub fn bytes(way: Way, forms: Forms, terms: usize, rows: usize, cols: usize) -> usize {
        buffer_len(rows.saturating_mul(terms), &Layout::new(way, forms, cols)).saturating_mul(size_of::<Record>())
    }

    /// Bytes of memory that the buffer holds, used or not.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity() * size_of::<Record>()
    }

    /// How the rows are multiplied.
    pub fn way(&self) -> Way {
        self.layout.way
    }

    /// The forms of the rows.
    pub fn forms(&self) -> Forms {
        self.forms
    }

    /// Number of rows of quants.
    pub fn rows(&self) -> usize {
        self.terms * self.rows
    }

    /// Where the quants, scales and sums of row `r` lie, and the bytes from each row to the next, up to the last.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn fields_from(&self, r: usize) -> (*const i8, *const f32, *const f32, usize) {
        assert!(r < self.rows(), "row {r} of {}", self.rows());
        let stride = self.layout.record_len() * size_of::<Record>();
        let [q, d, ..] = self.layout.fields;
        let bytes: &[u8] = &bytemuck::cast_slice(&self.buffer)[r * stride..self.rows() * stride];
        (bytes.as_ptr().cast(), bytes[q..].as_ptr().cast(), bytes[q + d..].as_ptr().cast(), stride)
    }

    /// How each row lies in memory.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The order of each row.
    pub fn order(&self) -> Order {
        self.layout.way.order()
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.layout.cols
    }

    /// Row `r`.
    ///
    /// # Panics
    /// If there is no such row.
    // Called for every tile of a product: the checks are cheap where they are inlined.
    #[inline(always)]
    pub fn row(&self, r: usize) -> QuantRow<'_> {
        assert!(r < self.rows(), "row {r} of {}", self.rows());
        let n = self.layout.record_len();
        let [q_len, d_len, ds_len, filling, bf16_len, _] = self.layout.fields;
        let (q, rest) = bytemuck::cast_slice(&self.buffer[r * n..(r + 1) * n]).split_at(q_len);
        let (d, rest) = rest.split_at(d_len);
        let (ds, rest) = rest.split_at(ds_len);
        QuantRow {
            q: bytemuck::cast_slice::<u8, i8>(q),
            d: bytemuck::cast_slice(d),
            ds: bytemuck::cast_slice(ds),
            bf16: bytemuck::cast_slice(&rest[filling..filling + bf16_len]),
            order: self.order(),
        }
    }

    /// The words of 13-bit integers of all rows, and how many there are from one row to the next: a row's are the first
    /// [`Precision::words`] of these. None in rows without them.
    pub(crate) fn int16(&self) -> (&[u32], usize) {
        let [.., int16_len] = self.layout.fields;
        if int16_len == 0 {
            return (&[], 0);
        }
        let row = 64 * self.layout.record_len();
        let all: &[u32] = bytemuck::cast_slice(&self.buffer[..self.rows() * self.layout.record_len()]);
        (&all[(row - int16_len) / 4..], row / 4)
    }

    /// Where the bf16 values from value `k` of row `r` on lie, and the bytes from one row to the next. `len` values may
    /// be read in each of 16 rows, which past the last row have unspecified values.
    ///
    /// # Panics
    /// If there is no such row, if its padded end is before `k + len`, or if rows carry no bf16 values.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn bf16(&self, r: usize, k: usize, len: usize) -> (*const u8, usize) {
        let [q, d, ds, filling, bf16, _] = self.layout.fields;
        let (rows, cols) = (self.rows(), self.cols());
        assert!(r < rows && k + len <= bf16 / 2, "values {k} .. of {cols}, row {r} of {rows}");
        let stride = 64 * self.layout.record_len();
        let start = r * stride + q + d + ds + filling + 2 * k;
        let end = start + (TILE_ROWS - 1) * stride + 2 * len;
        // Steps of 16 rows from the first on end within the buffer, which has a multiple of 16 rows.
        (bytemuck::cast_slice::<_, u8>(&self.buffer)[start..end].as_ptr(), stride)
    }

    /// Row `r`, to be written by [`crate::Kernels::quantize_row`].
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, r: usize) -> QuantRowMut<'_> {
        assert!(r < self.rows(), "row {r} of {}", self.rows());
        let n = self.layout.record_len();
        self.layout.row_mut(&mut self.buffer[r * n..(r + 1) * n])
    }

    /// Records of all rows, [`Layout::record_len`] each: threads split this slice by rows.
    pub fn records_mut(&mut self) -> &mut [Record] {
        let records = self.rows() * self.layout.record_len();
        &mut self.buffer[..records]
    }
}

/// The quantiser; see the top of this file. Written so that the compiler turns it into vector code: each level compiles
/// it with its own features, and all give the same bits.
#[inline(always)]
pub(crate) fn quantize_portable(x: &[f32], mut out: QuantRowMut<'_>) {
    quantize_in_order(x, &mut out);
    put_in_order(&mut out);
}

/// Brings a row whose fields are in the order of its values into its own order.
#[inline(always)]
fn put_in_order(row: &mut QuantRowMut<'_>) {
    if row.order == Order::Values {
        return;
    }
    let (q, d, ds) = (row.q.as_chunks_mut::<256>().0, row.d.as_chunks_mut::<8>().0, row.ds.as_chunks_mut::<16>().0);
    for ((q, d), ds) in q.iter_mut().zip(d).zip(ds) {
        let groups: [[[u32; 4]; 4]; 4] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(q));
        let (scales, sums) = (*d, *ds);
        let mut lanes = groups;
        for v in 0..4 {
            for b in 0..4 {
                for m in 0..4 {
                    lanes[m][b][v] = groups[v][b][m];
                }
                ds[4 * b + v] = sums[4 * v + b];
            }
            d[v] = scales[2 * v];
            d[4 + v] = scales[2 * v + 1];
        }
        *q = bytemuck::cast(lanes);
    }
}

/// [`quantize_portable`], in the order of the values.
#[inline(always)]
fn quantize_in_order(x: &[f32], out: &mut QuantRowMut<'_>) {
    let (q, d, ds) = (out.q.as_chunks_mut::<BLOCK>().0, &mut *out.d, out.ds.as_chunks_mut::<2>().0);
    let (blocks, end) = x.as_chunks::<BLOCK>();
    for i in 0..q.len() {
        if let Some(x) = blocks.get(i) {
            quantize_block(x, &mut q[i], &mut d[i], &mut ds[i]);
        } else {
            let mut padded = [0.0; BLOCK];
            if i == blocks.len() {
                padded[..end.len()].copy_from_slice(end);
            }
            quantize_block(&padded, &mut q[i], &mut d[i], &mut ds[i]);
        }
    }
    let (bf16, end) = out.bf16.split_at_mut(x.len().min(out.bf16.len()));
    for (b, &v) in bf16.iter_mut().zip(x) {
        *b = to_bf16(v);
    }
    end.fill(0);
}

/// [`quantize_portable`] into the first term, and what it leaves out into the second, in steps of 1/[`SECOND`] of its
/// own.
#[inline(always)]
pub(crate) fn quantize_int8x2_portable(x: &[f32], mut first: QuantRowMut<'_>, mut second: QuantRowMut<'_>) {
    quantize_in_order(x, &mut first);
    let (q, d) = (first.q.as_chunks::<BLOCK>().0, &*first.d);
    let (rest, _) = second.q.as_chunks_mut::<BLOCK>();
    let (sums, _) = second.ds.as_chunks_mut::<2>();
    let (blocks, end) = x.as_chunks::<BLOCK>();
    for i in 0..q.len() {
        second.d[i] = d[i] * (1.0 / SECOND);
        if let Some(x) = blocks.get(i) {
            quantize_rest(x, &q[i], d[i], &mut rest[i], &mut sums[i]);
        } else {
            let mut padded = [0.0; BLOCK];
            if i == blocks.len() {
                padded[..end.len()].copy_from_slice(end);
            }
            quantize_rest(&padded, &q[i], d[i], &mut rest[i], &mut sums[i]);
        }
    }
    // The first term's are those of the whole value.
    second.bf16.fill(0);
    put_in_order(&mut first);
    put_in_order(&mut second);
}

/// One block of a second term: `x ≈ d·(q + rest / SECOND)`.
#[inline(always)]
fn quantize_rest(x: &[f32; BLOCK], q: &[i8; BLOCK], d: f32, rest: &mut [i8; BLOCK], ds: &mut [f32; 2]) {
    // Neither the zero of a tiny block nor the NaN of an irregular one.
    let regular = d > 0.0;
    for (half, ds) in ds.iter_mut().enumerate() {
        let mut sum = 0;
        for i in SUM_BLOCK * half..SUM_BLOCK * (half + 1) {
            let v = (x[i] / d - f32::from(q[i])) * SECOND;
            rest[i] = if regular { (v.clamp(-127.0, 127.0) + MAGIC).to_bits() as i8 } else { 0 };
            sum += i32::from(rest[i]);
        }
        *ds = d * (1.0 / SECOND) * sum as f32;
    }
}

/// Rounds to bf16, ties to even; NaN stays NaN.
#[inline(always)]
fn to_bf16(v: f32) -> u16 {
    let bits = v.to_bits();
    if v.is_nan() { 0x7fc0 } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}

#[inline(always)]
fn quantize_block(x: &[f32; BLOCK], q: &mut [i8; BLOCK], d: &mut f32, ds: &mut [f32; BLOCK / SUM_BLOCK]) {
    // Magnitudes compare as their bits do, NaN above all.
    let mut max = 0;
    for v in x {
        max = max.max(v.to_bits() & 0x7fff_ffff);
    }
    let max = f32::from_bits(max);
    let regular = max.is_finite() && max >= TINY;
    let inverse = if regular { 127.0 / max } else { 0.0 };
    *d = if max.is_finite() { if regular { max / 127.0 } else { 0.0 } } else { f32::NAN };
    for (half, ds) in ds.iter_mut().enumerate() {
        let mut sum = 0;
        for i in SUM_BLOCK * half..SUM_BLOCK * (half + 1) {
            let v = (x[i] * inverse + MAGIC).to_bits() as i8;
            q[i] = if regular { v } else { 0 };
            sum += i32::from(q[i]);
        }
        *ds = *d * sum as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantize(x: &[f32]) -> QuantRows {
        let mut rows = QuantRows::new(Way::Prompt, Forms::QUANTS, 1, x.len());
        quantize_portable(x, rows.row_mut(0));
        rows
    }

    #[test]
    fn every_value_is_within_half_a_step() {
        let x: Vec<f32> = (0..300).map(|i| ((i * 7919) % 613) as f32 - 306.0 + 0.37).collect();
        let rows = quantize(&x);
        let row = rows.row(0);
        assert_eq!((row.q.len(), row.order), (512, Order::Values));
        for (i, &x) in x.iter().enumerate() {
            let d = row.d[i / BLOCK];
            assert!((x - d * f32::from(row.q[i])).abs() <= 0.5001 * d, "value {i}");
        }
        assert!(row.q[300..].iter().all(|&q| q == 0));
        assert!(row.d[10..].iter().chain(&row.ds[19..]).all(|&d| d == 0.0));
        let sum: i32 = row.q[16..32].iter().map(|&q| i32::from(q)).sum();
        assert_eq!(row.ds[1], row.d[0] * sum as f32);
    }

    #[test]
    fn the_order_of_lanes_holds_each_quant_scale_and_sum_once_where_it_says() {
        let x: Vec<f32> = (0..700).map(|i| ((i * 7919) % 613) as f32 - 306.0 + 0.37).collect();
        let in_order = quantize(&x);
        let mut in_lanes = QuantRows::new(Way::Written, Forms::QUANTS, 1, x.len());
        quantize_portable(&x, in_lanes.row_mut(0));
        let (row, lanes) = (in_order.row(0), in_lanes.row(0));
        assert_eq!(lanes.order, Order::Lanes);
        let mut seen = vec![false; row.q.len()];
        for k in 0..row.q.len() {
            let order = lanes.order;
            assert!(!std::mem::replace(&mut seen[order.quant(k)], true), "quant {k}");
            assert_eq!(lanes.q[order.quant(k)], row.q[k], "quant {k}");
            assert_eq!(lanes.d[order.scale(k)], row.d[k / BLOCK], "scale of {k}");
            assert_eq!(lanes.ds[order.sum(k)], row.ds[k / SUM_BLOCK], "sum of {k}");
            // A lane of the four vectors belongs to one sum, and lane l to sum l.
            assert_eq!(order.quant(k) % 64 / 4, order.sum(k) % 16, "lane of {k}");
        }
    }

    #[test]
    fn int8x2_is_within_a_step_of_the_second() {
        let x: Vec<f32> = (0..300).map(|i| ((i * 7919) % 613) as f32 - 306.0 + 0.37).collect();
        let mut rows = QuantRows::int8x2(Way::Prompt, 1, x.len());
        let layout = rows.layout();
        let (first, second) = rows.records_mut().split_at_mut(layout.record_len());
        quantize_int8x2_portable(&x, layout.row_mut(first), layout.row_mut(&mut second[..layout.record_len()]));
        let (first, second) = (rows.row(0), rows.row(1));
        for (i, &x) in x.iter().enumerate() {
            let b = i / BLOCK;
            assert_eq!(second.d[b], first.d[b] / 256.0);
            let sum = first.d[b] * f32::from(first.q[i]) + second.d[b] * f32::from(second.q[i]);
            let half = if second.q[i].unsigned_abs() == 127 { 1.0 } else { 0.5 };
            assert!((x - sum).abs() <= 1.02 * half * second.d[b], "value {i}: {x} as {sum}");
            assert_ne!(second.q[i], -128);
        }
        assert!(second.q[300..].iter().all(|&q| q == 0) && second.ds[19..].iter().all(|&ds| ds == 0.0));
        let sum: i32 = second.q[16..32].iter().map(|&q| i32::from(q)).sum();
        assert_eq!(second.ds[1], second.d[0] * sum as f32);
    }

    #[test]
    fn halves_round_to_even() {
        let mut x = [0.0; 32];
        x[..6].copy_from_slice(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]);
        assert_eq!(quantize(&x).row(0).q[..6], [127, 0, 2, 2, 0, -2]);
    }

    #[test]
    fn quants_stay_within_127_and_tiny_blocks_are_zero() {
        for max in [f32::MAX, 1.0, 1.1e-30, f32::MIN_POSITIVE, 1e-45, 0.0] {
            let rows = quantize(&[-max; 32]);
            let want = if max < TINY { 0 } else { -127 };
            assert!(rows.row(0).q[..32].iter().all(|&q| q == want), "{max:e}");
            assert!(rows.row(0).d[0].is_finite());
        }
    }

    #[test]
    fn a_block_with_a_nan_or_an_infinity_becomes_nan_and_leaves_its_neighbours_alone() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 96];
            x[40] = bad;
            let rows = quantize(&x);
            let row = rows.row(0);
            assert!(row.d[1].is_nan() && row.ds[2].is_nan() && row.ds[3].is_nan());
            assert_eq!((row.d[0], row.d[2]), (1.0 / 127.0, 1.0 / 127.0));
        }
    }
}
