//! Weights in 16-bit floats as 13-bit integers, without the detour through rows of f32: the words are those that
//! [`super::words::Words::to_words`] makes of the widened values, bit for bit.
//!
//! Magnitudes of 16-bit floats are ordered as their bits are, NaN above infinity above all others, so the largest of a
//! group is found before anything is widened. A word of BF16 is two f32 values by a shift and a mask, and their quants
//! come to stand in its halves again by a shift and a blend: nothing is moved across lanes.

use super::int16::{GROUP_BYTES, GROUP_WORDS, inverse_of, scale_of};
use std::arch::x86_64::*;

/// The high half of each word.
const HIGH: i32 = !0xffff;

/// The largest of 16 magnitudes as f32.
///
/// # Safety
/// The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn largest_of<const BF16: bool>(magnitudes: __m256i) -> f32 {
    // SAFETY: as the caller.
    unsafe {
        let eight = _mm_max_epu16(_mm256_castsi256_si128(magnitudes), _mm256_extracti128_si256::<1>(magnitudes));
        // There is an instruction for the smallest.
        let ones = _mm_set1_epi32(-1);
        let largest = _mm_xor_si128(_mm_minpos_epu16(_mm_xor_si128(eight, ones)), ones);
        let wide = if BF16 { _mm_castsi128_ps(_mm_slli_epi32::<16>(largest)) } else { _mm_cvtph_ps(largest) };
        _mm_cvtss_f32(wide)
    }
}

/// [`super::int16::Pairs::halves_to_words`].
///
/// # Safety
/// The CPU has AVX-512 F and BW, AVX2 and F16C.
#[inline(always)]
pub(super) unsafe fn halves_by_512<const BF16: bool>(bytes: &[u8; GROUP_BYTES], words: &mut [u32; GROUP_WORDS]) {
    // SAFETY: as the caller; loads and stores are of 64 of the bytes and of 16 of the words after the first.
    unsafe {
        let (magnitude, high) = (_mm512_set1_epi16(i16::MAX), _mm512_set1_epi32(HIGH));
        let v = [0, 64, 128, 192].map(|i| _mm512_loadu_si512(bytes[i..].as_ptr().cast()));
        let m = v.map(|v| _mm512_and_si512(v, magnitude));
        let m = _mm512_max_epu16(_mm512_max_epu16(m[0], m[1]), _mm512_max_epu16(m[2], m[3]));
        let m = _mm256_max_epu16(_mm512_castsi512_si256(m), _mm512_extracti64x4_epi64::<1>(m));
        let largest = largest_of::<BF16>(m);
        words[0] = scale_of(largest).to_bits();
        let inverse = _mm512_set1_ps(inverse_of(largest));
        for i in 0..4 {
            let quants = if BF16 {
                let even = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v[i]));
                let odd = _mm512_castsi512_ps(_mm512_and_si512(v[i], high));
                let even = _mm512_cvtps_epi32(_mm512_mul_ps(even, inverse));
                let odd = _mm512_cvtps_epi32(_mm512_mul_ps(odd, inverse));
                _mm512_mask_mov_epi16(_mm512_slli_epi32::<16>(odd), 0x5555_5555, even)
            } else {
                let low = _mm512_cvtph_ps(_mm512_castsi512_si256(v[i]));
                let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(v[i]));
                let low = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
                let high = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
                // Packing works in quarters.
                let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
                _mm512_permutexvar_epi64(order, _mm512_packs_epi32(low, high))
            };
            _mm512_storeu_si512(words[1 + 16 * i..].as_mut_ptr().cast(), quants);
        }
    }
}

/// [`super::int16::Pairs::halves_to_words`].
///
/// # Safety
/// The CPU has AVX2 and F16C.
#[inline(always)]
pub(super) unsafe fn halves_by_256<const BF16: bool>(bytes: &[u8; GROUP_BYTES], words: &mut [u32; GROUP_WORDS]) {
    // SAFETY: as the caller; loads and stores are of 32 of the bytes and of 8 of the words after the first.
    unsafe {
        let (magnitude, high) = (_mm256_set1_epi16(i16::MAX), _mm256_set1_epi32(HIGH));
        let mut m = [_mm256_setzero_si256(); 2];
        for i in 0..8 {
            let v = _mm256_loadu_si256(bytes[32 * i..].as_ptr().cast());
            m[i % 2] = _mm256_max_epu16(m[i % 2], _mm256_and_si256(v, magnitude));
        }
        let largest = largest_of::<BF16>(_mm256_max_epu16(m[0], m[1]));
        words[0] = scale_of(largest).to_bits();
        let inverse = _mm256_set1_ps(inverse_of(largest));
        for i in 0..8 {
            let v = _mm256_loadu_si256(bytes[32 * i..].as_ptr().cast());
            let quants = if BF16 {
                let even = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v));
                let odd = _mm256_castsi256_ps(_mm256_and_si256(v, high));
                let even = _mm256_cvtps_epi32(_mm256_mul_ps(even, inverse));
                let odd = _mm256_cvtps_epi32(_mm256_mul_ps(odd, inverse));
                _mm256_blend_epi16::<0b1010_1010>(even, _mm256_slli_epi32::<16>(odd))
            } else {
                let low = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
                let high = _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(v));
                let low = _mm256_cvtps_epi32(_mm256_mul_ps(low, inverse));
                let high = _mm256_cvtps_epi32(_mm256_mul_ps(high, inverse));
                // Packing works in halves.
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high))
            };
            _mm256_storeu_si256(words[1 + 8 * i..].as_mut_ptr().cast(), quants);
        }
    }
}
