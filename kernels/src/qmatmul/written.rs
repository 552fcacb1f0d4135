//! Matrix times up to 16 written rows: what [`super::gemv`] gives each of them alone, bit for bit, with the weights
//! unpacked once for all.
//!
//! A strip of weight rows is unpacked, a stretch of super-blocks at a time, into a buffer that stays in the first-level
//! cache: codes in the [order of lanes](crate::activations::Order::Lanes), and for each 256 a vector of scales and one of
//! offsets. Then all activation rows pass by, a tile of R weight rows by C of them at a time: its sums stay in registers
//! over the stretch, codes are loaded once for C rows and activations once for R. Between stretches the sums, 16 lanes
//! of each pair of rows, are parked in an array, and in the end their lanes are added up.
//!
//! What belongs to a lane is computed within it, in the order of [`super::gemv`]. So a tile works on one register of a
//! logical vector after the other: where 64 bytes take several, there are enough of them for larger tiles.

use super::blocks::{Blocks, Codes, Line};
use super::entry::{Many, Multiply, Written};
use super::formats::{self, Quant, Scales};
use super::gemm::completed;
use crate::memory::prefetch;
use crate::{Inputs, Matrix, Tile};

/// Activation rows that share the unpacked weights.
pub(super) const ROWS: usize = 16;
/// Bytes of weights that are multiplied with four rows after four: they stay in the caches.
const BYTES: usize = 32 << 10;
/// Weight rows of a strip.
const STRIP: usize = 4;
/// Super-blocks of a stretch.
const STRETCH: usize = 4;

/// A stretch of a weight row, unpacked.
#[derive(Clone, Copy, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct UnpackedRow {
    /// Codes in the order of lanes.
    codes: [[Line; 4]; STRETCH],
    /// The scale of each lane; a sixteenth of it, where codes are 16 times as large.
    scales: [Line; STRETCH],
    /// What the sums of a lane's activations are multiplied with, of formats where that is not [`UnpackedRow::scales`].
    offsets: [Line; STRETCH],
}

/// A stretch of a strip.
pub(super) type Strip = [UnpackedRow; STRIP];

/// Sums of 16 lanes, `[weight row, activation row]`.
pub(super) type Sums = [[[f32; 16]; ROWS]; STRIP];

/// Unpacks `supers` super-blocks of a row from number `first` on, and asks memory for as many bytes at `next`.
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type Unpack = unsafe fn(row: &[u8], first: usize, supers: usize, next: *const u8, out: &mut UnpackedRow);

/// Multiplies a stretch of a strip with some activation rows.
///
/// # Safety
/// The CPU has the level the function belongs to, and `x` has the activation rows and super-blocks of the stretch.
pub(super) type MultiplyTile = unsafe fn(strip: &Strip, x: &Columns, at: Stretch, sums: &mut Sums);

/// Adds up the lanes of the sums: `y[m, n + r] = Σ sums[r][m]`, as far as y has rows and columns.
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type AddUp = unsafe fn(sums: &Sums, n: usize, y: &mut Tile<'_>);

/// Where a tile lies.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    /// Its first activation row.
    m: usize,
    /// Its first super-block. All stretches but that at 0 add to the sums.
    first: usize,
    /// Its super-blocks.
    supers: usize,
    /// What the codes of a format with a centre count for 0, negated.
    minus_centre: f32,
}

/// What the sum of a lane's activations is multiplied with: nothing, where zero is the code 0.
pub(super) const NOTHING: u8 = 0;
/// The offset.
pub(super) const OFFSET: u8 = 1;
/// The scale times the centre of the codes. In some lanes a sixteenth of it stands with the scales, so that it has a
/// place of its own.
pub(super) const CENTRE_IN_PLACE: u8 = 2;
/// The scale times the centre of the codes.
pub(super) const CENTRE: u8 = 3;

/// Which of these a format takes at a level.
pub(super) fn offsets<S: Blocks, F: Quant>() -> u8 {
    match formats::centre::<S, F>() {
        None => OFFSET,
        Some(0.0) => NOTHING,
        Some(_) if F::in_place::<S>() => CENTRE_IN_PLACE,
        Some(_) => CENTRE,
    }
}

/// Activation rows as they lie in memory.
pub(super) struct Columns {
    /// Quants, scales and sums of the first row.
    first: (*const [[i8; 64]; 4], *const [f32; 8], *const [f32; 16]),
    /// Bytes from one row of one term to the next.
    stride: usize,
}

impl Columns {
    /// 256 activations of term `t` of row `m`, number `k` of the row.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn at<'a, const TERMS: usize>(
        &self,
        m: usize,
        t: usize,
        k: usize,
    ) -> (&'a [[i8; 64]; 4], &'a [f32; 8], &'a [f32; 16]) {
        let ((q, d, ds), bytes) = (self.first, (TERMS * m + t) * self.stride);
        // SAFETY: the caller vouches for them.
        unsafe { (&*q.add(k).byte_add(bytes), &*d.add(k).byte_add(bytes), &*ds.add(k).byte_add(bytes)) }
    }
}

/// Functions for tiles of some activation rows.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) one: MultiplyTile,
    pub(super) two: MultiplyTile,
    pub(super) four: MultiplyTile,
}

/// The functions of a product that differ between formats and levels.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) unpack: Unpack,
    pub(super) multiply: Tiles,
    /// The same for activations in two terms.
    pub(super) multiply_int8x2: Tiles,
    pub(super) add_up: AddUp,
    /// Bytes of a super-block.
    pub(super) super_bytes: usize,
    /// What the codes of a format with a centre count for 0, negated.
    pub(super) minus_centre: f32,
}

/// All activation rows, of `TERMS` rows of `x` each, times all rows of `w`.
///
/// # Safety
/// The CPU has the level that the functions belong to.
pub(super) unsafe fn multiply<const TERMS: usize>(functions: &Written, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>) {
    for first in (0..y.rows()).step_by(ROWS) {
        let m = ROWS.min(y.rows() - first);
        let mut y = y.slice_rows(first..first + m);
        // SAFETY: the caller vouches for the level.
        unsafe {
            match (m, &functions.many) {
                (1, _) => (functions.one)(w, x, first, &mut y),
                (2, _) => (functions.two)(w, x, first, &mut y),
                (4, Many::Strips { four: Some(four), .. }) => four(w, x, first, &mut y),
                (_, Many::Strips { strips, .. }) => multiply_strips::<TERMS>(strips, w, x, first, &mut y),
                (_, &Many::Fours(four)) => multiply_fours(functions, four, w, x, first, &mut y),
            }
        }
    }
}

/// The activation rows from `first` on, as many as `y` has, times all rows of `w`: four after four, for as many weights at
/// a time as stay in the caches.
///
/// # Safety
/// The CPU has the level that the functions belong to.
unsafe fn multiply_fours(
    functions: &Written,
    four: Multiply,
    w: Matrix<'_>,
    x: Inputs<'_>,
    first: usize,
    y: &mut Tile<'_>,
) {
    let rows = (BYTES / w.row_bytes()).max(1);
    for n in (0..w.rows()).step_by(rows) {
        let range = n..w.rows().min(n + rows);
        let (w, mut y) = (w.slice_rows(range.clone()), y.columns(range));
        for m in (0..y.rows()).step_by(4) {
            let end = y.rows().min(m + 4);
            let multiply = match end - m {
                1 => functions.one,
                2 => functions.two,
                _ => four,
            };
            // SAFETY: the caller vouches for the level.
            unsafe { multiply(w, x, first + m, &mut y.slice_rows(m..end)) };
        }
    }
}

/// The activation rows from `first` on, as many as `y` has and no more than [`ROWS`], of `TERMS` rows of `x` each, times
/// all rows of `w`.
///
/// # Safety
/// The CPU has the level that the functions belong to.
unsafe fn multiply_strips<const TERMS: usize>(
    functions: &Functions,
    w: Matrix<'_>,
    x: Inputs<'_>,
    first: usize,
    y: &mut Tile<'_>,
) {
    let supers = w.row_bytes().div_ceil(functions.super_bytes);
    let tiles = if TERMS == 2 { &functions.multiply_int8x2 } else { &functions.multiply };
    let rows = TERMS * first..TERMS * (first + y.rows());
    assert!(rows.end <= x.q.rows() && 256 * supers <= x.q.row(rows.start).q.len(), "rows {rows:?} of {}", x.q.rows());
    let (q, d, ds, stride) = x.q.fields_from(rows.start);
    let x = Columns { first: (q.cast(), d.cast(), ds.cast()), stride };
    let mut strip: Strip = bytemuck::Zeroable::zeroed();
    let mut sums: Sums = [[[0.0; 16]; ROWS]; STRIP];
    for n in (0..w.rows()).step_by(STRIP) {
        for start in (0..supers).step_by(STRETCH) {
            let len = STRETCH.min(supers - start);
            for (r, out) in strip.iter_mut().enumerate() {
                // Past the last row it is taken again; its results are dropped.
                let row = w.row((n + r).min(w.rows() - 1));
                // What is unpacked in this place next: more of the row, or one of the next strip.
                let skipped = if start + len < supers { start + len } else { STRIP * supers };
                let next = row.as_ptr().wrapping_add(skipped * functions.super_bytes);
                // SAFETY: the caller vouches for the level.
                unsafe { (functions.unpack)(row, start, len, next, out) };
            }
            let mut m = 0;
            while m < y.rows() {
                let (c, multiply) = match y.rows() - m {
                    1 => (1, tiles.one),
                    2 | 3 => (2, tiles.two),
                    _ => (4, tiles.four),
                };
                let at = Stretch { m, first: start, supers: len, minus_centre: functions.minus_centre };
                // SAFETY: as above; the columns are those of as many rows and super-blocks.
                unsafe { multiply(&strip, &x, at, &mut sums) };
                m += c;
            }
        }
        // SAFETY: as above.
        unsafe { (functions.add_up)(&sums, n, y) };
    }
}

/// [`Unpack`] for a format.
#[inline(always)]
pub(super) fn unpack<S: Blocks, F: Quant>(
    s: S,
    row: &[u8],
    first: usize,
    supers: usize,
    next: *const u8,
    out: &mut UnpackedRow,
) {
    let super_bytes = size_of::<F::Super>();
    for i in 0..supers.min(STRETCH) {
        for offset in (0..super_bytes).step_by(64) {
            prefetch(next.wrapping_add(i * super_bytes + offset));
        }
        let mut end = None;
        let block = completed::<F::Super>(&row[(first + i) * super_bytes..], &mut end);
        let codes = F::exchanged(s, block);
        for m in 0..4 {
            s.store_bytes(codes[m], &mut out.codes[i][m].0);
        }
        let Scales { scale, offset } = F::scales(s, block);
        s.store_x16(formats::scales_of_lanes::<S, F>(s, scale), bytemuck::cast_mut(&mut out.scales[i]));
        match offsets::<S, F>() {
            OFFSET => s.store_x16(offset, bytemuck::cast_mut(&mut out.offsets[i])),
            CENTRE_IN_PLACE => s.store_x16(scale, bytemuck::cast_mut(&mut out.offsets[i])),
            _ => {}
        }
    }
}

/// [`MultiplyTile`], R weight rows at a time, for C activation rows of `TERMS` terms. `CODES`: 0 for those of [`Blocks::signed`], or
/// the largest there are.
///
/// # Safety
/// As of [`MultiplyTile`].
#[inline(always)]
pub(super) unsafe fn multiply_tile<
    S: Blocks,
    const R: usize,
    const C: usize,
    const TERMS: usize,
    const CODES: u8,
    const OFFSETS: u8,
>(
    s: S,
    strip: &Strip,
    x: &Columns,
    at: Stretch,
    sums: &mut Sums,
) {
    let kind = if CODES == 0 { Codes::Signed } else { Codes::UpTo(CODES) };
    assert!(at.supers <= STRETCH && at.m + C <= ROWS);
    let minus_centre = s.splat(at.minus_centre);
    for step in 0..STRIP / R * (16 / S::LANES) {
        let (n, part) = (step / (16 / S::LANES) * R, step % (16 / S::LANES));
        let lanes = part * S::LANES;
        let mut acc = [[s.splat(0.0); C]; R];
        if at.first > 0 {
            for i in 0..R {
                for c in 0..C {
                    acc[i][c] = s.load(&sums[n + i][at.m + c][lanes..]);
                }
            }
        }
        for k in 0..at.supers {
            let mut codes = [[s.part(&strip[n].codes[k][0].0, part); 4]; R];
            let mut scale = [minus_centre; R];
            let mut offset = [minus_centre; R];
            for i in 0..R {
                let row = &strip[n + i];
                for g in 0..4 {
                    codes[i][g] = s.part(&row.codes[k][g].0, part);
                }
                scale[i] = s.load(&bytemuck::cast_ref::<_, [f32; 16]>(&row.scales[k])[lanes..]);
                offset[i] = match OFFSETS {
                    OFFSET | CENTRE_IN_PLACE => s.load(&bytemuck::cast_ref::<_, [f32; 16]>(&row.offsets[k])[lanes..]),
                    _ => scale[i],
                };
            }
            for c in 0..C {
                // SAFETY: the caller vouches for the rows and their super-blocks.
                let ((q, _, ds), (q_last, d, ds_last)) = unsafe {
                    (x.at::<TERMS>(at.m + c, 0, at.first + k), x.at::<TERMS>(at.m + c, TERMS - 1, at.first + k))
                };
                // The scale of the last term is that of the two together.
                let d = s.part_of_eight(d, part);
                if OFFSETS != NOTHING {
                    let mut ds = s.load(&ds[lanes..]);
                    if TERMS == 2 {
                        ds = s.add(ds, s.load(&ds_last[lanes..]));
                    }
                    if OFFSETS != OFFSET {
                        ds = s.mul(ds, minus_centre);
                    }
                    for i in 0..R {
                        acc[i][c] = s.mul_add(offset[i], ds, acc[i][c]);
                    }
                }
                let mut dots = s.part_dots(kind, &codes, q, part);
                if TERMS == 2 {
                    let second = s.part_dots(kind, &codes, q_last, part);
                    for i in 0..R {
                        dots[i] = s.part_two_digits(dots[i], second[i]);
                    }
                }
                for i in 0..R {
                    acc[i][c] = s.mul_add(s.part_to_f32(dots[i]), s.mul(scale[i], d), acc[i][c]);
                }
            }
        }
        for i in 0..R {
            for c in 0..C {
                s.store(acc[i][c], &mut sums[n + i][at.m + c][lanes..]);
            }
        }
    }
}

/// [`AddUp`].
#[inline(always)]
pub(super) fn add_up<S: Blocks>(s: S, sums: &Sums, n: usize, y: &mut Tile<'_>) {
    for m in 0..y.rows().min(ROWS) {
        let out = &mut y.row_mut(m)[n..];
        for r in 0..STRIP.min(out.len()) {
            out[r] = s.sum(s.load_x16(&sums[r][m]));
        }
    }
}
