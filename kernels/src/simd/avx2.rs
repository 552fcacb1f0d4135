//! The levels AVX2 and AVX-VNNI: registers of 8 f32.

// In every method: SAFETY: `self` exists only where the CPU has the level (`Simd::new`); memory is touched through
// references to as many values as the instruction moves, or through pointers that the caller vouches for.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::{Simd, VectorMath};
use half::f16;
use std::arch::x86_64::*;

/// Proof of AVX2, FMA and F16C, and with `VNNI` of AVX-VNNI; see [`Simd::new`].
#[derive(Clone, Copy)]
pub(crate) struct Avx2With<const VNNI: bool>(());

/// The level AVX2.
pub(crate) type Avx2 = Avx2With<false>;
/// The level AVX-VNNI, which adds one instruction for the products of bytes and one for those of pairs.
pub(crate) type AvxVnni = Avx2With<true>;

impl<const VNNI: bool> Simd for Avx2With<VNNI> {
    type F32 = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn new() -> Self {
        Avx2With(())
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_from(self, p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store_to(self, v: __m256, p: *mut f32) {
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale_by_power(self, p: __m256, n: __m256) -> __m256 {
        // 2^128 is no f32: the exponent of 2^(n−1) is built and p doubled.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(126));
            _mm256_mul_ps(_mm256_add_ps(p, p), _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }
}

impl<const VNNI: bool> VectorMath for Avx2With<VNNI> {
    #[inline(always)]
    fn splat_f16(self, x: f16) -> __m256 {
        unsafe { _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(x.to_bits())))) }
    }

    #[inline(always)]
    unsafe fn load_f16_from(self, p: *const f16) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    fn store_f16(self, v: __m256, x: &mut [f16]) {
        let half = unsafe { _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v) };
        unsafe { _mm_storeu_si128(x[..8].as_mut_ptr().cast(), half) }
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8]) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(x[..8].as_ptr().cast()))) }
    }

    #[inline(always)]
    fn store_i8(self, v: __m256, x: &mut [i8]) {
        unsafe {
            let ints = _mm256_cvtps_epi32(v);
            let shorts = _mm_packs_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256::<1>(ints));
            _mm_storel_epi64(x[..8].as_mut_ptr().cast(), _mm_packs_epi16(shorts, shorts));
        }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn select_le(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LE_OQ>(a, b)) }
    }

    #[inline(always)]
    fn reduce_add(self, v: __m256) -> f32 {
        self.reduce_add_4([v; 4])[0]
    }

    #[inline(always)]
    fn reduce_add_4(self, [a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        unsafe {
            let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }

    #[inline(always)]
    fn reduce_max(self, v: __m256) -> f32 {
        let mut lanes = [0.0; 8];
        self.store(v, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
