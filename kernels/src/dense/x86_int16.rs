//! 13-bit integers on x86: the operations of [`Pairs`], with AVX2 and with AVX-512.

use super::GROUP;
use super::int16::{GROUP_BYTES, GROUP_WORDS, Pairs, inverse_of, scale_of};
use super::x86_halves::{halves_by_256, halves_by_512};
use crate::simd::{Avx2With, Avx512, has};
use std::arch::x86_64::*;

impl<const VNNI: bool> Pairs for Avx2With<VNNI> {
    type Ints = __m256i;

    #[inline(always)]
    unsafe fn load_words(self, p: *const u32) -> __m256i {
        // SAFETY: as the caller.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> __m256i {
        has!(_mm256_set1_epi32(word as i32))
    }

    #[inline(always)]
    fn no_sums(self) -> __m256i {
        has!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn dot_pairs(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        has!(if VNNI { _mm256_dpwssd_avx_epi32(acc, a, b) } else { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) })
    }

    #[inline(always)]
    fn to_f32(self, sums: __m256i) -> __m256 {
        has!(_mm256_cvtepi32_ps(sums))
    }

    #[inline(always)]
    fn group_to_words(self, x: &[f32; GROUP], words: &mut [u32; GROUP_WORDS]) {
        has!(group_by_256(x, words));
    }

    #[inline(always)]
    fn halves_to_words<const BF16: bool>(self, x: &[u8; GROUP_BYTES], words: &mut [u32; GROUP_WORDS]) {
        has!(halves_by_256::<BF16>(x, words));
    }
}

impl Pairs for Avx512 {
    type Ints = __m512i;

    #[inline(always)]
    unsafe fn load_words(self, p: *const u32) -> __m512i {
        // SAFETY: as the caller.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> __m512i {
        has!(_mm512_set1_epi32(word as i32))
    }

    #[inline(always)]
    fn no_sums(self) -> __m512i {
        has!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn dot_pairs(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        has!(_mm512_dpwssd_epi32(acc, a, b))
    }

    #[inline(always)]
    fn to_f32(self, sums: __m512i) -> __m512 {
        has!(_mm512_cvtepi32_ps(sums))
    }

    #[inline(always)]
    fn group_to_words(self, x: &[f32; GROUP], words: &mut [u32; GROUP_WORDS]) {
        has!(group_by_256(x, words));
    }

    #[inline(always)]
    fn halves_to_words<const BF16: bool>(self, x: &[u8; GROUP_BYTES], words: &mut [u32; GROUP_WORDS]) {
        has!(halves_by_512::<BF16>(x, words));
    }
}

/// [`Pairs::group_to_words`].
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn group_by_256(x: &[f32; GROUP], words: &mut [u32; GROUP_WORDS]) {
    let eights = x.as_chunks::<8>().0;
    // SAFETY: the CPU as the caller; loads and stores are of whole arrays.
    unsafe {
        // Magnitudes as whole numbers, whose order puts NaN above infinity.
        let magnitude = _mm256_set1_epi32(i32::MAX);
        let mut largest = [_mm256_setzero_si256(); 2];
        for pair in eights.as_chunks::<2>().0 {
            for i in 0..2 {
                let bits = _mm256_loadu_si256(pair[i].as_ptr().cast());
                largest[i] = _mm256_max_epi32(largest[i], _mm256_and_si256(bits, magnitude));
            }
        }
        let largest = _mm256_max_epi32(largest[0], largest[1]);
        let largest = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256::<1>(largest));
        let largest = _mm_max_epi32(largest, _mm_shuffle_epi32::<0b01_00_11_10>(largest));
        let largest = _mm_max_epi32(largest, _mm_shuffle_epi32::<0b10_11_00_01>(largest));
        let largest = f32::from_bits(_mm_cvtsi128_si32(largest) as u32);
        words[0] = scale_of(largest).to_bits();
        let inverse = _mm256_set1_ps(inverse_of(largest));
        let quants = words[1..].as_chunks_mut::<8>().0;
        for (sixteen, out) in eights.as_chunks::<2>().0.iter().zip(quants) {
            let quant = |eight: &[f32; 8]| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(eight.as_ptr()), inverse));
            // Packing works in halves of 128 bits.
            let mixed = _mm256_packs_epi32(quant(&sixteen[0]), quant(&sixteen[1]));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(mixed));
        }
    }
}
