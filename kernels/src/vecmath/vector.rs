//! The operations in vectors, generic over the level; see `mod.rs` for the equations.

// Loops over ranges: see `crate::simd`.
#![allow(clippy::needless_range_loop)]

use crate::simd::{VectorMath, math};
use half::f16;

/// An operation on corresponding values of two rows (the second is ignored where there is only one).
trait Elementwise: Copy {
    fn apply<S: VectorMath>(self, s: S, x: S::F32, y: S::F32) -> S::F32;
}

macro_rules! elementwise {
    ($($name:ident |$s:ident, $x:ident, $y:ident| $value:expr;)*) => { $(
        #[derive(Clone, Copy)]
        struct $name;
        impl Elementwise for $name {
            #[inline(always)]
            fn apply<S: VectorMath>(self, $s: S, $x: S::F32, $y: S::F32) -> S::F32 {
                $value
            }
        }
    )* };
}

elementwise! {
    Add |s, x, y| s.add(x, y);
    SiluMul |s, x, y| s.mul(math::silu(s, x), y);
    SigmoidMul |s, x, y| s.mul(x, math::sigmoid(s, y));
    GeluTanh |s, x, _y| math::gelu_tanh(s, x);
    GeluErf |s, x, _y| math::gelu_erf(s, x);
}

/// Multiplication with one number.
#[derive(Clone, Copy)]
struct Scale(f32);

impl Elementwise for Scale {
    #[inline(always)]
    fn apply<S: VectorMath>(self, s: S, x: S::F32, _y: S::F32) -> S::F32 {
        s.mul(x, s.splat(self.0))
    }
}

/// `x · r · y`.
#[derive(Clone, Copy)]
struct ScaleMul(f32);

impl Elementwise for ScaleMul {
    #[inline(always)]
    fn apply<S: VectorMath>(self, s: S, x: S::F32, y: S::F32) -> S::F32 {
        s.mul(s.mul(x, s.splat(self.0)), y)
    }
}

#[inline(always)]
fn update<S: VectorMath>(s: S, op: impl Elementwise, x: &mut [f32]) {
    let whole = x.len() - x.len() % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let x = &mut x[i..i + S::LANES];
        let v = s.load(x);
        s.store(op.apply(s, v, v), x);
    }
    if whole < x.len() {
        let v = s.load_part(&x[whole..]);
        s.store_part(op.apply(s, v, v), &mut x[whole..]);
    }
}

#[inline(always)]
fn update_with<S: VectorMath>(s: S, op: impl Elementwise, x: &mut [f32], y: &[f32]) {
    let whole = x.len() - x.len() % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let (x, y) = (&mut x[i..i + S::LANES], &y[i..i + S::LANES]);
        s.store(op.apply(s, s.load(x), s.load(y)), x);
    }
    if whole < x.len() {
        let (x, y) = (&mut x[whole..], &y[whole..]);
        s.store_part(op.apply(s, s.load_part(x), s.load_part(y)), x);
    }
}

/// `(Σ(x−c), Σ(x−c)²)` in four chains of vectors.
#[inline(always)]
fn moments<S: VectorMath>(s: S, x: &[f32], centre: f32) -> (f32, f32) {
    let c = s.splat(centre);
    let (mut sum, mut square) = ([s.splat(0.0); 4], [s.splat(0.0); 4]);
    let whole = x.len() - x.len() % (4 * S::LANES);
    for i in (0..whole).step_by(4 * S::LANES) {
        let x = &x[i..i + 4 * S::LANES];
        for j in 0..4 {
            let x = s.sub(s.load(&x[j * S::LANES..]), c);
            sum[j] = s.add(sum[j], x);
            square[j] = s.mul_add(x, x, square[j]);
        }
    }
    let mut tail = (0.0, 0.0);
    for i in whole..x.len() {
        let x = x[i] - centre;
        tail = (tail.0 + x, tail.1 + x * x);
    }
    let sum = s.add(s.add(sum[0], sum[1]), s.add(sum[2], sum[3]));
    let square = s.add(s.add(square[0], square[1]), s.add(square[2], square[3]));
    (s.reduce_add(sum) + tail.0, s.reduce_add(square) + tail.1)
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
fn inverse_rms<S: VectorMath>(s: S, x: &[f32], eps: f32) -> f32 {
    1.0 / (moments(s, x, 0.0).1 / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
pub(super) fn rms_norm<S: VectorMath>(s: S, x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    let r = inverse_rms(s, x, eps);
    out.copy_from_slice(x);
    update_with(s, ScaleMul(r), out, w);
}

#[inline(always)]
pub(super) fn rms_norm_in_place<S: VectorMath>(s: S, x: &mut [f32], w: &[f32], eps: f32) {
    let r = inverse_rms(s, x, eps);
    update_with(s, ScaleMul(r), x, w);
}

#[inline(always)]
pub(super) fn gated_rms_norm<S: VectorMath>(s: S, o: &mut [f32], z: &[f32], w: &[f32], eps: f32) {
    let r = inverse_rms(s, o, eps);
    update_with(s, ScaleMul(r), o, w);
    update_with(s, MulSilu, o, z);
}

/// `x · silu(y)`.
#[derive(Clone, Copy)]
struct MulSilu;

impl Elementwise for MulSilu {
    #[inline(always)]
    fn apply<S: VectorMath>(self, s: S, x: S::F32, y: S::F32) -> S::F32 {
        s.mul(x, math::silu(s, y))
    }
}

#[inline(always)]
pub(super) fn l2_norm<S: VectorMath>(s: S, x: &mut [f32], eps: f32, scale: f32) {
    let r = scale / (moments(s, x, 0.0).1 + eps).sqrt();
    update(s, Scale(r), x);
}

#[inline(always)]
pub(super) fn layer_norm<S: VectorMath>(s: S, x: &[f32], w: &[f32], b: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = moments(s, x, 0.0).0 / n;
    let (rest, square) = moments(s, x, mean);
    // What rounding left in the mean is taken out of it, and of the variance.
    let rest = rest / n;
    let mean = mean + rest;
    let r = 1.0 / (square / n - rest * rest + eps).sqrt();
    let centre = Centre { mean, r };
    out.copy_from_slice(x);
    update(s, centre, out);
    update_with(s, Mul, out, w);
    update_with(s, Add, out, b);
}

/// `x · y`.
#[derive(Clone, Copy)]
struct Mul;

impl Elementwise for Mul {
    #[inline(always)]
    fn apply<S: VectorMath>(self, s: S, x: S::F32, y: S::F32) -> S::F32 {
        s.mul(x, y)
    }
}

/// `(x − mean) · r`.
#[derive(Clone, Copy)]
struct Centre {
    mean: f32,
    r: f32,
}

impl Elementwise for Centre {
    #[inline(always)]
    fn apply<S: VectorMath>(self, s: S, x: S::F32, _y: S::F32) -> S::F32 {
        s.mul(s.sub(x, s.splat(self.mean)), s.splat(self.r))
    }
}

#[inline(always)]
pub(super) fn silu_mul<S: VectorMath>(s: S, gate: &mut [f32], up: &[f32]) {
    update_with(s, SiluMul, gate, up);
}

#[inline(always)]
pub(super) fn sigmoid_mul<S: VectorMath>(s: S, x: &mut [f32], gate: &[f32]) {
    update_with(s, SigmoidMul, x, gate);
}

#[inline(always)]
pub(super) fn gelu_tanh<S: VectorMath>(s: S, x: &mut [f32]) {
    update(s, GeluTanh, x);
}

#[inline(always)]
pub(super) fn gelu_erf<S: VectorMath>(s: S, x: &mut [f32]) {
    update(s, GeluErf, x);
}

#[inline(always)]
pub(super) fn add<S: VectorMath>(s: S, x: &mut [f32], y: &[f32]) {
    update_with(s, Add, x, y);
}

#[inline(always)]
pub(super) fn rope<S: VectorMath>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let n = cos.len();
    let whole = n - n % S::LANES;
    let (first, second) = head.split_at_mut(n);
    for i in (0..whole).step_by(S::LANES) {
        let (a, b) = (s.load(&first[i..]), s.load(&second[i..]));
        let (cos, sin) = (s.load(&cos[i..]), s.load(&sin[i..]));
        s.store(s.neg_mul_add(b, sin, s.mul(a, cos)), &mut first[i..]);
        s.store(s.mul_add(a, sin, s.mul(b, cos)), &mut second[i..]);
    }
    for i in whole..n {
        let (a, b) = (first[i], second[i]);
        (first[i], second[i]) = (a * cos[i] - b * sin[i], b * cos[i] + a * sin[i]);
    }
}

#[inline(always)]
pub(super) fn f32_to_f16<S: VectorMath>(s: S, x: &[f32], out: &mut [f16]) {
    let whole = x.len() - x.len() % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        s.store_f16(s.load(&x[i..]), &mut out[i..]);
    }
    let mut tail = [f16::ZERO; 16];
    s.store_f16(s.load_part(&x[whole..]), &mut tail);
    out[whole..].copy_from_slice(&tail[..x.len() - whole]);
}

#[inline(always)]
pub(super) fn f16_to_f32<S: VectorMath>(s: S, x: &[f16], out: &mut [f32]) {
    let whole = x.len() - x.len() % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        s.store(s.load_f16(&x[i..]), &mut out[i..]);
    }
    let mut tail = [f16::ZERO; 16];
    tail[..x.len() - whole].copy_from_slice(&x[whole..]);
    s.store_part(s.load_f16(&tail), &mut out[whole..]);
}

/// The largest value that is not NaN, minus infinity if there is none.
#[inline(always)]
pub(super) fn max<S: VectorMath>(s: S, x: &[f32]) -> f32 {
    let mut best = [s.splat(f32::NEG_INFINITY); 4];
    let whole = x.len() - x.len() % (4 * S::LANES);
    for i in (0..whole).step_by(4 * S::LANES) {
        let x = &x[i..i + 4 * S::LANES];
        for j in 0..4 {
            // As second operand the maximum so far survives a NaN.
            best[j] = s.max(s.load(&x[j * S::LANES..]), best[j]);
        }
    }
    let best = s.max(s.max(best[0], best[1]), s.max(best[2], best[3]));
    let mut max = s.reduce_max(best);
    for i in whole..x.len() {
        max = max.max(x[i]);
    }
    max
}
