//! The levels AVX-512-VNNI and AMX: registers of 16 f32.

// In every method: SAFETY: `self` exists only where the CPU has the level (`Simd::new`); memory is touched through
// references to as many values as the instruction moves, or through pointers that the caller vouches for.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::{Simd, VectorMath};
use half::f16;
use std::arch::x86_64::*;

/// Proof of AVX-512 F, BW, VL, DQ and VNNI, AVX2, FMA and F16C, and with `BF16` of AVX-512-BF16; see [`Simd::new`].
#[derive(Clone, Copy)]
pub(crate) struct Avx512With<const BF16: bool>(());

/// The level AVX-512-VNNI.
pub(crate) type Avx512 = Avx512With<false>;
/// The vectors of the level AMX.
pub(crate) type Avx512Bf16 = Avx512With<true>;

impl<const BF16: bool> Simd for Avx512With<BF16> {
    type F32 = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn new() -> Self {
        Avx512With(())
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_from(self, p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store_to(self, v: __m512, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale_by_power(self, p: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(p, n) }
    }
}

impl<const BF16: bool> VectorMath for Avx512With<BF16> {
    #[inline(always)]
    fn splat_f16(self, x: f16) -> __m512 {
        unsafe { _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(x.to_bits())))) }
    }

    #[inline(always)]
    unsafe fn load_f16_from(self, p: *const f16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }

    #[inline(always)]
    fn store_f16(self, v: __m512, x: &mut [f16]) {
        let half = unsafe { _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v) };
        unsafe { _mm256_storeu_si256(x[..16].as_mut_ptr().cast(), half) }
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8]) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x[..16].as_ptr().cast()))) }
    }

    #[inline(always)]
    fn store_i8(self, v: __m512, x: &mut [i8]) {
        let bytes = unsafe { _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)) };
        unsafe { _mm_storeu_si128(x[..16].as_mut_ptr().cast(), bytes) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn select_le(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b), y, x) }
    }

    #[inline(always)]
    fn reduce_add(self, v: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    fn reduce_add_4(self, v: [__m512; 4]) -> [f32; 4] {
        unsafe {
            let (a, b, c, d) = (fold(v[0]), fold(v[1]), fold(v[2]), fold(v[3]));
            let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }

    #[inline(always)]
    fn reduce_max(self, v: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(v) }
    }
}

/// Upper half plus lower half.
#[inline(always)]
fn fold(v: __m512) -> __m256 {
    unsafe { _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)) }
}
