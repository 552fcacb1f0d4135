//! Matrix times a few vectors: the loop of decoding, bound by the memory that holds the weights.
//!
//! Weights are unpacked once for all activation rows. Weight rows run side by side or one by one, as the level likes it
//! best. For each 256 values and each pair of rows, where a lane stands for
//! [16 of the values](crate::activations::Order::Lanes):
//!
//! ```text
//! acc ← acc + offset[16]·ds[16]                       Σq·d of each 16 activations, precomputed
//! acc ← acc + f32(Σ codes·q [16])·(scale·d)[16]       four times 64 products, added up as integers
//! ```

use super::Inputs;
use super::blocks::Blocks;
use super::formats::{self, Float, Quant, Scales};
use crate::activations::QuantRow;
use crate::memory::{AHEAD, prefetch};
use crate::{Matrix, Tile};

/// Bytes of 256 values above which a format is read row by row: 5 bits a value and some.
const MANY_BITS: usize = 192;

/// What to ask memory for while groups of rows are multiplied: every line of the matrix once, in the order in which
/// they lie, [`AHEAD`] bytes before its use in each row of the group.
struct Ahead(*const u8);

impl Ahead {
    /// Asks for the first bytes of all: a product that began without them would wait for each line in turn.
    #[inline(always)]
    fn new(w: Matrix<'_>, rows: usize) -> Ahead {
        let mut ahead = Ahead(w.bytes().as_ptr());
        // The last row of a group is needed when its first one is.
        ahead.ask(rows * AHEAD + (rows - 1) * w.row_bytes());
        ahead
    }

    /// Asks for the next `bytes` bytes.
    #[inline(always)]
    fn ask(&mut self, bytes: usize) {
        let mut offset = 0;
        while offset < bytes {
            prefetch(self.0.wrapping_add(offset));
            offset += 64;
        }
        self.0 = self.0.wrapping_add(bytes);
    }
}

/// The activation rows from `first` on, M of them or fewer, times all weight rows. `TERMS`: the rows of `x` that make an
/// activation row.
#[inline(always)]
pub(super) fn quantised<S: Blocks, F: Quant, const M: usize, const TERMS: usize>(
    s: S,
    w: Matrix<'_>,
    x: Inputs<'_>,
    first: usize,
    y: &mut Tile<'_>,
) {
    let supers = w.row_bytes().div_ceil(size_of::<F::Super>());
    let mut columns = [[Column::EMPTY; TERMS]; M];
    for m in 0..M {
        for t in 0..TERMS {
            // Past the last activation row it is taken again, and its results are dropped.
            columns[m][t] = Column::of(x.q.row(TERMS * (first + m.min(y.rows() - 1)) + t), supers);
        }
    }
    // Formats of more bits take less arithmetic a byte: row by row they come in the order they lie in, which the
    // prefetchers of the CPU reward.
    let rows = if M > 1 || S::ROWS == 4 && size_of::<F::Super>() > MANY_BITS { 1 } else { S::ROWS };
    let mut ahead = Ahead::new(w, rows);
    for n in (0..w.rows()).step_by(rows) {
        match rows {
            4 => quantised_rows::<S, F, M, TERMS, 4>(s, w, &columns, n, &mut ahead, y),
            2 => quantised_rows::<S, F, M, TERMS, 2>(s, w, &columns, n, &mut ahead, y),
            _ => quantised_rows::<S, F, M, TERMS, 1>(s, w, &columns, n, &mut ahead, y),
        }
    }
}

/// One row of quantised activations, 256 at a time.
#[derive(Clone, Copy)]
struct Column<'a> {
    q: &'a [[[i8; 64]; 4]],
    d: &'a [[f32; 8]],
    ds: &'a [[f32; 16]],
}

impl<'a> Column<'a> {
    const EMPTY: Column<'a> = Column { q: &[], d: &[], ds: &[] };

    /// The first `supers` times 256 activations of a row.
    #[inline(always)]
    fn of(row: QuantRow<'a>, supers: usize) -> Column<'a> {
        Column {
            q: &bytemuck::cast_slice(row.q)[..supers],
            d: &row.d.as_chunks().0[..supers],
            ds: &row.ds.as_chunks().0[..supers],
        }
    }
}

/// 256 quantised activations.
#[derive(Clone, Copy)]
struct Activations<'a> {
    q: &'a [[i8; 64]; 4],
    d: &'a [f32; 8],
    ds: &'a [f32; 16],
}

/// Weight rows `n .. n + R`. Past the last one it is taken again, and its result dropped: a little work in vain at the
/// edge instead of more code.
#[inline(always)]
fn quantised_rows<S: Blocks, F: Quant, const M: usize, const TERMS: usize, const R: usize>(
    s: S,
    w: Matrix<'_>,
    x: &[[Column<'_>; TERMS]; M],
    n: usize,
    ahead: &mut Ahead,
    y: &mut Tile<'_>,
) {
    let super_bytes = size_of::<F::Super>();
    let whole = w.row_bytes() / super_bytes;
    let supers = w.row_bytes().div_ceil(super_bytes);
    let mut rows: [&[F::Super]; R] = [&[]; R];
    // The ragged end of rows that are not whole super-blocks, completed with zero blocks. The activations end with
    // zeros there.
    let mut ends: [F::Super; R] = [bytemuck::Zeroable::zeroed(); R];
    for r in 0..R {
        let (start, end) = w.row((n + r).min(w.rows() - 1)).split_at(whole * super_bytes);
        rows[r] = bytemuck::cast_slice(start);
        if F::RAGGED {
            bytemuck::bytes_of_mut(&mut ends[r])[..end.len()].copy_from_slice(end);
        }
    }
    let mut acc = [[s.splat_x16(0.0); M]; R];
    for i in 0..if F::RAGGED { supers } else { whole } {
        ahead.ask(R * super_bytes);
        let mut blocks = [&ends[0]; R];
        for r in 0..R {
            blocks[r] = if F::RAGGED && i == whole { &ends[r] } else { &rows[r][i] };
        }
        let columns = x.map(|terms| terms.map(|x| Activations { q: &x.q[i], d: &x.d[i], ds: &x.ds[i] }));
        step::<S, F, M, TERMS, R>(s, blocks, columns, &mut acc);
    }
    for m in 0..M.min(y.rows()) {
        let out = &mut y.row_mut(m)[n..];
        for r in 0..R.min(out.len()) {
            out[r] = s.sum(acc[r][m]);
        }
    }
}

/// 256 values of R weight rows times as many of M activation rows.
#[inline(always)]
fn step<S: Blocks, F: Quant, const M: usize, const TERMS: usize, const R: usize>(
    s: S,
    blocks: [&F::Super; R],
    x: [[Activations<'_>; TERMS]; M],
    acc: &mut [[S::Floats; M]; R],
) {
    // The scale of the last term is that of the two together.
    let d = x.map(|x| formats::scales_of_lanes::<S, F>(s, s.eight_f32(x[TERMS - 1].d)));
    let ds = x.map(|x| {
        let first = s.load_x16(x[0].ds);
        if TERMS == 2 { s.add_x16(first, s.load_x16(x[1].ds)) } else { first }
    });
    let kind = formats::kind::<F>();
    for r in 0..R {
        let Scales { scale, offset } = F::scales(s, blocks[r]);
        let codes = F::exchanged(s, blocks[r]);
        for m in 0..M {
            acc[r][m] = match formats::centre::<S, F>() {
                None => s.fma_x16(offset, ds[m], acc[r][m]),
                Some(0.0) => acc[r][m],
                Some(centre) => s.fma_x16(scale, s.mul_x16(ds[m], s.splat_x16(-centre)), acc[r][m]),
            };
            let mut dots = s.dots(kind, codes, x[m][0].q);
            if TERMS == 2 {
                dots = s.two_digits(dots, s.dots(kind, codes, x[m][1].q));
            }
            acc[r][m] = s.fma_x16(s.to_f32(dots), s.mul_x16(scale, d[m]), acc[r][m]);
        }
    }
}

/// The activation rows from `first` on, M of them or fewer, times all weight rows, in f32.
#[inline(always)]
pub(super) fn float<S: Blocks, F: Float, const M: usize>(
    s: S,
    w: Matrix<'_>,
    x: Inputs<'_>,
    first: usize,
    y: &mut Tile<'_>,
) {
    let x = &x.x[first * w.cols()..];
    // Where a vector is one register, a row at a time is read in the order of memory, and two share the loads of
    // several activation rows; where it is more, there are registers for the latter with one row alone.
    let rows = if (M > 1) == (S::ROWS == 4) { 2 } else { 1 };
    let mut ahead = Ahead::new(w, rows);
    for n in (0..w.rows()).step_by(rows) {
        match rows {
            2 => float_rows::<S, F, M, 2>(s, w, x, n, &mut ahead, y),
            _ => float_rows::<S, F, M, 1>(s, w, x, n, &mut ahead, y),
        }
    }
}

/// Weight rows `n .. n + R`, edges as in [`quantised_rows`]. Two accumulators a product: even and odd groups of 16
/// values.
#[inline(always)]
fn float_rows<S: Blocks, F: Float, const M: usize, const R: usize>(
    s: S,
    w: Matrix<'_>,
    x: &[f32],
    n: usize,
    ahead: &mut Ahead,
    y: &mut Tile<'_>,
) {
    let k = w.cols();
    let group_bytes = size_of::<F::Group>();
    let whole = k / 16;
    let mut rows: [&[F::Group]; R] = [&[]; R];
    let mut ends: [F::Group; R] = [bytemuck::Zeroable::zeroed(); R];
    for r in 0..R {
        let (start, end) = w.row((n + r).min(w.rows() - 1)).split_at(whole * group_bytes);
        rows[r] = bytemuck::cast_slice(start);
        bytemuck::bytes_of_mut(&mut ends[r])[..end.len()].copy_from_slice(end);
    }
    let mut xs: [&[[f32; 16]]; M] = [&[]; M];
    let mut x_ends = [[0.0; 16]; M];
    for m in 0..M {
        let (start, end) = x[m.min(y.rows() - 1) * k..][..k].split_at(whole * 16);
        xs[m] = &start.as_chunks().0[..whole];
        x_ends[m][..end.len()].copy_from_slice(end);
    }
    let mut acc = [[[s.splat_x16(0.0); 2]; M]; R];
    for i in 0..whole / 2 {
        ahead.ask(2 * R * group_bytes);
        for half in 0..2 {
            let g = 2 * i + half;
            for r in 0..R {
                let values = F::values(s, &rows[r][g]);
                for m in 0..M {
                    acc[r][m][half] = s.fma_x16(values, s.load_x16(&xs[m][g]), acc[r][m][half]);
                }
            }
        }
    }
    // What is left: at most one whole group and one ragged one.
    for g in whole / 2 * 2..k.div_ceil(16) {
        for r in 0..R {
            let values = F::values(s, rows[r].get(g).unwrap_or(&ends[r]));
            for m in 0..M {
                let x = xs[m].get(g).unwrap_or(&x_ends[m]);
                acc[r][m][0] = s.fma_x16(values, s.load_x16(x), acc[r][m][0]);
            }
        }
    }
    for m in 0..M.min(y.rows()) {
        let out = &mut y.row_mut(m)[n..];
        for r in 0..R.min(out.len()) {
            out[r] = s.sum(acc[r][m][0]) + s.sum(acc[r][m][1]);
        }
    }
}
