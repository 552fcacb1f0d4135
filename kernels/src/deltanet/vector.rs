//! Convolution and delta rule in vectors, generic over the level.
//!
//! **Delta rule.** Read token by token, the rule passes over the state four times. Two identities bring that to one
//! read and one write for several tokens. With `a = Sᵀk`, `b = Sᵀq` read from the old state and `α = e^g`:
//! `u = β·(v − α·a)`, `o = α·b + (k·q)·u`, `S ← α·S + k·uᵀ`: both products come from one pass, before the write. And
//! for a group of T tokens, all `a_t`, `b_t` are read from the state before the group, and what the writes inside the
//! group add to them follows from the inner products of the group's keys and queries:
//!
//! ```text
//! D(s,t) = α_{s+1}·…·α_t                       Γ_t = α_1·…·α_t
//! u_t = β_t · (v_t − Γ_t·a_t − Σ_{s<t} D(s,t)·(k_s·k_t)·u_s)
//! o_t =             Γ_t·b_t + Σ_{s≤t} D(s,t)·(k_s·q_t)·u_s
//! S ← Γ_T·S + Σ_s k_s·(D(s,T)·u_s)ᵀ
//! ```
//!
//! Decays are only ever multiplied, never divided. The write of one group and the reads of the next share one pass. At
//! T = 4 an element costs `2 + 1 + 1/4` multiply-adds a token, all on registers but one load and one store of the state
//! a group. A larger T would win little and needs more accumulators than there are registers.

// Loops over ranges: see `crate::simd`.
#![allow(clippy::needless_range_loop)]

use super::{CONV_BLOCK, DeltaTokens, STATE_COLS, scalar};
use crate::Tile;
use crate::memory::prefetch;
use crate::simd::{VectorMath, math};

/// One row of the state, or of anything as wide.
type Row = [f32; STATE_COLS];

/// History of the published models' kernel of four taps; other lengths take the reference.
const HISTORY: usize = 3;

/// Tokens whose values of a block of channels are in the first-level cache together: rows of a batch lie a power of two
/// apart, and more of them would evict each other.
const CONV_TOKENS: usize = 8;

#[inline(always)]
pub(super) fn conv1d_silu<S: VectorMath>(
    s: S,
    x: &mut Tile<'_>,
    state: &mut [[f32; CONV_BLOCK]],
    w: &[[f32; CONV_BLOCK]],
) {
    let Ok(state) = <&mut [[f32; CONV_BLOCK]; HISTORY]>::try_from(&mut *state) else {
        return scalar::conv1d_silu(x, state, w);
    };
    let (tokens, cols) = (x.rows(), x.cols());
    for first in (0..tokens).step_by(CONV_TOKENS) {
        let last = tokens.min(first + CONV_TOKENS);
        for t in last..tokens.min(last + CONV_TOKENS) {
            for c in (0..cols).step_by(16) {
                prefetch(&x.row(t)[c]);
            }
        }
        for c in (0..cols).step_by(S::LANES) {
            let width = S::LANES.min(cols - c);
            let w = [s.load(&w[0][c..]), s.load(&w[1][c..]), s.load(&w[2][c..]), s.load(&w[3][c..])];
            let mut h = [s.load(&state[0][c..]), s.load(&state[1][c..]), s.load(&state[2][c..])];
            for t in first..last {
                let x = &mut x.row_mut(t)[c..c + width];
                if width == S::LANES {
                    let raw = s.load(x);
                    s.store(convolve(s, &w, &mut h, raw), x);
                } else {
                    let raw = s.load_part(x);
                    s.store_part(convolve(s, &w, &mut h, raw), x);
                }
            }
            for i in 0..HISTORY {
                if width == S::LANES {
                    s.store(h[i], &mut state[i][c..]);
                } else {
                    s.store_part(h[i], &mut state[i][c..c + width]);
                }
            }
        }
    }
}

/// One token of a vector of channels; `h` is shifted.
#[inline(always)]
fn convolve<S: VectorMath>(s: S, w: &[S::F32; HISTORY + 1], h: &mut [S::F32; HISTORY], raw: S::F32) -> S::F32 {
    let sum = s.mul_add(w[1], h[1], s.mul(w[0], h[0]));
    let sum = s.mul_add(w[3], raw, s.mul_add(w[2], h[2], sum));
    *h = [h[1], h[2], raw];
    math::silu(s, sum)
}

#[inline(always)]
pub(super) fn delta_rule<S: VectorMath>(
    s: S,
    step: &DeltaTokens<'_>,
    state: &mut [Row],
    o: &mut Tile<'_>,
    scratch: &mut Vec<f32>,
) {
    // Group and strip so that accumulators, writes and a row of the strip fit the registers: 32, 16 and 32 of them.
    match S::LANES {
        16 => sequence::<S, 4, 2>(s, step, state, o, scratch),
        8 => sequence::<S, 2, 2>(s, step, state, o, scratch),
        _ => sequence::<S, 2, 4>(s, step, state, o, scratch),
    }
}

/// What a group of tokens is still to write to the state, but for its keys.
struct Writes<const T: usize> {
    /// `D(t,T)·u_t`
    u: [Row; T],
    /// `Γ_T`
    decay: f32,
}

/// Nothing to write.
const NONE: Writes<0> = Writes { u: [], decay: 1.0 };

/// All tokens, in groups of T while there are as many, then one by one.
#[inline(always)]
fn sequence<S: VectorMath, const T: usize, const NV: usize>(
    s: S,
    step: &DeltaTokens<'_>,
    state: &mut [Row],
    o: &mut Tile<'_>,
    scratch: &mut Vec<f32>,
) {
    let (tokens, grouped, dk) = (o.rows(), o.rows() - o.rows() % T, state.len());
    let mut first = 0;
    if grouped > 0 {
        // Rows of a batch lie a power of two apart: read in place, those of a group would evict each other.
        scratch.resize(3 * T * dk, 0.0);
        let (mut before, rest) = scratch.split_at_mut(T * dk);
        let (mut k, q) = rest.split_at_mut(T * dk);
        gather(step, 0, k, q);
        let mut writes = advance::<S, 0, T, NV>(s, step, 0, [], &NONE, split(k), split(q), state, o);
        for first in (T..grouped).step_by(T) {
            std::mem::swap(&mut before, &mut k);
            gather(step, first, k, q);
            writes = advance::<S, T, T, NV>(s, step, first, split(before), &writes, split(k), split(q), state, o);
        }
        first = grouped;
        pass::<S, T, 0, NV>(s, state, split(k), &writes, [], [], &mut [], &mut []);
    }
    if first < tokens {
        let (mut k, q) = ([step.k.row(first)], [step.q.row(first)]);
        let mut writes = advance::<S, 0, 1, NV>(s, step, first, [], &NONE, k, q, state, o);
        for t in first + 1..tokens {
            let (before, now, q) = (k, [step.k.row(t)], [step.q.row(t)]);
            writes = advance::<S, 1, 1, NV>(s, step, t, before, &writes, now, q, state, o);
            k = now;
        }
        pass::<S, 1, 0, NV>(s, state, k, &writes, [], [], &mut [], &mut []);
    }
}

/// Copies the keys and queries of the tokens from `first` on; has what the next group will ask for brought closer.
#[inline(always)]
fn gather(step: &DeltaTokens<'_>, first: usize, k: &mut [f32], q: &mut [f32]) {
    let dk = step.k.cols();
    let group = k.len() / dk;
    for i in 0..group {
        k[i * dk..][..dk].copy_from_slice(step.k.row(first + i));
        q[i * dk..][..dk].copy_from_slice(step.q.row(first + i));
        let next = first + group + i;
        if next < step.k.rows() {
            prefetch_row(step.k.row(next));
            prefetch_row(step.q.row(next));
            prefetch_row(step.v.row(next));
        }
    }
}

#[inline(always)]
fn prefetch_row(row: &[f32]) {
    for i in (0..row.len()).step_by(16) {
        prefetch(&row[i]);
    }
}

/// T rows of equal length.
#[inline(always)]
fn split<const T: usize>(rows: &[f32]) -> [&[f32]; T] {
    let n = rows.len() / T;
    let mut out = [[].as_slice(); T];
    for t in 0..T {
        out[t] = &rows[t * n..][..n];
    }
    out
}

/// Writes the tokens before, of keys `before`, to the state and answers the T tokens from `first` on, of keys `k` and
/// queries `q`; returns their writes.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn advance<S: VectorMath, const BEFORE: usize, const T: usize, const NV: usize>(
    s: S,
    step: &DeltaTokens<'_>,
    first: usize,
    before: [&[f32]; BEFORE],
    writes: &Writes<BEFORE>,
    k: [&[f32]; T],
    q: [&[f32]; T],
    state: &mut [Row],
    o: &mut Tile<'_>,
) -> Writes<T> {
    let (mut a, mut b) = ([[0.0; STATE_COLS]; T], [[0.0; STATE_COLS]; T]);
    pass::<S, BEFORE, T, NV>(s, state, before, writes, k, q, &mut a, &mut b);
    let (kk, kq) = inner_products(s, k, q);

    let mut u = [[0.0; STATE_COLS]; T];
    // D(e, t) for the t at hand.
    let mut decays = [1.0; T];
    let mut decay = 1.0;
    for t in 0..T {
        let alpha = step.g.row(first + t)[0].exp();
        decay *= alpha;
        for e in 0..t {
            decays[e] *= alpha;
        }
        let beta = s.splat(step.beta.row(first + t)[0]);
        let (mut v, mut out) = ([0.0; STATE_COLS], [0.0; STATE_COLS]);
        let n = o.cols();
        v[..n].copy_from_slice(step.v.row(first + t));
        for c in (0..STATE_COLS).step_by(S::LANES) {
            let mut rest = s.neg_mul_add(s.splat(decay), s.load(&a[t][c..]), s.load(&v[c..]));
            let mut sum = s.mul(s.splat(decay), s.load(&b[t][c..]));
            for e in 0..t {
                let ue = s.load(&u[e][c..]);
                rest = s.neg_mul_add(s.splat(decays[e] * kk[e][t]), ue, rest);
                sum = s.mul_add(s.splat(decays[e] * kq[e][t]), ue, sum);
            }
            let ut = s.mul(beta, rest);
            s.store(ut, &mut u[t][c..]);
            s.store(s.mul_add(s.splat(kq[t][t]), ut, sum), &mut out[c..]);
        }
        o.row_mut(first + t).copy_from_slice(&out[..n]);
    }
    for t in 0..T {
        for c in (0..STATE_COLS).step_by(S::LANES) {
            let ut = s.mul(s.splat(decays[t]), s.load(&u[t][c..]));
            s.store(ut, &mut u[t][c..]);
        }
    }
    Writes { u, decay }
}

/// One pass over the state: `S ← decay·S + Σ_t wk_t·u_tᵀ`, and from the result `a_t = Sᵀk_t`, `b_t = Sᵀq_t`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn pass<S: VectorMath, const W: usize, const T: usize, const NV: usize>(
    s: S,
    state: &mut [Row],
    wk: [&[f32]; W],
    writes: &Writes<W>,
    k: [&[f32]; T],
    q: [&[f32]; T],
    a: &mut [Row; T],
    b: &mut [Row; T],
) {
    let zero = s.splat(0.0);
    let (n, mut wk, mut k, mut q) = (state.len(), wk, k, q);
    // Of the length of the state, so that one index serves all.
    for t in 0..W {
        wk[t] = &wk[t][..n];
    }
    for t in 0..T {
        (k[t], q[t]) = (&k[t][..n], &q[t][..n]);
    }
    let decay = s.splat(writes.decay);
    for at in (0..STATE_COLS).step_by(NV * S::LANES) {
        let mut u = [[zero; NV]; W];
        for t in 0..W {
            for j in 0..NV {
                u[t][j] = s.load(&writes.u[t][at + j * S::LANES..]);
            }
        }
        let (mut sa, mut sb) = ([[zero; NV]; T], [[zero; NV]; T]);
        for i in 0..n {
            let row = &mut state[i][at..at + NV * S::LANES];
            let mut x = [zero; NV];
            for j in 0..NV {
                x[j] = s.load(&row[j * S::LANES..]);
            }
            if W > 0 {
                for j in 0..NV {
                    x[j] = s.mul(x[j], decay);
                }
                for t in 0..W {
                    let k = s.splat(wk[t][i]);
                    for j in 0..NV {
                        x[j] = s.mul_add(k, u[t][j], x[j]);
                    }
                }
                for j in 0..NV {
                    s.store(x[j], &mut row[j * S::LANES..]);
                }
            }
            for t in 0..T {
                let (k, q) = (s.splat(k[t][i]), s.splat(q[t][i]));
                for j in 0..NV {
                    sa[t][j] = s.mul_add(k, x[j], sa[t][j]);
                    sb[t][j] = s.mul_add(q, x[j], sb[t][j]);
                }
            }
        }
        for t in 0..T {
            for j in 0..NV {
                s.store(sa[t][j], &mut a[t][at + j * S::LANES..]);
                s.store(sb[t][j], &mut b[t][at + j * S::LANES..]);
            }
        }
    }
}

/// `k_s·k_t` for `s < t` and `k_s·q_t` for `s ≤ t`, as `[s][t]`.
#[inline(always)]
fn inner_products<S: VectorMath, const T: usize>(
    s: S,
    k: [&[f32]; T],
    q: [&[f32]; T],
) -> ([[f32; T]; T], [[f32; T]; T]) {
    let (mut kk, mut kq) = ([[s.splat(0.0); T]; T], [[s.splat(0.0); T]; T]);
    let (mut kk_sum, mut kq_sum) = ([[0.0; T]; T], [[0.0; T]; T]);
    let n = k[0].len();
    let whole = n - n % S::LANES;
    for i in (0..n).step_by(S::LANES) {
        let (mut ki, mut qi) = ([s.splat(0.0); T], [s.splat(0.0); T]);
        for t in 0..T {
            if i < whole {
                (ki[t], qi[t]) = (s.load(&k[t][i..]), s.load(&q[t][i..]));
            } else {
                (ki[t], qi[t]) = (s.load_part(&k[t][i..]), s.load_part(&q[t][i..]));
            }
        }
        for t in 0..T {
            for e in 0..=t {
                kq[e][t] = s.mul_add(ki[e], qi[t], kq[e][t]);
                if e < t {
                    kk[e][t] = s.mul_add(ki[e], ki[t], kk[e][t]);
                }
            }
        }
    }
    for t in 0..T {
        for e in 0..=t {
            kq_sum[e][t] = s.reduce_add(kq[e][t]);
            if e < t {
                kk_sum[e][t] = s.reduce_add(kk[e][t]);
            }
        }
    }
    (kk_sum, kq_sum)
}
