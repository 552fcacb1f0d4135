//! Attention in vectors, generic over the level. Two kernels, one for many query rows and one for few; both take keys
//! and values in blocks, widened to f32 once for all rows.
//!
//! **Many rows** (prefill). A lane of a vector is a query row: [`PANEL`] rows make a panel, transposed on entry. Then
//! scores `[key, row]`, their maximum and sum over keys, and outputs `[dim, row]` all run down the lanes, with a key's or
//! value's number as the other factor of every product: no sums across lanes, no transposed keys.
//!
//! ```text
//!   scores[j][row] = Σ_i k[j][i] · q[i][row]        out[i][row] = out[i][row] · c[row] + Σ_j v[j][i] · p[j][row]
//!                        ^ one     ^ a vector                                              ^ one     ^ a vector
//! ```
//!
//! The softmax is taken block by block (Milakov and Gimelshein, arXiv:1805.02867): m is the largest score so far, p =
//! e^(s−m), and when a block raises m, the sums so far are scaled by c = e^(m_old−m_new).
//!
//! **Few rows** (decode). A lane is a dimension; the scores of the chunk are kept, so its softmax is taken once. Four
//! rows at a time share each key and value in registers.

// Short loops over arrays of registers, unrolled: indices show which belong together.
#![allow(clippy::needless_range_loop)]

use super::{Attention, KV_BLOCK, KvBlock, KvRows};
use crate::Tile;
use crate::simd::{Simd, math};
use half::f16;

/// Query rows of a panel: two 512-bit vectors, four of 256 bits, eight of 128.
const PANEL: usize = 32;

/// A value for each row of a panel.
type Lanes = [f32; PANEL];

/// Keys of a block of the kernel for many rows; counted from the first key, so that sums do not depend on the call.
const KEYS: usize = 64;

/// Positions of a block of the kernel for few rows: with four rows of queries they fit the first-level cache.
const POSITIONS: usize = 16;

/// Rows that share keys and values in registers in the kernel for few rows.
const QUAD: usize = 4;

/// Up to this many rows the kernel for few rows is the faster one.
const FEW_ROWS: usize = 16;

/// Values from one widened key to the next: whole vectors, and an odd number of cache lines so that the rows of a block
/// do not compete for the same sets of the cache.
fn row_stride(head_dim: usize) -> usize {
    (head_dim.div_ceil(16) | 1) * 16
}

/// Widens rows `first..first + out.len() / stride` into `out`, rows `stride` values apart. What is past a row's end
/// stays as it is.
#[inline(always)]
fn widen<S: Simd>(s: S, rows: &KvRows<'_>, head_dim: usize, first: usize, out: &mut [f32], stride: usize) {
    let d = head_dim;
    match rows {
        KvRows::F32(rows) => {
            for (r, out) in out.chunks_exact_mut(stride).enumerate() {
                out[..d].copy_from_slice(rows.row(first + r));
            }
        }
        KvRows::F16(data) => {
            let ahead = out.len() / stride * d;
            for (x, out) in data[first * d..].chunks_exact(d).zip(out.chunks_exact_mut(stride)) {
                let (mut xs, mut outs) = (x.chunks_exact(S::LANES), out[..d].chunks_exact_mut(S::LANES));
                for (x, out) in (&mut xs).zip(&mut outs) {
                    s.store(s.load_f16(x), out);
                }
                if !xs.remainder().is_empty() {
                    let mut tail = [f16::ZERO; 16];
                    tail[..xs.remainder().len()].copy_from_slice(xs.remainder());
                    s.store_part(s.load_f16(&tail), outs.into_remainder());
                }
            }
            // The block after this one.
            let next = &data[(first * d + ahead).min(data.len())..];
            (0..ahead.min(next.len())).step_by(32).for_each(|i| s.prefetch(next, i));
        }
        KvRows::Q8_0(blocks) => {
            let n = d / KV_BLOCK;
            let ahead = out.len() / stride * n;
            for (x, out) in blocks[first * n..].chunks_exact(n).zip(out.chunks_exact_mut(stride)) {
                for (block, out) in x.iter().zip(out.as_chunks_mut::<KV_BLOCK>().0) {
                    let scale = s.splat(block.d.to_f32_const());
                    for (q, out) in block.qs.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
                        s.store(s.mul(scale, s.load_i8(q)), out);
                    }
                }
            }
            let next = &blocks[(first * n + ahead).min(blocks.len())..];
            (0..ahead.min(next.len())).for_each(|i| s.prefetch(next, i));
        }
    }
}

/// Cuts `N` aligned pieces of the given lengths out of `scratch`, of any contents.
fn carve<const N: usize>(scratch: &mut Vec<f32>, lengths: [usize; N]) -> [&mut [f32]; N] {
    /// Values of a cache line.
    const LINE: usize = 16;
    let lengths = lengths.map(|n| n.next_multiple_of(LINE));
    let total = lengths.iter().sum::<usize>() + LINE;
    if scratch.len() < total {
        scratch.resize(total, 0.0);
    }
    let start = scratch.as_ptr().align_offset(4 * LINE).min(LINE);
    let mut rest = &mut scratch[start..];
    lengths.map(|n| rest.split_off_mut(..n).expect("as long as the sum of lengths"))
}

/// Where the kernel for many rows leaves its results; shapes `[panel, dim or one, row]`.
struct Panels<'a> {
    /// `[panel, dims]`: `Σ e^(s−m) v`
    values: &'a [Lanes],
    /// Rows of `values` in a panel, at least `head_dim`.
    dims: usize,
    /// `m`
    max: &'a [Lanes],
    /// `Σ e^(s−m)`
    sum: &'a [Lanes],
}

impl Panels<'_> {
    /// Writes `factor · Σ e^(s−m) v` of a row.
    fn write(&self, row: usize, factor: f32, out: &mut [f32]) {
        let (panel, lane) = (row / PANEL, row % PANEL);
        for (out, lanes) in out.iter_mut().zip(&self.values[panel * self.dims..]) {
            *out = lanes[lane] * factor;
        }
    }
}

#[inline(always)]
pub(super) fn attend<S: Simd>(s: S, call: &Attention<'_>, out: &mut Tile<'_>, scratch: &mut Vec<f32>) {
    let (d, group) = (call.q.head_dim(), call.q.group());
    let panels = many_rows(s, call, scratch);
    for token in 0..call.q.tokens() {
        for (head, out) in out.row_mut(token).chunks_exact_mut(d).enumerate() {
            let row = token * group + head;
            panels.write(row, 1.0 / panels.sum[row / PANEL][row % PANEL], out);
        }
    }
}

#[inline(always)]
pub(super) fn attend_partial<S: Simd>(s: S, call: &Attention<'_>, partial: &mut [f32], scratch: &mut Vec<f32>) {
    if call.q.rows() <= FEW_ROWS {
        return match S::LANES {
            8 => few_rows::<S, 2, 2>(s, call, partial, scratch),
            _ => few_rows::<S, 4, 4>(s, call, partial, scratch),
        };
    }
    let panels = many_rows(s, call, scratch);
    for (row, partial) in partial.chunks_exact_mut(call.q.head_dim() + 2).enumerate() {
        let (panel, lane) = (row / PANEL, row % PANEL);
        (partial[0], partial[1]) = (panels.max[panel][lane], panels.sum[panel][lane]);
        panels.write(row, 1.0, &mut partial[2..]);
    }
}

/// Keys of a tile of scores, or dims of a tile of outputs, by vectors of rows: as many accumulators as registers allow.
#[inline(always)]
fn many_rows<'a, S: Simd>(s: S, call: &Attention<'_>, scratch: &'a mut Vec<f32>) -> Panels<'a> {
    match S::LANES {
        8 => many_rows_tiled::<S, 4, 2>(s, call, scratch),
        _ => many_rows_tiled::<S, 8, 2>(s, call, scratch),
    }
}

#[inline(always)]
fn many_rows_tiled<'a, S: Simd, const TILE: usize, const NV: usize>(
    s: S,
    call: &Attention<'_>,
    scratch: &'a mut Vec<f32>,
) -> Panels<'a> {
    let (q, rows, d, group) = (&call.q, call.q.rows(), call.q.head_dim(), call.q.group());
    let (panels, stride, dims) = (rows.div_ceil(PANEL), row_stride(d), d.next_multiple_of(TILE));
    let lengths = [
        panels * d * PANEL,
        panels * dims * PANEL,
        panels * PANEL,
        panels * PANEL,
        KEYS * PANEL,
        KEYS * stride,
        KEYS * stride,
    ];
    let [queries, values, max, sum, scores, k, v] = carve(scratch, lengths);
    let (queries, values) = (queries.as_chunks_mut::<PANEL>().0, values.as_chunks_mut::<PANEL>().0);
    let (max, sum) = (max.as_chunks_mut::<PANEL>().0, sum.as_chunks_mut::<PANEL>().0);
    let scores = scores.as_chunks_mut::<PANEL>().0;
    values.fill([0.0; PANEL]);
    max.fill([f32::MIN; PANEL]);
    sum.fill([0.0; PANEL]);
    for row in 0..panels * PANEL {
        let panel = queries[row / PANEL * d..][..d].iter_mut();
        if row < rows {
            panel.zip(q.row(row)).for_each(|(lanes, q)| lanes[row % PANEL] = q * call.scale);
        } else {
            panel.for_each(|lanes| lanes[row % PANEL] = 0.0);
        }
    }

    let visible = |row: usize| call.mask.visible(row.min(rows - 1) / group, call.n_keys);
    for first in (0..visible(rows - 1)).step_by(KEYS) {
        let n = KEYS.min(call.n_keys - first);
        let tiles = n.next_multiple_of(TILE);
        widen(s, &call.k, d, first, &mut k[..n * stride], stride);
        k[n * stride..tiles * stride].fill(0.0);
        widen(s, &call.v, d, first, &mut v[..n * stride], stride);
        for p in 0..panels {
            let (least, most) = (visible(p * PANEL), visible(p * PANEL + PANEL - 1));
            if most <= first {
                continue;
            }
            let queries = &queries[p * d..][..d];
            for (k, scores) in k[..tiles * stride].chunks_exact(TILE * stride).zip(scores.chunks_exact_mut(TILE)) {
                score_tile::<S, TILE, NV>(s, queries, k, stride, scores);
            }
            let scores = &mut scores[..n];
            if least < first + n {
                let mut limits = [0.0; PANEL];
                for (lane, limit) in limits.iter_mut().enumerate() {
                    *limit = visible(p * PANEL + lane) as f32 - first as f32 - 1.0;
                }
                hide(s, &limits, scores);
            }
            let rescale = softmax(s, scores, &mut max[p], &mut sum[p]);
            for (i, values) in values[p * dims..][..dims].chunks_exact_mut(TILE).enumerate() {
                value_tile::<S, TILE, NV>(s, scores, &v[..n * stride], stride, i * TILE, &rescale, values);
            }
        }
    }
    Panels { values, dims, max, sum }
}

/// `scores[j][row] = Σ_i k[j][i] · q[i][row]` for the `TILE` keys in `k`.
#[inline(always)]
fn score_tile<S: Simd, const TILE: usize, const NV: usize>(
    s: S,
    q: &[Lanes],
    k: &[f32],
    stride: usize,
    scores: &mut [Lanes],
) {
    let mut keys = [[].as_slice(); TILE];
    for j in 0..TILE {
        keys[j] = &k[j * stride..][..q.len()];
    }
    for at in (0..PANEL).step_by(NV * S::LANES) {
        let mut sum = [[s.splat(0.0); NV]; TILE];
        for (i, q) in q.iter().enumerate() {
            let q = &q[at..at + NV * S::LANES];
            let mut x = [s.splat(0.0); NV];
            for c in 0..NV {
                x[c] = s.load(&q[c * S::LANES..]);
            }
            for j in 0..TILE {
                let k = s.splat(keys[j][i]);
                for c in 0..NV {
                    sum[j][c] = s.mul_add(k, x[c], sum[j][c]);
                }
            }
        }
        for (j, scores) in scores.iter_mut().enumerate() {
            for c in 0..NV {
                s.store(sum[j][c], &mut scores[at + c * S::LANES..]);
            }
        }
    }
}

/// Minus infinity for keys past a row's last.
#[inline(always)]
fn hide<S: Simd>(s: S, limits: &Lanes, scores: &mut [Lanes]) {
    let hidden = s.splat(f32::NEG_INFINITY);
    for (j, scores) in scores.iter_mut().enumerate() {
        let j = s.splat(j as f32);
        for at in (0..PANEL).step_by(S::LANES) {
            let x = s.select_le(j, s.load(&limits[at..]), s.load(&scores[at..]), hidden);
            s.store(x, &mut scores[at..]);
        }
    }
}

/// Scores to `e^(s−m)`, with the maximum and sum so far brought up to date; returns the factor of everything before.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &mut [Lanes], max: &mut Lanes, sum: &mut Lanes) -> Lanes {
    let mut rescale = [0.0; PANEL];
    for at in (0..PANEL).step_by(S::LANES) {
        let before = s.load(&max[at..]);
        let mut m = before;
        for scores in &*scores {
            m = s.max(m, s.load(&scores[at..]));
        }
        let factor = math::exp(s, s.sub(before, m));
        let mut total = s.mul(s.load(&sum[at..]), factor);
        for scores in &mut *scores {
            let p = math::exp(s, s.sub(s.load(&scores[at..]), m));
            s.store(p, &mut scores[at..]);
            total = s.add(total, p);
        }
        s.store(m, &mut max[at..]);
        s.store(total, &mut sum[at..]);
        s.store(factor, &mut rescale[at..]);
    }
    rescale
}

/// `values[i][row] = values[i][row] · rescale[row] + Σ_j v[j][first + i] · p[j][row]` for `TILE` dims i.
#[inline(always)]
fn value_tile<S: Simd, const TILE: usize, const NV: usize>(
    s: S,
    p: &[Lanes],
    v: &[f32],
    stride: usize,
    first: usize,
    rescale: &Lanes,
    values: &mut [Lanes],
) {
    for at in (0..PANEL).step_by(NV * S::LANES) {
        let mut sum = [[s.splat(0.0); NV]; TILE];
        for (i, values) in values.iter().enumerate() {
            for c in 0..NV {
                let at = at + c * S::LANES;
                sum[i][c] = s.mul(s.load(&values[at..]), s.load(&rescale[at..]));
            }
        }
        for (p, v) in p.iter().zip(v.chunks_exact(stride)) {
            let (p, v) = (&p[at..at + NV * S::LANES], &v[first..first + TILE]);
            let mut x = [s.splat(0.0); NV];
            for c in 0..NV {
                x[c] = s.load(&p[c * S::LANES..]);
            }
            for i in 0..TILE {
                let v = s.splat(v[i]);
                for c in 0..NV {
                    sum[i][c] = s.mul_add(v, x[c], sum[i][c]);
                }
            }
        }
        for (i, values) in values.iter_mut().enumerate() {
            for c in 0..NV {
                s.store(sum[i][c], &mut values[at + c * S::LANES..]);
            }
        }
    }
}

/// `KEYS_AT_ONCE` by four scores, or four rows by `NV` vectors of dims, are the accumulators of a tile.
#[inline(always)]
fn few_rows<S: Simd, const KEYS_AT_ONCE: usize, const NV: usize>(
    s: S,
    call: &Attention<'_>,
    partial: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let (q, rows, d, n_keys) = (&call.q, call.q.rows(), call.q.head_dim(), call.n_keys);
    let (stride, padded_rows, padded_keys) = (row_stride(d), rows.next_multiple_of(QUAD), n_keys.next_multiple_of(16));
    let lengths = [padded_rows * stride, padded_rows * stride, padded_rows * padded_keys, POSITIONS * stride];
    let [queries, values, scores, block] = carve(scratch, lengths);
    queries.fill(0.0);
    values.fill(0.0);
    // The ends of widened rows meet the zeros at the ends of the queries, and must not be NaN.
    block.fill(0.0);
    for (row, queries) in queries.chunks_exact_mut(stride).take(rows).enumerate() {
        queries.iter_mut().zip(q.row(row)).for_each(|(x, q)| *x = q * call.scale);
    }

    for first in (0..n_keys).step_by(POSITIONS) {
        let n = POSITIONS.min(n_keys - first);
        widen(s, &call.k, d, first, &mut block[..n * stride], stride);
        let quads = queries.chunks_exact(QUAD * stride).zip(scores.chunks_exact_mut(QUAD * padded_keys));
        for (queries, scores) in quads {
            for j in (0..n).step_by(KEYS_AT_ONCE) {
                let keys = &block[j * stride..][..KEYS_AT_ONCE * stride];
                let sums = score_quad::<S, KEYS_AT_ONCE>(s, queries, keys, stride);
                // What is past the last key is hidden below.
                for (j, sums) in (first + j..).zip(sums) {
                    for r in 0..QUAD {
                        scores[r * padded_keys + j] = sums[r];
                    }
                }
            }
        }
    }

    let mut max_sum = [(0.0, 0.0); FEW_ROWS];
    for (row, scores) in scores.chunks_exact_mut(padded_keys.max(1)).enumerate() {
        scores[call.mask.visible(row.min(rows - 1) / q.group(), n_keys)..].fill(f32::NEG_INFINITY);
        let mut m = s.splat(f32::MIN);
        for x in scores.chunks_exact(S::LANES) {
            m = s.max(m, s.load(x));
        }
        let max = s.reduce_max(m);
        let mut sum = s.splat(0.0);
        for x in scores.chunks_exact_mut(S::LANES) {
            let p = math::exp(s, s.sub(s.load(x), s.splat(max)));
            s.store(p, x);
            sum = s.add(sum, p);
        }
        max_sum[row] = (max, s.reduce_add(sum));
    }

    for first in (0..n_keys).step_by(POSITIONS) {
        let n = POSITIONS.min(n_keys - first);
        widen(s, &call.v, d, first, &mut block[..n * stride], stride);
        let quads = values.chunks_exact_mut(QUAD * stride).zip(scores.chunks_exact(QUAD * padded_keys));
        for (values, scores) in quads {
            let wide = stride - stride % (NV * S::LANES);
            for at in (0..wide).step_by(NV * S::LANES) {
                value_quad::<S, NV>(s, scores, padded_keys, first, &block[..n * stride], stride, at, values);
            }
            for at in (wide..stride).step_by(S::LANES) {
                value_quad::<S, 1>(s, scores, padded_keys, first, &block[..n * stride], stride, at, values);
            }
        }
    }

    for (row, partial) in partial.chunks_exact_mut(d + 2).enumerate() {
        (partial[0], partial[1]) = if n_keys > 0 { max_sum[row] } else { (f32::MIN, 0.0) };
        partial[2..].copy_from_slice(&values[row * stride..][..d]);
    }
}

/// Products of `N` keys with four query rows, all of `stride` values: `[key][row]`.
#[inline(always)]
fn score_quad<S: Simd, const N: usize>(s: S, q: &[f32], k: &[f32], stride: usize) -> [[f32; QUAD]; N] {
    let (mut q_rows, mut k_rows) = ([[].as_slice(); QUAD], [[].as_slice(); N]);
    for r in 0..QUAD {
        q_rows[r] = &q[r * stride..][..stride];
    }
    for j in 0..N {
        k_rows[j] = &k[j * stride..][..stride];
    }
    let mut sum = [[s.splat(0.0); QUAD]; N];
    for i in (0..stride - stride % S::LANES).step_by(S::LANES) {
        let mut x = [s.splat(0.0); QUAD];
        for r in 0..QUAD {
            x[r] = s.load(&q_rows[r][i..]);
        }
        for j in 0..N {
            let k = s.load(&k_rows[j][i..]);
            for r in 0..QUAD {
                sum[j][r] = s.mul_add(k, x[r], sum[j][r]);
            }
        }
    }
    let mut out = [[0.0; QUAD]; N];
    for j in 0..N {
        out[j] = s.reduce_add_4(sum[j]);
    }
    out
}

/// `values[row][at..] += Σ_j p[row][first + j] · v[j][at..]` for four rows and `NV` vectors of dims.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn value_quad<S: Simd, const NV: usize>(
    s: S,
    p: &[f32],
    p_stride: usize,
    first: usize,
    v: &[f32],
    stride: usize,
    at: usize,
    values: &mut [f32],
) {
    let mut sum = [[s.splat(0.0); NV]; QUAD];
    let mut weights = [[].as_slice(); QUAD];
    let n = v.len() / stride;
    for r in 0..QUAD {
        weights[r] = &p[r * p_stride + first..][..n];
        for c in 0..NV {
            sum[r][c] = s.load(&values[r * stride + at + c * S::LANES..]);
        }
    }
    for (j, v) in v.chunks_exact(stride).enumerate() {
        let v = &v[at..at + NV * S::LANES];
        let mut x = [s.splat(0.0); NV];
        for c in 0..NV {
            x[c] = s.load(&v[c * S::LANES..]);
        }
        for r in 0..QUAD {
            let p = s.splat(weights[r][j]);
            for c in 0..NV {
                sum[r][c] = s.mul_add(p, x[c], sum[r][c]);
            }
        }
    }
    for r in 0..QUAD {
        for c in 0..NV {
            s.store(sum[r][c], &mut values[r * stride + at + c * S::LANES..]);
        }
    }
}

#[inline(always)]
pub(super) fn quantize<S: Simd>(s: S, x: &[f32], out: &mut [KvBlock]) {
    for (x, block) in x.as_chunks::<KV_BLOCK>().0.iter().zip(out) {
        let mut largest = s.splat(0.0);
        for x in x.chunks_exact(S::LANES) {
            let x = s.load(x);
            largest = s.max(s.max(x, s.sub(s.splat(0.0), x)), largest);
        }
        let d = s.reduce_max(largest) / 127.0;
        let inverse = s.splat(if d > 0.0 { 1.0 / d } else { 0.0 });
        block.d = f16::from_f32_const(d);
        for (x, q) in x.chunks_exact(S::LANES).zip(block.qs.chunks_exact_mut(S::LANES)) {
            s.store_i8(s.mul(s.load(x), inverse), q);
        }
    }
}
