//! The Arm levels: registers of 4 f32.

// In every method: SAFETY: `self` exists only where the CPU has the level (`Simd::new`); memory is touched through
// references to as many values as the instruction moves, or through pointers that the caller vouches for.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::{Simd, VectorMath};
use half::f16;
use std::arch::aarch64::*;

/// Proof of NEON and of what else `LEVEL` stands for; see [`Simd::new`].
#[derive(Clone, Copy)]
pub(crate) struct NeonWith<const LEVEL: u8>(());

/// The level without more than NEON, Armv8.0.
pub(crate) const PLAIN: u8 = 0;
/// The level with the dot products of Armv8.2.
pub(crate) const DOTPROD: u8 = 1;
/// The level that also has the matrix products of Armv8.6.
pub(crate) const I8MM: u8 = 2;

/// The level NEON.
pub(crate) type Neon = NeonWith<PLAIN>;
/// The level "dotprod".
pub(crate) type NeonDotprod = NeonWith<DOTPROD>;
/// The level "i8mm".
pub(crate) type NeonI8mm = NeonWith<I8MM>;

impl<const LEVEL: u8> Simd for NeonWith<LEVEL> {
    type F32 = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn new() -> Self {
        NeonWith(())
    }

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load_from(self, p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }

    #[inline(always)]
    unsafe fn store_to(self, v: float32x4_t, p: *mut f32) {
        unsafe { vst1q_f32(p, v) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }

    #[inline(always)]
    fn scale_by_power(self, p: float32x4_t, n: float32x4_t) -> float32x4_t {
        // 2^128 is no f32: the exponent of 2^(n−1) is built and p doubled.
        unsafe {
            let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(126));
            vmulq_f32(vaddq_f32(p, p), vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        }
    }
}

impl<const LEVEL: u8> VectorMath for NeonWith<LEVEL> {
    #[inline(always)]
    fn splat_f16(self, x: f16) -> float32x4_t {
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(x.to_bits()))) }
    }

    #[inline(always)]
    unsafe fn load_f16_from(self, p: *const f16) -> float32x4_t {
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p.cast()))) }
    }

    #[inline(always)]
    fn store_f16(self, v: float32x4_t, x: &mut [f16]) {
        unsafe { vst1_u16(x[..4].as_mut_ptr().cast(), vreinterpret_u16_f16(vcvt_f16_f32(v))) }
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8]) -> float32x4_t {
        let x = &x[..4];
        let word = i32::from_ne_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]);
        unsafe {
            let shorts = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(word)));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(shorts)))
        }
    }

    #[inline(always)]
    fn store_i8(self, v: float32x4_t, x: &mut [i8]) {
        let word = unsafe {
            let shorts = vqmovn_s32(vcvtnq_s32_f32(v));
            vget_lane_s32::<0>(vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(shorts, shorts))))
        };
        for (x, byte) in x[..4].iter_mut().zip(word.to_ne_bytes()) {
            *x = byte as i8;
        }
    }

    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmsq_f32(c, a, b) }
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn select_le(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcleq_f32(a, b), x, y) }
    }

    #[inline(always)]
    fn reduce_add(self, v: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(v) }
    }

    #[inline(always)]
    fn reduce_add_4(self, [a, b, c, d]: [float32x4_t; 4]) -> [f32; 4] {
        unsafe {
            let sums = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
            let mut out = [0.0; 4];
            vst1q_f32(out.as_mut_ptr(), sums);
            out
        }
    }

    #[inline(always)]
    fn reduce_max(self, v: float32x4_t) -> f32 {
        unsafe { vmaxnmvq_f32(v) }
    }
}
