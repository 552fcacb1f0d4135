//! The register block and the product made of it.

use super::panels::Panels;
use super::words::{Dots, Sums, Words};
use super::{DenseScratch, Product, Store};
use crate::decode::decode_row;
use crate::memory::prefetch;
use crate::simd::Simd;
use crate::{Format, Matrix, Tile};
use std::ops::Range;

/// `acc[i][j] = Σ_w x[i][w] · panel[w][j]`: `MR` rows of words times a panel of `NV` vectors, `words` deep.
///
/// The loops count with indices: their bounds are constants, so that they unroll and the sums stay in registers
/// whatever the optimiser thinks of iterator chains.
///
/// # Safety
/// `words` is not 0; `x[i]` are valid for `words` words and `panel` for `words · NV` vectors.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn block<S: Panels, W: Dots<S>, const MR: usize, const NV: usize>(
    s: S,
    x: [*const u32; MR],
    panel: *const u32,
    words: usize,
    out: &mut impl Sums<S>,
) -> [[S::F32; NV]; MR] {
    let (scale_words, group_words) = W::PRECISION.group();
    // SAFETY: offsets stay below the lengths the caller vouches for, which are not zero.
    unsafe {
        let mut sums = [[s.splat(0.0); NV]; MR];
        let mut start = 0;
        while start < words {
            let end = words.min(start.saturating_add(group_words));
            let mut acc = [[W::nothing(s); NV]; MR];
            for w in start + scale_words..end {
                out.meanwhile();
                let p = panel.add(w * NV * S::LANES);
                let mut wide = [W::load(s, p); NV];
                for j in 1..NV {
                    wide[j] = W::load(s, p.add(j * S::LANES));
                }
                for i in 0..MR {
                    let value = W::splat(s, x[i].add(w).read());
                    for j in 0..NV {
                        acc[i][j] = W::dot(s, acc[i][j], wide[j], value);
                    }
                }
            }
            let scales = panel.add(start * NV * S::LANES).cast::<f32>();
            for i in 0..MR {
                let row = s.splat(x[i].add(start).cast::<f32>().read());
                for j in 0..NV {
                    sums[i][j] = W::join(s, sums[i][j], acc[i][j], row, s.load_from(scales.add(j * S::LANES)));
                }
            }
            start = end;
        }
        sums
    }
}

/// Gives `out` the sums of the rows `range` of `x`, `stride` words apart and `words` long, times a panel of `NV`
/// vectors. The last block repeats rows.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn rows_by_panel<S: Panels, W: Dots<S>, const MR: usize, const NV: usize>(
    s: S,
    (x, stride, words): (&[u32], usize, usize),
    range: Range<usize>,
    panel: &[u32],
    out: &mut impl Sums<S>,
) {
    assert!(words > 0 && panel.len() >= words * NV * S::LANES);
    assert!(range.is_empty() || x.len() >= (range.end - 1) * stride + words);
    for first in range.clone().step_by(MR) {
        let mut rows = [x.as_ptr(); MR];
        for i in 0..MR {
            rows[i] = x[(first + i).min(range.end - 1) * stride..].as_ptr();
        }
        // SAFETY: every row and the panel are as long as asserted above.
        let acc = unsafe { block::<S, W, MR, NV>(s, rows, panel.as_ptr(), words, out) };
        for i in 0..MR.min(range.end - first) {
            for j in 0..NV {
                out.take(s, first + i, j, acc[i][j]);
            }
        }
    }
}

/// [`Words::rows_by_vectors`] by register blocks: [`rows_by_panel`] for a width known at run time.
#[inline(always)]
pub(super) fn rows_by_vectors<S: Panels, W: Dots<S>>(
    s: S,
    x: (&[u32], usize, usize),
    m: usize,
    panel: &[u32],
    vectors: usize,
    out: &mut impl Sums<S>,
) {
    macro_rules! with {
        ($mr:literal, $nv:literal) => {{
            // The last rows, where they are few, go by two.
            let whole = if m % $mr <= $mr - 2 { m / $mr * $mr } else { m };
            rows_by_panel::<S, W, $mr, $nv>(s, x, 0..whole, panel, out);
            rows_by_panel::<S, W, 2, $nv>(s, x, whole..m, panel, out);
        }};
    }
    // 16 registers hold 6 x 2 or 4 x 3 sums beside the operands, 32 hold 6 x 4 or 5 x 5.
    match vectors {
        1 => with!(6, 1),
        2 => with!(6, 2),
        3 if S::WIDEST == 3 => with!(4, 3),
        3 => with!(6, 3),
        4 if S::WIDEST >= 4 => with!(6, 4),
        5 if S::WIDEST >= 5 => with!(5, 5),
        _ => unreachable!("panels are at most {} vectors wide", S::WIDEST),
    }
}

/// Most columns of a panel in products.
const WIDEST_PANEL: usize = 64;

/// Bytes that come from memory together.
const LINE: usize = 64;

/// Values of K whose panel is multiplied before the next is decoded: it stays in the second-level cache, and sums are
/// not often fetched and stored. Whole blocks of every format and whole groups of every precision.
const STRETCH: usize = 2048;

/// Decodes the values `cols` of the rows of `w` from `first` on into a panel `[words, vectors]`; columns without a row
/// have values of no meaning.
#[inline(always)]
fn pack_weights<S: Panels, W: Words<S>>(
    s: S,
    w: Matrix<'_>,
    first: usize,
    cols: Range<usize>,
    vectors: usize,
    scratch: &mut DenseScratch,
) {
    let depth = W::PRECISION.words(cols.len());
    let width = vectors * S::LANES;
    let bytes = |cols: usize| w.format().row_bytes(cols).expect("whole blocks");
    let bytes = bytes(cols.start)..bytes(cols.end);
    let DenseScratch { panel, row, words, .. } = scratch;
    // Whole cache lines, an odd number of them: columns of rows are not all to fall on the same few places of the
    // cache.
    let stride = (depth.div_ceil(16) | 1) * 16;
    row.resize(cols.len(), 0.0);
    words.resize(stride * S::LANES, 0);
    panel.resize(depth * width, 0);
    for vector in (0..width).step_by(S::LANES) {
        for (r, words) in words.chunks_exact_mut(stride).enumerate() {
            // Past the last row it is taken again; its results are dropped.
            let bytes = &w.row((first + vector + r).min(w.rows() - 1))[bytes.clone()];
            decode::<S, W>(s, w.format(), bytes, row, &mut words[..depth]);
        }
        s.turn(words, depth, stride, &mut panel[vector..], width);
    }
}

/// One row of weights as words.
#[inline(always)]
fn decode<S: Panels, W: Words<S>>(s: S, format: Format, bytes: &[u8], row: &mut [f32], words: &mut [u32]) {
    if W::bytes_to_words(s, format, bytes, words) {
        return;
    }
    if format == Format::F16 {
        use half::slice::HalfFloatSliceExt;
        if let Ok(values) = bytemuck::try_cast_slice::<u8, half::f16>(bytes) {
            values.convert_to_f32_slice(row);
            return W::to_words(s, row, words);
        }
    }
    decode_row(format, bytes, row);
    W::to_words(s, row, words);
}

/// Columns of the output that a panel has.
struct Columns<'a, 'y> {
    y: &'a mut Tile<'y>,
    first: usize,
    n: usize,
    /// Whether sums are added to what is there.
    add: bool,
    /// What sums are added to in any case.
    begin: [f32; WIDEST_PANEL],
    /// Weights of the next panel.
    ahead: NextPanel,
}

/// Rows of bytes to be asked for, some lines at a time.
struct NextPanel {
    /// The next line.
    at: *const u8,
    /// Lines left in its row, and in all rows.
    row: usize,
    all: usize,
    /// Lines of a row, and lines to be asked for at a time.
    lines: usize,
    each: usize,
    /// Bytes from the end of a row to the next.
    skip: usize,
}

impl NextPanel {
    /// `rows` rows of `len` bytes, `stride` apart, wherever they may be, for `times` occasions to ask.
    fn new(at: *const u8, rows: usize, len: usize, stride: usize, times: usize) -> NextPanel {
        let lines = len.div_ceil(LINE);
        let each = (rows * lines).div_ceil(times);
        NextPanel { at, row: lines, all: rows * lines, lines, each, skip: stride.wrapping_sub(lines * LINE) }
    }

    #[inline(always)]
    fn ask(&mut self) {
        for _ in 0..self.each.min(self.all) {
            prefetch(self.at);
            self.all -= 1;
            self.row -= 1;
            self.at = self.at.wrapping_add(LINE);
            if self.row == 0 {
                self.at = self.at.wrapping_add(self.skip);
                self.row = self.lines;
            }
        }
    }
}

impl<S: Simd> Sums<S> for Columns<'_, '_> {
    #[inline(always)]
    fn meanwhile(&mut self) {
        self.ahead.ask();
    }

    #[inline(always)]
    fn take(&mut self, s: S, i: usize, j: usize, sum: S::F32) {
        let Columns { y, first, n, add, begin, .. } = self;
        let out = &mut y.row_mut(i)[*first..*first + *n][j * S::LANES..];
        let sum = s.add(sum, s.load(&begin[j * S::LANES..]));
        if out.len() >= S::LANES {
            let sum = if *add { s.add(sum, s.load(out)) } else { sum };
            s.store(sum, out);
        } else {
            let mut last = [0.0; 16];
            s.store(sum, &mut last);
            for (value, sum) in out.iter_mut().zip(&last) {
                *value = if *add { *value + sum } else { *sum };
            }
        }
    }
}

/// The product of [`super::Kernels::dense_matmul`], whose shapes agree.
#[inline(always)]
pub(super) fn product<S: Panels, W: Words<S>>(
    s: S,
    product: &Product<'_>,
    y: &mut Tile<'_>,
    scratch: &mut DenseScratch,
) {
    let Product { w, bias, x, stride, store } = *product;
    let m = y.rows();
    for first in (0..w.rows()).step_by(S::WIDE * S::LANES) {
        let n = (S::WIDE * S::LANES).min(w.rows() - first);
        let vectors = n.div_ceil(S::LANES);
        for start in (0..w.cols()).step_by(STRETCH) {
            let cols = start..w.cols().min(start + STRETCH);
            let words = W::PRECISION.words(cols.len());
            let mut begin = [0.0; WIDEST_PANEL];
            if start == 0 && !bias.is_empty() {
                begin[..n].copy_from_slice(&bias[first..first + n]);
            }
            let add = start > 0 || store == Store::Add;
            let x = &x[W::PRECISION.words(start)..];
            // The next panel's weights: of the same rows, or of those behind them, which may be behind the matrix as
            // well. It is often a part of a larger one.
            let next = if cols.end < w.cols() { (first, cols.end) } else { (first + S::WIDE * S::LANES, 0) };
            let bytes = |cols: usize| w.format().row_bytes(cols).expect("whole blocks");
            let at = w.bytes().as_ptr().wrapping_add(next.0 * w.row_bytes() + bytes(next.1));
            let len = bytes(w.cols().min(next.1 + STRETCH)) - bytes(next.1);
            // Six rows are a block of most widths.
            let ahead = NextPanel::new(at, S::WIDE * S::LANES, len, w.row_bytes(), m.div_ceil(6).max(1) * words);
            let mut out = Columns { y: &mut *y, first, n, add, begin, ahead };
            pack_weights::<S, W>(s, w, first, cols, vectors, scratch);
            W::rows_by_vectors(s, (x, stride, words), m, &scratch.panel, vectors, &mut out);
        }
    }
}
