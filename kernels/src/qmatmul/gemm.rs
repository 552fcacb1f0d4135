//! Matrix times many vectors: the loop of prompts and pictures, bound by arithmetic.
//!
//! All formats meet in one inner loop. 32 weight rows are unpacked, a stretch of K at a time, into a panel that fits
//! the first-level cache, and all activation rows are multiplied with it before the next is unpacked. The panel
//! interleaves the rows in groups of four bytes, so that a lane of a product is a weight row:
//!
//! ```text
//! line (g, v), 64 bytes:  row 16v + 0: values 4g .. 4g + 3 | row 16v + 1: values 4g .. 4g + 3 | ... | row 16v + 15
//! ```
//!
//! where a value is one byte of codes; float formats have one f32 value instead of four codes. The inner loop keeps a
//! tile of 16·V weight rows by C activation rows in registers: it broadcasts four bytes of an activation row to all
//! lanes and multiplies them with V lines. Every 32 codes (16, where scales are that fine) the integer sums are scaled
//! and added up in f32:
//!
//! ```text
//! acc ← acc + f32(Σ codes·q)·(scale·d) + offset·ds
//! ```

use super::Inputs;
use super::blocks::{Blocks, Line};
use super::formats::{self, Float, Quant, Scales};
use crate::memory::prefetch;
use crate::{Matrix, Tile};

/// Bytes of a row in a panel.
pub(super) const ROW_BYTES: usize = 512;
/// Groups of four bytes of a row in a panel.
pub(super) const GROUPS: usize = ROW_BYTES / 4;
/// Weight rows of a panel.
const ROWS: usize = 32;
/// Sub-blocks of 16 codes of a row in a panel.
const SUBS: usize = ROW_BYTES / 16;

/// One weight row of a panel, unpacked.
#[derive(Clone, Copy)]
pub(super) struct UnpackedRow {
    /// 512 codes, or 128 f32 values.
    values: [Line; ROW_BYTES / 64],
    /// Scales of the sub-blocks, each 16 in the order of lanes.
    scales: [Line; SUBS / 16],
    /// Offsets of the sub-blocks, likewise.
    offsets: [Line; SUBS / 16],
}

/// 32 weight rows, interleaved; see the top of this file.
pub(super) struct Panel {
    values: [[Line; ROWS / 16]; GROUPS],
    scales: [[Line; ROWS / 16]; SUBS],
    offsets: [[Line; ROWS / 16]; SUBS],
}

/// Unpacks the values of a panel's stretch, number `stretch` of the row, as far as the row goes; the rest is zeros.
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type Unpack = unsafe fn(row: &[u8], stretch: usize, out: &mut UnpackedRow);

/// Puts 16 rows into half `v` of a panel.
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type Interleave = unsafe fn(rows: &[UnpackedRow; 16], v: usize, panel: &mut Panel);

/// Multiplies a panel with all activation rows; see [`Stretch`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type MultiplyPanel = unsafe fn(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>);

/// Where a panel lies in the matrix.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    /// First weight row.
    pub(super) n: usize,
    /// Number of the stretch along K. All but number 0 add to what is in y.
    pub(super) number: usize,
    /// Values of K.
    pub(super) k: usize,
}

/// The functions of a product that differ between formats and levels.
#[derive(Clone, Copy)]
pub(super) struct PanelFunctions {
    pub(super) unpack: Unpack,
    pub(super) interleave: Interleave,
    pub(super) multiply: MultiplyPanel,
    /// Values of a row in a panel.
    pub(super) values: usize,
}

#[cfg(target_arch = "x86_64")]
impl UnpackedRow {
    /// Bytes 64i .. of the values.
    pub(super) fn line_mut(&mut self, i: usize) -> &mut [u8; 64] {
        &mut self.values[i].0
    }
}

#[cfg(target_arch = "x86_64")]
impl Panel {
    /// The lines of group `g`.
    #[inline(always)]
    pub(super) fn lines(&self, g: usize) -> [&[u8; 64]; ROWS / 16] {
        self.values[g].each_ref().map(|line| &line.0)
    }

    /// The start of the values, all lines one after another.
    pub(super) fn first_line(&self) -> *const u8 {
        self.values.as_ptr().cast()
    }
}

/// All activation rows times all weight rows.
///
/// # Safety
/// The CPU has the level that the functions belong to.
pub(super) unsafe fn multiply(functions: &PanelFunctions, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>) {
    let mut rows = [bytemuck::Zeroable::zeroed(); 16].map(|line: Line| UnpackedRow {
        values: [line; ROW_BYTES / 64],
        scales: [line; SUBS / 16],
        offsets: [line; SUBS / 16],
    });
    let line = bytemuck::Zeroable::zeroed();
    let mut panel = Panel { values: [[line; 2]; GROUPS], scales: [[line; 2]; SUBS], offsets: [[line; 2]; SUBS] };
    let values = functions.values;
    let stretches = w.cols().div_ceil(values);
    let stretch_bytes = w.row_bytes().div_ceil(stretches);
    for n in (0..w.rows()).step_by(ROWS) {
        for number in 0..stretches {
            // Where a row of the next panel lies as seen from one of this: further along, or 32 rows below.
            let next = if number + 1 < stretches { (number + 1) * stretch_bytes } else { ROWS * w.row_bytes() };
            for v in 0..ROWS / 16 {
                for (r, row) in rows.iter_mut().enumerate() {
                    // Past the last row it is taken again; its results are dropped.
                    let bytes = w.row((n + 16 * v + r).min(w.rows() - 1));
                    for line in (0..stretch_bytes).step_by(64) {
                        prefetch(bytes.as_ptr().wrapping_add(next + line));
                    }
                    // SAFETY: the caller vouches for the level.
                    unsafe { (functions.unpack)(bytes, number, row) };
                }
                // SAFETY: as above.
                unsafe { (functions.interleave)(&rows, v, &mut panel) };
            }
            let k = values.min(w.cols() - number * values);
            // SAFETY: as above.
            unsafe { (functions.multiply)(&panel, x, Stretch { n, number, k }, y) };
        }
    }
}

/// The block that `bytes` begin with; where they end before it does, it is made in `end` of what there is and zeros.
#[inline(always)]
pub(super) fn completed<'a, T: bytemuck::Pod>(bytes: &'a [u8], end: &'a mut Option<T>) -> &'a T {
    if let Some(whole) = bytes.get(..size_of::<T>()) {
        return bytemuck::from_bytes(whole);
    }
    let end = end.insert(bytemuck::Zeroable::zeroed());
    bytemuck::bytes_of_mut(end)[..bytes.len()].copy_from_slice(bytes);
    end
}

/// [`Unpack`] for a quantised format.
#[inline(always)]
pub(super) fn unpack_quantised<S: Blocks, F: Quant>(s: S, row: &[u8], stretch: usize, out: &mut UnpackedRow) {
    let super_bytes = size_of::<F::Super>();
    let bytes = &row[stretch * 2 * super_bytes..];
    for i in 0..2 {
        let bytes = bytes.get(i * super_bytes..).unwrap_or(&[]);
        let mut end = None;
        let block = completed::<F::Super>(bytes, &mut end);
        let codes = formats::codes::<S, F>(s, block);
        for j in 0..4 {
            s.store_bytes(codes[j], &mut out.values[4 * i + j].0);
        }
        let Scales { scale, offset } = formats::affine::<S, F>(s, block);
        s.store_x16(scale, bytemuck::cast_mut(&mut out.scales[i]));
        s.store_x16(offset, bytemuck::cast_mut(&mut out.offsets[i]));
    }
}

/// [`Unpack`] for a float format.
#[inline(always)]
pub(super) fn unpack_float<S: Blocks, F: Float>(s: S, row: &[u8], stretch: usize, out: &mut UnpackedRow) {
    let group_bytes = size_of::<F::Group>();
    let bytes = &row[stretch * GROUPS / 16 * group_bytes..];
    for (i, line) in out.values.iter_mut().enumerate() {
        let bytes = bytes.get(i * group_bytes..).unwrap_or(&[]);
        let mut end = None;
        let group = completed::<F::Group>(bytes, &mut end);
        s.store_x16(F::values(s, group), bytemuck::cast_mut(line));
    }
}

/// [`Interleave`]: transposes of 16 by 16 groups of four bytes.
#[inline(always)]
pub(super) fn interleave<S: Blocks>(s: S, rows: &[UnpackedRow; 16], v: usize, panel: &mut Panel) {
    for i in 0..ROW_BYTES / 64 {
        let mut lines = [s.load_bytes(&rows[0].values[i].0); 16];
        for r in 1..16 {
            lines[r] = s.load_bytes(&rows[r].values[i].0);
        }
        let lines = s.transpose(lines);
        for g in 0..16 {
            s.store_bytes(lines[g], &mut panel.values[16 * i + g][v].0);
        }
    }
    for i in 0..SUBS / 16 {
        let mut scales = [s.load_bytes(&rows[0].scales[i].0); 16];
        let mut offsets = [s.load_bytes(&rows[0].offsets[i].0); 16];
        for r in 1..16 {
            scales[r] = s.load_bytes(&rows[r].scales[i].0);
            offsets[r] = s.load_bytes(&rows[r].offsets[i].0);
        }
        let scales = s.transpose(scales);
        let offsets = s.transpose(offsets);
        for lane in 0..16 {
            let sub = 16 * i + 4 * (lane % 4) + lane / 4;
            s.store_bytes(scales[lane], &mut panel.scales[sub][v].0);
            s.store_bytes(offsets[lane], &mut panel.offsets[sub][v].0);
        }
    }
}

/// [`MultiplyPanel`] for quantised formats. `FINE`: scales are those of 16 codes, not of 32.
/// `RUN` as in [`Blocks::block_sums`].
#[inline(always)]
pub(super) fn multiply_quantised<S: Blocks, const V: usize, const C: usize, const FINE: bool, const RUN: usize>(
    s: S,
    panel: &Panel,
    x: Inputs<'_>,
    at: Stretch,
    y: &mut Tile<'_>,
) {
    let blocks = at.k / 32;
    for m in (0..y.rows()).step_by(C) {
        let mut q: [&[[[i8; 4]; 8]]; C] = [&[]; C];
        let mut d: [&[f32]; C] = [&[]; C];
        let mut ds: [&[[f32; 2]]; C] = [&[]; C];
        for c in 0..C {
            // Past the last activation row it is taken again; its results are dropped.
            let row = x.q.row((m + c).min(x.q.rows() - 1));
            let first = at.number * (ROW_BYTES / 32);
            q[c] = &bytemuck::cast_slice(row.q)[first..first + blocks];
            d[c] = &row.d[first..first + blocks];
            ds[c] = &row.ds.as_chunks().0[first..first + blocks];
        }
        for v in (0..ROWS / 16).step_by(V) {
            if at.n + 16 * v >= y.cols() {
                break;
            }
            let mut acc = load_tile::<S, V, C>(s, y, m, at, v);
            for b in 0..blocks {
                for half in 0..if FINE { 2 } else { 1 } {
                    let sums = if FINE {
                        block_sums::<S, V, C, 4, RUN>(s, panel, v, &q, b, 4 * half)
                    } else {
                        block_sums::<S, V, C, 8, RUN>(s, panel, v, &q, b, 0)
                    };
                    for c in 0..C {
                        let [first, second] = ds[c][b];
                        let offset_times = if !FINE {
                            first + second
                        } else if half == 0 {
                            first
                        } else {
                            second
                        };
                        let offset_times = s.splat_x16(offset_times);
                        let d = s.splat_x16(d[c][b]);
                        for i in 0..V {
                            let scale = s.load_x16(bytemuck::cast_ref(&panel.scales[2 * b + half][v + i]));
                            let offset = s.load_x16(bytemuck::cast_ref(&panel.offsets[2 * b + half][v + i]));
                            let sum = s.to_f32(sums[c][i]);
                            acc[c][i] = s.fma_x16(sum, s.mul_x16(scale, d), s.fma_x16(offset, offset_times, acc[c][i]));
                        }
                    }
                }
            }
            store_tile::<S, V, C>(s, y, m, at, v, acc);
        }
    }
}

/// Integer sums over groups `first .. first + G` of block `b`.
#[inline(always)]
fn block_sums<S: Blocks, const V: usize, const C: usize, const G: usize, const RUN: usize>(
    s: S,
    panel: &Panel,
    v: usize,
    q: &[&[[[i8; 4]; 8]]; C],
    b: usize,
    first: usize,
) -> [[S::Ints; V]; C] {
    let mut x = [&[[0; 4]; G]; C];
    for c in 0..C {
        x[c] = q[c][b][first..first + G].try_into().expect("G groups");
    }
    let lines = panel.values[8 * b + first..][..G].try_into().expect("G groups");
    s.block_sums::<V, C, G, RUN>(lines, v, x)
}

/// [`MultiplyPanel`] for float formats.
#[inline(always)]
pub(super) fn multiply_float<S: Blocks, const V: usize, const C: usize>(
    s: S,
    panel: &Panel,
    x: Inputs<'_>,
    at: Stretch,
    y: &mut Tile<'_>,
) {
    let cols = x.x.len() / x.q.rows();
    for m in (0..y.rows()).step_by(C) {
        let mut xs: [&[f32]; C] = [&[]; C];
        for c in 0..C {
            let m = (m + c).min(x.q.rows() - 1);
            xs[c] = &x.x[m * cols + at.number * GROUPS..][..at.k];
        }
        for v in (0..ROWS / 16).step_by(V) {
            if at.n + 16 * v >= y.cols() {
                break;
            }
            let mut acc = load_tile::<S, V, C>(s, y, m, at, v);
            for k in 0..at.k.min(GROUPS) {
                for c in 0..C {
                    let x = s.splat_x16(xs[c][k]);
                    for i in 0..V {
                        let values = s.load_x16(bytemuck::cast_ref(&panel.values[k][v + i]));
                        acc[c][i] = s.fma_x16(values, x, acc[c][i]);
                    }
                }
            }
            store_tile::<S, V, C>(s, y, m, at, v, acc);
        }
    }
}

/// The sums so far of activation rows `m ..` and lines `v ..` of the panel at `at`.
#[inline(always)]
pub(super) fn load_tile<S: Blocks, const V: usize, const C: usize>(
    s: S,
    y: &Tile<'_>,
    m: usize,
    at: Stretch,
    v: usize,
) -> [[S::Floats; V]; C] {
    let mut acc = [[s.splat_x16(0.0); V]; C];
    if at.number > 0 {
        for c in 0..C.min(y.rows() - m) {
            let row = &y.row(m + c)[at.n + 16 * v..];
            for i in 0..V {
                let row = row.get(16 * i..).unwrap_or(&[]);
                acc[c][i] = if let Some(lanes) = row.first_chunk() {
                    s.load_x16(lanes)
                } else {
                    let mut lanes = [0.0; 16];
                    lanes[..row.len()].copy_from_slice(row);
                    s.load_x16(&lanes)
                };
            }
        }
    }
    acc
}

/// Writes the tile that [`load_tile`] began, as far as there are rows.
#[inline(always)]
pub(super) fn store_tile<S: Blocks, const V: usize, const C: usize>(
    s: S,
    y: &mut Tile<'_>,
    m: usize,
    at: Stretch,
    v: usize,
    acc: [[S::Floats; V]; C],
) {
    for c in 0..C.min(y.rows() - m) {
        let row = &mut y.row_mut(m + c)[at.n + 16 * v..];
        for i in 0..V {
            let row = row.get_mut(16 * i..).unwrap_or(&mut []);
            if let Some(lanes) = row.first_chunk_mut() {
                s.store_x16(acc[c][i], lanes);
            } else {
                let mut lanes = [0.0; 16];
                s.store_x16(acc[c][i], &mut lanes);
                row.copy_from_slice(&lanes[..row.len()]);
            }
        }
    }
}
