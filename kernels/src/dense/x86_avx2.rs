//! AVX2 with FMA: eight f32 values.

use super::Precision;
use super::lanes::{Dots, Lanes, float_sums, functions, products_of_dots, turn_squares};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Avx2;

// In this implementation:
// SAFETY: the level and the pointers are as the trait demands of the caller.
impl Lanes for Avx2 {
    const N: usize = 8;
    const WIDE: usize = 2;
    const WIDEST: usize = 3;
    const PRECISION: Precision = Precision::F32;
    type V = __m256;
    products_of_dots!();
    turn_squares!(8, crate::transpose::transpose_8, _mm256_loadu_si256, _mm256_storeu_si256);

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn scale(a: __m256, n: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }
    #[inline(always)]
    unsafe fn to_words(x: &[f32], words: &mut [u32]) {
        words.copy_from_slice(bytemuck::cast_slice(x));
    }
}

// SAFETY: as above.
impl Dots for Avx2 {
    type W = __m256;
    float_sums!();

    #[inline(always)]
    unsafe fn load_words(p: *const u32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_word(p: *const u32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_broadcast_ss(&*p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(acc: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, acc) }
    }
}

functions!(F32, Avx2, "avx2,fma,f16c");
