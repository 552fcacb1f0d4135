//! Attention in vectors, generic over the level. Two kernels, one meant for many query rows and one for few; each takes
//! any number of them and does the same for a row whichever rows share its call. Both take keys and values in blocks
//! counted from the first key, none of which lies in two pages, and widen them to f32 once for all rows.
//!
//! **Many rows** (prefill). A lane of a vector is a query row: [`PANEL`] rows make a panel, transposed on entry. Then
//! scores `[key, row]`, their maximum and sum over keys, and outputs `[dim, row]` all run down the lanes, with a key's
//! or value's number as the other factor of every product: no sums across lanes, no transposed keys.
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
//! rows at a time share each key and value in registers; keys and values that no more than four share are not widened
//! in memory but as they are loaded, which changes no bit.
//!
//! In both, keys that a row does not see get the weight zero: what is added for them changes no bit either, as long as
//! their values are finite.

// Loops over ranges: see `crate::simd`.
#![allow(clippy::needless_range_loop)]

use super::kv::{AnySpan, Span};
use super::{Attention, KV_BLOCK, KvBlock};
use crate::memory::prefetch;
use crate::scratch::carve;
use crate::simd::{VectorMath, math};
use crate::{Rows, Tile};
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

/// Values from one widened key to the next: whole vectors, and an odd number of cache lines so that the rows of a block
/// do not compete for the same sets of the cache.
fn row_stride(head_dim: usize) -> usize {
    (head_dim.div_ceil(16) | 1) * 16
}

/// A row of keys or values in its storage, to be loaded as f32.
trait Stored: Copy {
    /// Values `i..i + LANES`; i is a multiple of `LANES`, and all these values exist.
    fn load<S: VectorMath>(self, s: S, i: usize) -> S::F32;

    /// Brings value i of the row that begins `ahead` units after this one closer; i is a multiple of 32.
    fn prefetch(self, ahead: isize, i: usize);
}

impl Stored for &[f32] {
    #[inline(always)]
    fn load<S: VectorMath>(self, s: S, i: usize) -> S::F32 {
        s.load(&self[i..i + S::LANES])
    }

    /// Widened rows are close.
    #[inline(always)]
    fn prefetch(self, _ahead: isize, _i: usize) {}
}

impl Stored for &[f16] {
    #[inline(always)]
    fn load<S: VectorMath>(self, s: S, i: usize) -> S::F32 {
        s.load_f16(&self[i..i + S::LANES])
    }

    #[inline(always)]
    fn prefetch(self, ahead: isize, i: usize) {
        prefetch(self.as_ptr().wrapping_offset(ahead + i as isize));
    }
}

impl Stored for &[KvBlock] {
    #[inline(always)]
    fn load<S: VectorMath>(self, s: S, i: usize) -> S::F32 {
        let block = &self[i / KV_BLOCK];
        let at = i % KV_BLOCK;
        s.mul(s.splat_f16(block.d), s.load_i8(&block.qs[at..at + S::LANES]))
    }

    #[inline(always)]
    fn prefetch(self, ahead: isize, i: usize) {
        prefetch(self.as_ptr().wrapping_offset(ahead + (i / KV_BLOCK) as isize));
    }
}

/// Widens rows of whole vectors into `out`, rows `stride` values apart; has those of the next span brought closer.
#[inline(always)]
fn widen_span<'a, S: VectorMath, T>(s: S, rows: Span<'a, T>, d: usize, out: &mut [f32], stride: usize)
where
    T: Copy,
    &'a [T]: Stored,
{
    for r in 0..out.len() / stride {
        let (row, out) = (rows.row(r), &mut out[r * stride..][..d]);
        for i in (0..d).step_by(S::LANES) {
            if i.is_multiple_of(32) {
                row.prefetch(rows.ahead, i);
            }
            s.store(row.load(s, i), &mut out[i..]);
        }
    }
}

/// Widens rows into `out`, `stride` values apart, as many as there is room for. What is past a row's end stays as it is.
#[inline(always)]
fn widen<S: VectorMath>(s: S, rows: AnySpan<'_>, d: usize, out: &mut [f32], stride: usize) {
    match rows {
        AnySpan::F32(rows) => {
            for r in 0..out.len() / stride {
                out[r * stride..][..d].copy_from_slice(rows.row(r));
            }
        }
        AnySpan::F16(rows) if d.is_multiple_of(16) => widen_span(s, rows, d, out, stride),
        AnySpan::F16(rows) => {
            for r in 0..out.len() / stride {
                for i in 0..d {
                    out[r * stride + i] = rows.row(r)[i].to_f32_const();
                }
            }
        }
        AnySpan::Q8_0(rows) => widen_span(s, rows, d, out, stride),
    }
}

/// Where the kernel for many rows leaves its results; shapes `[panel, dim or one, row]`.
struct Panels<'a> {
    /// `[panel, dims]`: `Σ e^(s−m) v`
    values: &'a [Lanes],
    /// Rows of `values` in a panel, at least `head_dim`.
    dims: usize,
    /// `Σ e^(s−m)`
    sum: &'a [Lanes],
}

impl Panels<'_> {
    /// Writes `Σ e^(s−m) v / Σ e^(s−m)` of a row.
    fn write(&self, row: usize, out: &mut [f32]) {
        let (panel, lane) = (row / PANEL, row % PANEL);
        let factor = 1.0 / self.sum[panel][lane];
        for (out, lanes) in out.iter_mut().zip(&self.values[panel * self.dims..]) {
            *out = lanes[lane] * factor;
        }
    }
}

#[inline(always)]
pub(super) fn attend<S: VectorMath>(s: S, call: &Attention<'_>, out: &mut Tile<'_>, scratch: &mut Vec<f32>) {
    let (d, group) = (call.q.head_dim(), call.q.group());
    let panels = many_rows(s, call, scratch);
    for token in 0..call.q.tokens() {
        for (head, out) in out.row_mut(token).chunks_exact_mut(d).enumerate() {
            panels.write(token * group + head, out);
        }
    }
}

#[inline(always)]
pub(super) fn attend_partial<S: VectorMath>(s: S, call: &Attention<'_>, partial: &mut [f32], scratch: &mut Vec<f32>) {
    match S::LANES {
        8 => few_rows::<S, 2, 2>(s, call, partial, scratch),
        _ => few_rows::<S, 4, 4>(s, call, partial, scratch),
    }
}

/// Keys of a tile of scores, or dims of a tile of outputs, by vectors of rows: as many accumulators as registers allow.
#[inline(always)]
fn many_rows<'a, S: VectorMath>(s: S, call: &Attention<'_>, scratch: &'a mut Vec<f32>) -> Panels<'a> {
    match S::LANES {
        8 => many_rows_tiled::<S, 4, 2>(s, call, scratch),
        _ => many_rows_tiled::<S, 8, 2>(s, call, scratch),
    }
}

#[inline(always)]
fn many_rows_tiled<'a, S: VectorMath, const TILE: usize, const NV: usize>(
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
        let panel = &mut queries[row / PANEL * d..][..d];
        let q = if row < rows { q.row(row) } else { &[] };
        for i in 0..q.len() {
            panel[i][row % PANEL] = q[i] * call.scale;
        }
        for i in q.len()..d {
            panel[i][row % PANEL] = 0.0;
        }
    }

    let visible = |row: usize| call.mask.visible(row.min(rows - 1) / group, call.n_keys);
    for first in (0..visible(rows - 1)).step_by(KEYS) {
        let n = KEYS.min(call.n_keys - first);
        let tiles = n.next_multiple_of(TILE);
        widen(s, call.k.span(d, first, n, KEYS), d, &mut k[..n * stride], stride);
        k[n * stride..tiles * stride].fill(0.0);
        widen(s, call.v.span(d, first, n, KEYS), d, &mut v[..n * stride], stride);
        for p in 0..panels {
            let (least, most) = (visible(p * PANEL), visible(p * PANEL + PANEL - 1));
            if most <= first {
                continue;
            }
            let queries = &queries[p * d..][..d];
            for j in (0..tiles).step_by(TILE) {
                let k = &k[j * stride..][..TILE * stride];
                score_tile::<S, TILE, NV>(s, queries, k, stride, &mut scores[j..j + TILE]);
            }
            let scores = &mut scores[..n];
            if least < first + n {
                let mut limits = [0.0; PANEL];
                for lane in 0..PANEL {
                    limits[lane] = visible(p * PANEL + lane) as f32 - first as f32 - 1.0;
                }
                hide(s, &limits, scores);
            }
            let rescale = softmax(s, scores, &mut max[p], &mut sum[p]);
            for i in (0..dims).step_by(TILE) {
                let values = &mut values[p * dims + i..][..TILE];
                value_tile::<S, TILE, NV>(s, scores, &v[..n * stride], stride, i, &rescale, values);
            }
        }
    }
    Panels { values, dims, sum }
}

/// `scores[j][row] = Σ_i k[j][i] · q[i][row]` for the `TILE` keys in `k`.
#[inline(always)]
fn score_tile<S: VectorMath, const TILE: usize, const NV: usize>(
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
        for i in 0..q.len() {
            let q = &q[i][at..at + NV * S::LANES];
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
        for j in 0..TILE {
            for c in 0..NV {
                s.store(sum[j][c], &mut scores[j][at + c * S::LANES..]);
            }
        }
    }
}

/// Minus infinity for keys past a row's last.
#[inline(always)]
fn hide<S: VectorMath>(s: S, limits: &Lanes, scores: &mut [Lanes]) {
    let hidden = s.splat(f32::NEG_INFINITY);
    for j in 0..scores.len() {
        let (index, scores) = (s.splat(j as f32), &mut scores[j]);
        for at in (0..PANEL).step_by(S::LANES) {
            let x = s.select_le(index, s.load(&limits[at..]), s.load(&scores[at..]), hidden);
            s.store(x, &mut scores[at..]);
        }
    }
}

/// Scores to `e^(s−m)`, with the maximum and sum so far brought up to date; returns the factor of everything before.
#[inline(always)]
fn softmax<S: VectorMath>(s: S, scores: &mut [Lanes], max: &mut Lanes, sum: &mut Lanes) -> Lanes {
    let mut rescale = [0.0; PANEL];
    for at in (0..PANEL).step_by(S::LANES) {
        let before = s.load(&max[at..]);
        let mut m = before;
        for j in 0..scores.len() {
            m = s.max(m, s.load(&scores[j][at..]));
        }
        let factor = math::exp(s, s.sub(before, m));
        let mut total = s.mul(s.load(&sum[at..]), factor);
        for j in 0..scores.len() {
            let scores = &mut scores[j][at..];
            let p = math::exp(s, s.sub(s.load(scores), m));
            s.store(p, scores);
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
fn value_tile<S: VectorMath, const TILE: usize, const NV: usize>(
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
        for i in 0..TILE {
            for c in 0..NV {
                let at = at + c * S::LANES;
                sum[i][c] = s.mul(s.load(&values[i][at..]), s.load(&rescale[at..]));
            }
        }
        for j in 0..p.len() {
            let (p, v) = (&p[j][at..at + NV * S::LANES], &v[j * stride + first..][..TILE]);
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
        for i in 0..TILE {
            for c in 0..NV {
                s.store(sum[i][c], &mut values[i][at + c * S::LANES..]);
            }
        }
    }
}

/// `KEYS_AT_ONCE` by four scores, or four rows by `NV` vectors of dims, are the accumulators of a tile.
#[inline(always)]
fn few_rows<S: VectorMath, const KEYS_AT_ONCE: usize, const NV: usize>(
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
    for row in 0..rows {
        let (q, out) = (q.row(row), &mut queries[row * stride..][..d]);
        for i in 0..d {
            out[i] = q[i] * call.scale;
        }
    }
    // Keys and values that are used once are used where they lie.
    let direct = rows <= QUAD && d.is_multiple_of(16);

    for first in (0..n_keys).step_by(POSITIONS) {
        let n = POSITIONS.min(n_keys - first);
        match call.k.span(d, first, n, POSITIONS) {
            AnySpan::F16(rows) if direct => {
                score_block::<S, _, KEYS_AT_ONCE>(s, rows, n, d, queries, stride, first, scores, padded_keys);
            }
            AnySpan::Q8_0(rows) if direct => {
                score_block::<S, _, KEYS_AT_ONCE>(s, rows, n, d, queries, stride, first, scores, padded_keys);
            }
            rows => {
                widen(s, rows, d, &mut block[..n * stride], stride);
                let rows = Span { data: &*block, row_len: stride, ahead: 0 };
                let d = d.next_multiple_of(16);
                score_block::<S, _, KEYS_AT_ONCE>(s, rows, n, d, queries, stride, first, scores, padded_keys);
            }
        }
    }

    for (row, partial) in partial.chunks_exact_mut(d + 2).enumerate() {
        let scores = &mut scores[row * padded_keys..][..padded_keys];
        scores[call.mask.visible(row / q.group(), n_keys)..].fill(f32::NEG_INFINITY);
        let mut m = s.splat(f32::MIN);
        for j in (0..padded_keys).step_by(S::LANES) {
            m = s.max(m, s.load(&scores[j..]));
        }
        let max = s.reduce_max(m);
        let mut sum = s.splat(0.0);
        for j in (0..padded_keys).step_by(S::LANES) {
            let p = math::exp(s, s.sub(s.load(&scores[j..]), s.splat(max)));
            s.store(p, &mut scores[j..]);
            sum = s.add(sum, p);
        }
        (partial[0], partial[1]) = (max, s.reduce_add(sum));
    }

    for first in (0..n_keys).step_by(POSITIONS) {
        let n = POSITIONS.min(n_keys - first);
        match call.v.span(d, first, n, POSITIONS) {
            AnySpan::F16(rows) if direct => {
                value_block::<S, _, NV>(s, rows, n, d, scores, padded_keys, first, values, stride);
            }
            AnySpan::Q8_0(rows) if direct => {
                value_block::<S, _, NV>(s, rows, n, d, scores, padded_keys, first, values, stride);
            }
            rows => {
                widen(s, rows, d, &mut block[..n * stride], stride);
                let rows = Span { data: &*block, row_len: stride, ahead: 0 };
                let d = d.next_multiple_of(16);
                value_block::<S, _, NV>(s, rows, n, d, scores, padded_keys, first, values, stride);
            }
        }
    }

    for (row, partial) in partial.chunks_exact_mut(d + 2).enumerate() {
        partial[2..].copy_from_slice(&values[row * stride..][..d]);
    }
}

/// `scores[row][first + j]` for the first `n` of `keys`, `d` a multiple of 16; up to 3 more may be written.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn score_block<'a, S: VectorMath, T: Copy, const N: usize>(
    s: S,
    keys: Span<'a, T>,
    n: usize,
    d: usize,
    queries: &[f32],
    stride: usize,
    first: usize,
    scores: &mut [f32],
    padded_keys: usize,
) where
    &'a [T]: Stored,
{
    for quad in 0..queries.len() / (QUAD * stride) {
        let queries = &queries[quad * QUAD * stride..][..QUAD * stride];
        let scores = &mut scores[quad * QUAD * padded_keys..][..QUAD * padded_keys];
        for j in (0..n).step_by(N) {
            // Past the last key it once more: hidden by the caller.
            let mut rows = [keys.row(j); N];
            for i in 1..N {
                rows[i] = keys.row((j + i).min(n - 1));
            }
            let sums = score_quad(s, queries, stride, rows, keys.ahead, d);
            for i in 0..N {
                for r in 0..QUAD {
                    scores[r * padded_keys + first + j + i] = sums[i][r];
                }
            }
        }
    }
}

/// Products of `N` keys with four query rows, `[key][row]`.
#[inline(always)]
fn score_quad<S: VectorMath, K: Stored, const N: usize>(
    s: S,
    q: &[f32],
    stride: usize,
    keys: [K; N],
    ahead: isize,
    d: usize,
) -> [[f32; QUAD]; N] {
    let mut q_rows = [[].as_slice(); QUAD];
    for r in 0..QUAD {
        q_rows[r] = &q[r * stride..][..d];
    }
    let mut sum = [[s.splat(0.0); QUAD]; N];
    for i in (0..d).step_by(S::LANES) {
        let mut x = [s.splat(0.0); QUAD];
        for r in 0..QUAD {
            x[r] = s.load(&q_rows[r][i..]);
        }
        for j in 0..N {
            if i.is_multiple_of(32) {
                keys[j].prefetch(ahead, i);
            }
            let k = keys[j].load(s, i);
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

/// `values[row][i] += Σ_j p[row][first + j] · v[j][i]` over the first `n` rows of `v`; `d` a multiple of 16.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn value_block<'a, S: VectorMath, T: Copy, const NV: usize>(
    s: S,
    v: Span<'a, T>,
    n: usize,
    d: usize,
    p: &[f32],
    padded_keys: usize,
    first: usize,
    values: &mut [f32],
    stride: usize,
) where
    &'a [T]: Stored,
{
    for quad in 0..values.len() / (QUAD * stride) {
        let values = &mut values[quad * QUAD * stride..][..QUAD * stride];
        let p = &p[quad * QUAD * padded_keys..][..QUAD * padded_keys];
        let mut weights = [[].as_slice(); QUAD];
        for r in 0..QUAD {
            weights[r] = &p[r * padded_keys + first..][..n];
        }
        let wide = d - d % (NV * S::LANES);
        for at in (0..wide).step_by(NV * S::LANES) {
            value_quad::<S, T, NV>(s, weights, v, at, values, stride);
        }
        for at in (wide..d).step_by(S::LANES) {
            value_quad::<S, T, 1>(s, weights, v, at, values, stride);
        }
    }
}

/// [`value_block`] for four rows and `NV` vectors of dims from `at` on.
#[inline(always)]
fn value_quad<'a, S: VectorMath, T: Copy, const NV: usize>(
    s: S,
    weights: [&[f32]; QUAD],
    v: Span<'a, T>,
    at: usize,
    values: &mut [f32],
    stride: usize,
) where
    &'a [T]: Stored,
{
    let mut sum = [[s.splat(0.0); NV]; QUAD];
    for r in 0..QUAD {
        for c in 0..NV {
            sum[r][c] = s.load(&values[r * stride + at + c * S::LANES..]);
        }
    }
    let mut rest = v.data;
    for j in 0..weights[0].len() {
        let (row, after) = rest.split_at(v.row_len);
        rest = after;
        let mut x = [s.splat(0.0); NV];
        for c in 0..NV {
            if (c * S::LANES).is_multiple_of(32) {
                row.prefetch(v.ahead, at + c * S::LANES);
            }
            x[c] = row.load(s, at + c * S::LANES);
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
pub(super) fn merge<S: VectorMath>(s: S, partials: &Rows<'_>, at: usize, out: &mut [f32]) {
    let (chunks, d) = (partials.rows(), out.len());
    let mut max = f32::MIN;
    for c in 0..chunks {
        max = max.max(partials.row(c)[at]);
    }
    let mut sum = 0.0;
    for c in 0..chunks {
        sum += partials.row(c)[at + 1] * (partials.row(c)[at] - max).exp();
    }
    out.fill(0.0);
    for c in 0..chunks {
        let row = &partials.row(c)[at..at + 2 + d];
        let weight = (row[0] - max).exp() / sum;
        let values = &row[2..];
        let whole = d - d % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let x = s.mul_add(s.splat(weight), s.load(&values[i..]), s.load(&out[i..]));
            s.store(x, &mut out[i..]);
        }
        for i in whole..d {
            out[i] += weight * values[i];
        }
    }
}

#[inline(always)]
pub(super) fn quantize<S: VectorMath>(s: S, x: &[f32], out: &mut [KvBlock]) {
    for b in 0..out.len() {
        let (x, block) = (&x[b * KV_BLOCK..][..KV_BLOCK], &mut out[b]);
        let mut largest = s.splat(0.0);
        for i in (0..KV_BLOCK).step_by(S::LANES) {
            let x = s.load(&x[i..]);
            largest = s.max(s.max(x, s.sub(s.splat(0.0), x)), largest);
        }
        let d = s.reduce_max(largest) / 127.0;
        let inverse = s.splat(if d > 0.0 { 1.0 / d } else { 0.0 });
        block.d = f16::from_f32_const(d);
        for i in (0..KV_BLOCK).step_by(S::LANES) {
            s.store_i8(s.mul(s.load(&x[i..]), inverse), &mut block.qs[i..]);
        }
    }
}
