//! AVX-512: sixteen f32 values.

use super::Precision;
use super::lanes::{Dots, Lanes, float_sums, functions, products_of_dots, turn_squares};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Avx512;

// In this implementation:
// SAFETY: the level and the pointers are as the trait demands of the caller.
impl Lanes for Avx512 {
    const N: usize = 16;
    const WIDE: usize = 4;
    const WIDEST: usize = 5;
    const PRECISION: Precision = Precision::F32;
    type V = __m512;
    products_of_dots!();
    turn_squares!(16, crate::transpose::transpose_16, _mm512_loadu_si512, _mm512_storeu_si512);

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn scale(a: __m512, n: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    unsafe fn to_words(x: &[f32], words: &mut [u32]) {
        words.copy_from_slice(bytemuck::cast_slice(x));
    }
}

// SAFETY: as above.
impl Dots for Avx512 {
    type W = __m512;
    float_sums!();

    #[inline(always)]
    unsafe fn load_words(p: *const u32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_word(p: *const u32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(*p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(acc: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, acc) }
    }
}

functions!(F32, Avx512, "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c");
