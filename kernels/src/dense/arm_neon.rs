//! NEON: four f32 values, 32 registers.

use super::Precision;
use super::lanes::{Dots, Lanes, float_sums, functions, products_of_dots, turn_4};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
struct Neon;

// In this implementation:
// SAFETY: the level and the pointers are as the trait demands of the caller.
impl Lanes for Neon {
    const N: usize = 4;
    const WIDE: usize = 4;
    const WIDEST: usize = 4;
    const PRECISION: Precision = Precision::F32;
    type V = float32x4_t;
    products_of_dots!();

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        // SAFETY: see above.
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above. This maximum gives NaN where either is NaN, which is what the callers need of it.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn scale(a: float32x4_t, n: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        }
    }
    #[inline(always)]
    unsafe fn turn(rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
        turn_4(rows, depth, stride, panel, width);
    }
    #[inline(always)]
    unsafe fn to_words(x: &[f32], words: &mut [u32]) {
        words.copy_from_slice(bytemuck::cast_slice(x));
    }
}

// SAFETY: as above.
impl Dots for Neon {
    type W = float32x4_t;
    float_sums!();

    #[inline(always)]
    unsafe fn load_words(p: *const u32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_word(p: *const u32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_dup_f32(p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(acc: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(acc, a, b) }
    }
}

functions!(F32, Neon, "neon");
