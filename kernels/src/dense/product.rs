//! The register block and the product made of it.

use super::lanes::{Dots, Lanes};
use super::{DenseScratch, Product, Store};
use crate::decode::decode_row;
use crate::{Format, Matrix, Tile};

/// `acc[i][j] = Σ_w x[i][w] · panel[w][j]`: `MR` rows of words times a panel of `NV` vectors, `words` deep.
///
/// The loops count with indices: their bounds are constants, so that they unroll and the sums stay in registers whatever
/// the optimiser thinks of iterator chains.
///
/// # Safety
/// The CPU has the level; `words` is not 0; `x[i]` are valid for `words` words and `panel` for `words · NV` vectors.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn block<L: Dots, const MR: usize, const NV: usize>(
    x: [*const u32; MR],
    panel: *const u32,
    words: usize,
) -> [[L::V; NV]; MR] {
    let (scale_words, group_words) = L::PRECISION.group();
    // SAFETY: offsets stay below the lengths the caller vouches for, which are not zero.
    unsafe {
        let mut sums = [[L::splat(0.0); NV]; MR];
        let mut start = 0;
        while start < words {
            let end = words.min(start.saturating_add(group_words));
            let mut acc = [[L::nothing(); NV]; MR];
            for w in start + scale_words..end {
                let p = panel.add(w * NV * L::N);
                let mut wide = [L::load_words(p); NV];
                for j in 1..NV {
                    wide[j] = L::load_words(p.add(j * L::N));
                }
                for i in 0..MR {
                    let value = L::splat_word(x[i].add(w));
                    for j in 0..NV {
                        acc[i][j] = L::dot(acc[i][j], wide[j], value);
                    }
                }
            }
            let scales = panel.add(start * NV * L::N).cast::<f32>();
            for i in 0..MR {
                let row = L::splat(x[i].add(start).cast::<f32>().read());
                for j in 0..NV {
                    sums[i][j] = L::join(sums[i][j], acc[i][j], row, L::load(scales.add(j * L::N)));
                }
            }
            start = end;
        }
        sums
    }
}

/// Calls `row(i, sums of row i)` for each of the `m` rows of `x`, `stride` words apart and `words` long, times a panel of
/// `NV` vectors. The last block repeats rows rather than having kernels of its own.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn rows_by_panel<L: Dots, const MR: usize, const NV: usize>(
    (x, stride, words): (&[u32], usize, usize),
    m: usize,
    panel: &[u32],
    mut row: impl FnMut(usize, &[L::V; NV]),
) {
    assert!(words > 0 && panel.len() >= words * NV * L::N && (m == 0 || x.len() >= (m - 1) * stride + words));
    let mut first = 0;
    while first < m {
        let mut rows = [x.as_ptr(); MR];
        for i in 0..MR {
            rows[i] = x[(first + i).min(m - 1) * stride..].as_ptr();
        }
        // SAFETY: the level as the caller; every row and the panel are as long as asserted above.
        let acc = unsafe { block::<L, MR, NV>(rows, panel.as_ptr(), words) };
        for i in 0..MR.min(m - first) {
            row(first + i, &acc[i]);
        }
        first += MR;
    }
}

/// [`Lanes::rows_by_vectors`] by register blocks: [`rows_by_panel`] for a width known at run time.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
pub(super) unsafe fn rows_by_vectors<L: Dots>(
    x: (&[u32], usize, usize),
    m: usize,
    panel: &[u32],
    vectors: usize,
    mut row: impl FnMut(usize, usize, L::V),
) {
    macro_rules! with {
        ($mr:literal, $nv:literal) => {
            rows_by_panel::<L, $mr, $nv>(x, m, panel, |i, sums| {
                #[allow(clippy::needless_range_loop)]
                for j in 0..$nv {
                    row(i, j, sums[j]);
                }
            })
        };
    }
    // SAFETY: as the caller.
    unsafe {
        // 16 registers hold 6 x 2 or 4 x 3 sums beside the operands, 32 hold 6 x 4 or 5 x 5.
        match vectors {
            1 => with!(6, 1),
            2 => with!(6, 2),
            3 if L::WIDEST == 3 => with!(4, 3),
            3 => with!(6, 3),
            4 if L::WIDEST >= 4 => with!(6, 4),
            5 if L::WIDEST >= 5 => with!(5, 5),
            _ => unreachable!("panels are at most {} vectors wide", L::WIDEST),
        }
    }
}

/// Rows that are decoded side by side before they are turned into columns; widths are multiples of it.
const TURN: usize = 8;

/// Decodes up to `width` rows of `w` from `first` on into a panel `[words, width]`, zeros in the columns without a row.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn pack_weights<L: Lanes>(w: Matrix<'_>, first: usize, width: usize, scratch: &mut DenseScratch) {
    let depth = L::PRECISION.words(w.cols());
    let DenseScratch { panel, row, words, .. } = scratch;
    row.resize(w.cols(), 0.0);
    words.resize(depth * TURN, 0);
    panel.resize(depth * width, 0);
    for start in (0..width).step_by(TURN) {
        for (j, words) in words.chunks_exact_mut(depth).enumerate() {
            match first + start + j {
                // SAFETY: as the caller.
                r if r < w.rows() => unsafe { decode::<L>(w.format(), w.row(r), row, words) },
                _ => words.fill(0),
            }
        }
        turn(words, depth, panel, start, width);
    }
}

/// Writes [`TURN`] rows of `depth` words as columns `start..` of a panel `[depth, width]`.
#[inline(always)]
pub(super) fn turn(rows: &[u32], depth: usize, panel: &mut [u32], start: usize, width: usize) {
    let rows: [&[u32]; TURN] = std::array::from_fn(|j| &rows[j * depth..][..depth]);
    for (i, out) in panel.chunks_exact_mut(width).enumerate() {
        let out: &mut [u32; TURN] = (&mut out[start..start + TURN]).try_into().expect("as long as the range");
        *out = std::array::from_fn(|j| rows[j][i]);
    }
}

/// One row of weights as words.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn decode<L: Lanes>(format: Format, bytes: &[u8], row: &mut [f32], words: &mut [u32]) {
    if format == Format::F16 {
        use half::slice::HalfFloatSliceExt;
        if let Ok(values) = bytemuck::try_cast_slice::<u8, half::f16>(bytes) {
            values.convert_to_f32_slice(row);
            // SAFETY: as the caller.
            return unsafe { L::to_words(row, words) };
        }
    }
    decode_row(format, bytes, row);
    // SAFETY: as the caller.
    unsafe { L::to_words(row, words) }
}

/// The product of [`super::Kernels::dense_matmul`].
///
/// # Safety
/// The CPU has the level, and the shapes agree.
#[inline(always)]
pub(super) unsafe fn product<L: Lanes>(product: &Product<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch) {
    let Product { w, bias, x, store } = *product;
    let width = L::WIDE * L::N;
    let words = L::PRECISION.words(w.cols());
    let m = y.rows();
    let mut sums = vec![0.0; width];
    for first in (0..w.rows()).step_by(width) {
        let n = width.min(w.rows() - first);
        // SAFETY: the level as the caller.
        unsafe { pack_weights::<L>(w, first, width, scratch) };
        sums[..n].fill(0.0);
        if !bias.is_empty() {
            sums[..n].copy_from_slice(&bias[first..first + n]);
        }
        let vectors = n.div_ceil(L::N);
        let mut row_sums = vec![0.0; width];
        // SAFETY: the level as the caller; the vector loads and stores below stay inside `sums`, `row_sums` and `out`,
        // which are at least `L::N` long from their offset on.
        unsafe {
            L::rows_by_vectors((x, words, words), m, &scratch.panel, L::WIDE, |i, j, sum| {
                if j >= vectors {
                    return;
                }
                let sum = L::add(sum, L::load(sums[j * L::N..][..L::N].as_ptr()));
                let out = &mut y.row_mut(i)[first..first + n][j * L::N..];
                if out.len() >= L::N {
                    let sum = if store == Store::Add { L::add(sum, L::load(out.as_ptr())) } else { sum };
                    L::store(out.as_mut_ptr(), sum);
                } else {
                    L::store(row_sums.as_mut_ptr(), sum);
                    for (value, sum) in out.iter_mut().zip(&row_sums) {
                        *value = if store == Store::Add { *value + sum } else { *sum };
                    }
                }
            });
        }
    }
}
