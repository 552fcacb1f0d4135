//! Convolution and delta rule in vectors, generic over the level.
//!
//! **Delta rule.** As it is written, a token passes over the state four times. With `a = Sᵀk`, `b = Sᵀq` read from the
//! state before the token and `α = e^g` it is
//!
//! ```text
//! u = β·(v − α·a)        o = α·b + (k·q)·u        S ← α·S + k·uᵀ
//! ```
//!
//! so both products come from one sweep over the state, before the write, and the write of a token rides on the sweep
//! that reads for the next: one sweep a token. The writes of several tokens whose `u` is known, those of the log, share
//! a sweep too.
//!
//! An element of the state always sees the same operations, `x ← α·x`, then `x ← k·u + x`, token by token, whoever its
//! writes share a sweep with and wherever the result goes; and products with the state are always summed in the order
//! of its rows. So nothing depends on how a sequence is cut into calls, nor on when its writes are made.

// Loops over ranges: see `crate::simd`.
#![allow(clippy::needless_range_loop)]

use super::{CONV_BLOCK, DeltaLog, DeltaTokens, STATE_COLS, Writes, scalar};
use crate::memory::prefetch;
use crate::scratch::carve;
use crate::simd::{VectorMath, math};
use crate::{Rows, Tile};

/// One row of the state, or of anything as wide.
type Row = [f32; STATE_COLS];

/// Rows of the log that are written in one sweep: as many as registers allow.
const FOLD: usize = 4;

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
    log: &DeltaLog<'_>,
    step: &DeltaTokens<'_>,
    state: &mut [Row],
    writes: Writes<'_, '_>,
    o: &mut Tile<'_>,
    scratch: &mut Vec<f32>,
) {
    // Strips of a row whose sums, writes and values fit the registers.
    match S::LANES {
        4 => sequence::<S, 4>(s, log, step, state, writes, o, scratch),
        _ => sequence::<S, 2>(s, log, step, state, writes, o, scratch),
    }
}

/// What a token writes to the state: `S ← α·S + k·uᵀ`.
struct Write<'a> {
    k: &'a [f32],
    u: Row,
    alpha: f32,
}

/// What a token reads from it: `Sᵀk` and `Sᵀq`.
struct Reading {
    a: Row,
    b: Row,
}

/// All tokens, `NV` vectors of a row at a time.
#[inline(always)]
fn sequence<S: VectorMath, const NV: usize>(
    s: S,
    log: &DeltaLog<'_>,
    step: &DeltaTokens<'_>,
    state: &mut [Row],
    writes: Writes<'_, '_>,
    o: &mut Tile<'_>,
    scratch: &mut Vec<f32>,
) {
    let (logged, tokens) = (log.g.rows(), o.rows());
    let draft = match writes {
        // The state after the tokens so far, of which the last one's write is always still to be made.
        Writes::Log(_) if tokens > 2 => state.len() * STATE_COLS,
        _ => 0,
    };
    let [log_alphas, alphas, draft] = carve(scratch, [logged, tokens, draft]);
    let draft = draft.as_chunks_mut::<STATE_COLS>().0;
    decays(s, &log.g, log_alphas);
    decays(s, &step.g, alphas);
    let mut folded = 0;
    while logged - folded > FOLD {
        fold::<S, FOLD, 0, NV>(s, log, log_alphas, folded, state, []);
        folded += FOLD;
    }
    if tokens == 0 {
        fold_rest::<S, 0, NV>(s, log, log_alphas, folded, state, []);
        return;
    }

    // The tokens before `t` but for the last one are in the state that it reads, and the last one's write is at hand.
    let token = |t: usize| {
        if t + 1 < tokens {
            for row in [step.k.row(t + 1), step.q.row(t + 1), step.v.row(t + 1)] {
                prefetch_row(row);
            }
        }
        Token { k: step.k.row(t), q: step.q.row(t), v: step.v.row(t), alpha: alphas[t], beta: step.beta.row(t)[0] }
    };
    let now = token(0);
    let kq = now.kq(s);
    let [reading] = fold_rest::<S, 1, NV>(s, log, log_alphas, folded, state, [now]);
    let mut write = now.answer(s, kq, &reading, o.row_mut(0));
    match writes {
        Writes::Commit => {
            for t in 1..tokens {
                let now = token(t);
                let kq = now.kq(s);
                let [reading] = sweep::<S, _, 1, 1, NV>(s, &mut InPlace(state), [&write], [now]);
                write = now.answer(s, kq, &reading, o.row_mut(t));
            }
            sweep::<S, _, 1, 0, NV>(s, &mut InPlace(state), [&write], []);
        }
        Writes::Log(u) => {
            put(&write.u, u.row_mut(0));
            for t in 1..tokens {
                let now = token(t);
                let kq = now.kq(s);
                let [reading] = match (t == 1, t + 1 == tokens) {
                    (true, true) => sweep::<S, _, 1, 1, NV>(s, &mut ReadOnly(state), [&write], [now]),
                    (false, true) => sweep::<S, _, 1, 1, NV>(s, &mut ReadOnly(draft), [&write], [now]),
                    (true, false) => {
                        let mut across = Across { from: state, to: &mut draft[..state.len()] };
                        sweep::<S, _, 1, 1, NV>(s, &mut across, [&write], [now])
                    }
                    (false, false) => sweep::<S, _, 1, 1, NV>(s, &mut InPlace(draft), [&write], [now]),
                };
                write = now.answer(s, kq, &reading, o.row_mut(t));
                put(&write.u, u.row_mut(t));
            }
        }
    }
}

/// `e^g` of each row.
#[inline(always)]
fn decays<S: VectorMath>(s: S, g: &Rows<'_>, out: &mut [f32]) {
    for i in 0..g.rows() {
        out[i] = g.row(i)[0];
    }
    for i in (0..out.len()).step_by(S::LANES) {
        s.store(math::exp(s, s.load(&out[i..])), &mut out[i..]);
    }
}

/// The columns of a call as a whole row, zero past the last: of whole rows a copy in registers, without a call.
#[inline(always)]
fn padded(x: &[f32]) -> Row {
    x.try_into().unwrap_or_else(|_| {
        let mut row = [0.0; STATE_COLS];
        row[..x.len()].copy_from_slice(x);
        row
    })
}

/// The opposite of [`padded`].
#[inline(always)]
fn put(row: &Row, out: &mut [f32]) {
    match <&mut Row>::try_from(&mut *out) {
        Ok(out) => *out = *row,
        Err(_) => out.copy_from_slice(&row[..out.len()]),
    }
}

#[inline(always)]
fn prefetch_row(row: &[f32]) {
    for i in (0..row.len()).step_by(16) {
        prefetch(&row[i]);
    }
}

/// Writes `W` rows of the log from `first` on to the state, and reads from the result.
#[inline(always)]
fn fold<S: VectorMath, const W: usize, const R: usize, const NV: usize>(
    s: S,
    log: &DeltaLog<'_>,
    alphas: &[f32],
    first: usize,
    state: &mut [Row],
    reads: [Token<'_>; R],
) -> [Reading; R] {
    let writes: [Write<'_>; W] = std::array::from_fn(|i| Write {
        k: log.k.row(first + i),
        u: padded(log.u.row(first + i)),
        alpha: alphas[first + i],
    });
    sweep::<S, _, W, R, NV>(s, &mut InPlace(state), writes.each_ref(), reads)
}

/// [`fold`] for what is left of the log, [`FOLD`] rows or less.
#[inline(always)]
fn fold_rest<S: VectorMath, const R: usize, const NV: usize>(
    s: S,
    log: &DeltaLog<'_>,
    alphas: &[f32],
    first: usize,
    state: &mut [Row],
    reads: [Token<'_>; R],
) -> [Reading; R] {
    match log.g.rows() - first {
        0 => sweep::<S, _, 0, R, NV>(s, &mut ReadOnly(state), [], reads),
        1 => fold::<S, 1, R, NV>(s, log, alphas, first, state, reads),
        2 => fold::<S, 2, R, NV>(s, log, alphas, first, state, reads),
        3 => fold::<S, 3, R, NV>(s, log, alphas, first, state, reads),
        _ => fold::<S, FOLD, R, NV>(s, log, alphas, first, state, reads),
    }
}

/// A token to be answered.
#[derive(Clone, Copy)]
struct Token<'a> {
    k: &'a [f32],
    q: &'a [f32],
    v: &'a [f32],
    alpha: f32,
    beta: f32,
}

impl<'a> Token<'a> {
    /// `k·q`
    #[inline(always)]
    fn kq<S: VectorMath>(&self, s: S) -> f32 {
        let (k, q) = (self.k, &self.q[..self.k.len()]);
        let whole = k.len() - k.len() % S::LANES;
        let mut sum = s.splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            sum = s.mul_add(s.load(&k[i..]), s.load(&q[i..]), sum);
        }
        if whole < k.len() {
            sum = s.mul_add(s.load_part(&k[whole..]), s.load_part(&q[whole..]), sum);
        }
        s.reduce_add(sum)
    }

    /// The token's output from what it has read, and what it writes.
    #[inline(always)]
    fn answer<S: VectorMath>(&self, s: S, kq: f32, reading: &Reading, o: &mut [f32]) -> Write<'a> {
        let (v, mut u, mut out) = (padded(self.v), [0.0; STATE_COLS], [0.0; STATE_COLS]);
        let (alpha, beta, kq) = (s.splat(self.alpha), s.splat(self.beta), s.splat(kq));
        for c in (0..STATE_COLS).step_by(S::LANES) {
            let rest = s.neg_mul_add(alpha, s.load(&reading.a[c..]), s.load(&v[c..]));
            let ut = s.mul(beta, rest);
            s.store(ut, &mut u[c..]);
            s.store(s.mul_add(kq, ut, s.mul(alpha, s.load(&reading.b[c..]))), &mut out[c..]);
        }
        put(&out, o);
        if o.len() < STATE_COLS {
            u[o.len()..].fill(0.0);
        }
        Write { k: self.k, u, alpha: self.alpha }
    }
}

/// Where a sweep finds the state, and where it leaves it.
trait Strip {
    fn len(&self) -> usize;

    fn row(&self, i: usize) -> &Row;

    /// Row `i` to be written, if it is.
    fn write(&mut self, i: usize) -> Option<&mut Row>;
}

struct InPlace<'a>(&'a mut [Row]);

impl Strip for InPlace<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn row(&self, i: usize) -> &Row {
        &self.0[i]
    }

    #[inline(always)]
    fn write(&mut self, i: usize) -> Option<&mut Row> {
        Some(&mut self.0[i])
    }
}

/// To another strip, as long.
struct Across<'a> {
    from: &'a [Row],
    to: &'a mut [Row],
}

impl Strip for Across<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.from.len().min(self.to.len())
    }

    #[inline(always)]
    fn row(&self, i: usize) -> &Row {
        &self.from[i]
    }

    #[inline(always)]
    fn write(&mut self, i: usize) -> Option<&mut Row> {
        Some(&mut self.to[i])
    }
}

/// Nowhere: nobody reads it afterwards.
struct ReadOnly<'a>(&'a [Row]);

impl Strip for ReadOnly<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn row(&self, i: usize) -> &Row {
        &self.0[i]
    }

    #[inline(always)]
    fn write(&mut self, _i: usize) -> Option<&mut Row> {
        None
    }
}

/// One sweep over the state: `W` writes in their order, then `R` readings of the result.
#[inline(always)]
fn sweep<S: VectorMath, M: Strip, const W: usize, const R: usize, const NV: usize>(
    s: S,
    strip: &mut M,
    writes: [&Write<'_>; W],
    reads: [Token<'_>; R],
) -> [Reading; R] {
    let (zero, n) = (s.splat(0.0), strip.len());
    // Of the length of the state, so that one index serves all.
    let (mut wk, mut alpha) = ([[].as_slice(); W], [zero; W]);
    for t in 0..W {
        (wk[t], alpha[t]) = (&writes[t].k[..n], s.splat(writes[t].alpha));
    }
    let (mut k, mut q) = ([[].as_slice(); R], [[].as_slice(); R]);
    for t in 0..R {
        (k[t], q[t]) = (&reads[t].k[..n], &reads[t].q[..n]);
    }
    let mut readings = [const { Reading { a: [0.0; STATE_COLS], b: [0.0; STATE_COLS] } }; R];
    for at in (0..STATE_COLS).step_by(NV * S::LANES) {
        let mut u = [[zero; NV]; W];
        for t in 0..W {
            for j in 0..NV {
                u[t][j] = s.load(&writes[t].u[at + j * S::LANES..]);
            }
        }
        let (mut a, mut b) = ([[zero; NV]; R], [[zero; NV]; R]);
        for i in 0..n {
            let row = &strip.row(i)[at..at + NV * S::LANES];
            let mut x = [zero; NV];
            for j in 0..NV {
                x[j] = s.load(&row[j * S::LANES..]);
            }
            for t in 0..W {
                let k = s.splat(wk[t][i]);
                for j in 0..NV {
                    x[j] = s.mul_add(k, u[t][j], s.mul(x[j], alpha[t]));
                }
            }
            if W > 0
                && let Some(row) = strip.write(i)
            {
                for j in 0..NV {
                    s.store(x[j], &mut row[at + j * S::LANES..]);
                }
            }
            for t in 0..R {
                let (k, q) = (s.splat(k[t][i]), s.splat(q[t][i]));
                for j in 0..NV {
                    a[t][j] = s.mul_add(k, x[j], a[t][j]);
                    b[t][j] = s.mul_add(q, x[j], b[t][j]);
                }
            }
        }
        for t in 0..R {
            for j in 0..NV {
                s.store(a[t][j], &mut readings[t].a[at + j * S::LANES..]);
                s.store(b[t][j], &mut readings[t].b[at + j * S::LANES..]);
            }
        }
    }
    readings
}
