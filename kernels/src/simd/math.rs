//! Elementary functions of vectors, with their errors. Tested in `tests.rs` against f64 over their whole range.

use super::{Simd, VectorMath};

/// `e^x` within 2 ulp for `x > -86.9`; 0 up to there (where e^x < 1.9e-38), infinite above 88.73, NaN for NaN.
///
/// `x = n·ln 2 + r` with n an integer and `|r| ≤ ln 2 / 2`; `e^x = 2ⁿ · e^r`; ln 2 is cut in two so that r is exact to
/// the last bit; `e^r = 1 + r + r²·p(r)`, p a polynomial of degree 4 fitted to 8e-9 (Chebyshev).
#[inline(always)]
pub(crate) fn exp<S: VectorMath>(s: S, x: S::F32) -> S::F32 {
    // As second operand x survives when it is NaN.
    let x1 = s.min(s.splat(89.0), s.max(s.splat(-87.0), x));
    let n = s.round(s.mul(x1, s.splat(std::f32::consts::LOG2_E)));
    let r = s.neg_mul_add(n, s.splat(0.691_406_25), x1);
    let r = s.neg_mul_add(n, s.splat(0.001_740_930_6), r);
    let mut p = s.splat(1.392_632_6e-3);
    p = s.mul_add(p, r, s.splat(8.363_293e-3));
    p = s.mul_add(p, r, s.splat(4.166_655_4e-2));
    p = s.mul_add(p, r, s.splat(1.666_657_6e-1));
    p = s.mul_add(p, r, s.splat(0.5));
    let p = s.add(s.mul_add(s.mul(r, r), p, r), s.splat(1.0));
    s.select_le(x, s.splat(-86.9), s.splat(0.0), s.scale_by_power(p, n))
}

/// `2^x` for `x ≤ 0`, within 3e-7 relative; `2^-126` below -126; NaN stays NaN.
///
/// The fraction in -1/2..=1/2 goes through the Taylor polynomial of `2^f` of degree 6 (error 1.3e-7 at the ends). The
/// polynomial is halved and its power doubled: `2^-126` is below what [`Simd::scale_by_power`] takes.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(s: S, x: S::F32) -> S::F32 {
    const C: [f32; 7] =
        [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0];
    let x = s.max(s.splat(-126.0), x);
    let n = s.round(x);
    let f = s.sub(x, n);
    let mut half = s.splat(0.5 * C[0]);
    for c in &C[1..] {
        half = s.mul_add(half, f, s.splat(0.5 * c));
    }
    s.scale_by_power(half, s.add(n, s.splat(1.0)))
}

/// `1 / (1 + e^−x)`, relative error at most 4e-7 for `x ≥ -86`; 0 below about -88.7.
#[inline(always)]
pub(crate) fn sigmoid<S: VectorMath>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// `x / (1 + e^−x)`, relative error at most 4e-7 for `x ≥ -86`; -0 below about -88.7.
#[inline(always)]
pub(crate) fn silu<S: VectorMath>(s: S, x: S::F32) -> S::F32 {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), x))))
}

/// `x/2 · (1 + tanh z) = x · sigmoid(2z)` with `z = √(2/π) · (x + 0.044715 x³)`. Absolute error at most 5e-7·max(1,
/// |x|).
#[inline(always)]
pub(crate) fn gelu_tanh<S: VectorMath>(s: S, x: S::F32) -> S::F32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    let cubic = s.mul_add(s.mul(x, x), s.splat(0.044_715 * TWICE_SQRT_2_OVER_PI), s.splat(TWICE_SQRT_2_OVER_PI));
    s.mul(x, sigmoid(s, s.mul(x, cubic)))
}

/// `x/2 · (1 + erf(x/√2))`. Absolute error at most 5e-7·max(1, |x|).
///
/// `erfc(z) = e^(−z²) · t · p(t)`, `t = 1 / (1 + 0.4 z)`, for `z = |x|/√2 ≥ 0`; p of degree 8, fitted to a relative
/// error of 1.4e-7 over all z (Chebyshev in t). The product is `x/2 · erfc(z)` left of zero and x minus that right of
/// it.
#[inline(always)]
pub(crate) fn gelu_erf<S: VectorMath>(s: S, x: S::F32) -> S::F32 {
    const P: [f32; 9] = [
        0.051_346_466,
        -0.187_325_42,
        0.176_427_77,
        -0.011_961_412,
        0.144_481_24,
        0.167_746_32,
        0.207_944_65,
        0.225_664_63,
        0.225_675_9,
    ];
    let zero = s.splat(0.0);
    let magnitude = s.max(s.sub(zero, x), x);
    let t = s.div(s.splat(1.0), s.mul_add(magnitude, s.splat(0.4 * std::f32::consts::FRAC_1_SQRT_2), s.splat(1.0)));
    let mut p = s.splat(P[0]);
    for c in &P[1..] {
        p = s.mul_add(p, t, s.splat(*c));
    }
    let bell = exp(s, s.mul(s.mul(x, x), s.splat(-0.5)));
    let tail = s.mul(s.mul(s.mul(x, s.splat(0.5)), s.mul(t, p)), bell);
    s.select_le(x, zero, tail, s.sub(x, tail))
}
