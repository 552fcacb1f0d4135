//! Pairs of 16-bit integers, which one instruction multiplies and adds into 32 bits: twice the products of an f32 FMA,
//! as bf16 would give, with ten times less error.
//!
//! A quant is `round(value / d)` for `d` the largest magnitude of its group over [`LARGEST`]. The sum of a group then
//! fits: `GROUP · LARGEST² < 2^31`.

use super::lanes::{Dots, Lanes, f32_vectors_of, functions, products_of_dots};
use super::x86_avx2::Avx2;
use super::x86_avx512::Avx512;
use super::x86_halves::{row_by_256, row_by_512};
use super::{GROUP, Precision};
use crate::Format;
use std::arch::x86_64::*;

/// The largest quant.
const LARGEST: f32 = 4095.0;

/// Groups without a larger magnitude count as zeros, so that `LARGEST` over the magnitude stays finite.
const NOTHING: f32 = 1e-30;

const _: () = assert!(GROUP as u64 * 4095 * 4095 < 1 << 31 && GROUP.is_multiple_of(16));

/// The scale of a group with this largest magnitude.
#[inline(always)]
pub(super) fn scale_of(largest: f32) -> f32 {
    largest * (1.0 / LARGEST)
}

/// What values of such a group are multiplied by.
#[inline(always)]
pub(super) fn inverse_of(largest: f32) -> f32 {
    if largest.is_finite() && largest > NOTHING { LARGEST / largest } else { 0.0 }
}

/// Values to groups of words.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn to_words(x: &[f32], words: &mut [u32]) {
    const WORDS: usize = Precision::Int16.group().1;
    let (groups, rest) = x.as_chunks::<GROUP>();
    let (whole, tail) = words.split_at_mut(groups.len() * WORDS);
    for (group, words) in groups.iter().zip(whole.as_chunks_mut::<WORDS>().0) {
        // SAFETY: the CPU as the caller.
        unsafe { group_to_words(group, words) };
    }
    if !rest.is_empty() {
        let (mut group, mut words) = ([0.0; GROUP], [0; WORDS]);
        group[..rest.len()].copy_from_slice(rest);
        // SAFETY: the CPU as the caller.
        unsafe { group_to_words(&group, &mut words) };
        tail.copy_from_slice(&words[..tail.len()]);
    }
}

/// A scale, then the quants of the values, two a word. A group with NaN or infinity has such a scale, so that all its
/// products are NaN.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn group_to_words(x: &[f32; GROUP], words: &mut [u32; 1 + GROUP / 2]) {
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

/// The parts that differ from level to level: whose floats, the vector of integers, its operations.
macro_rules! lanes {
    ($name:ident, $floats:ty, $wide:literal, $widest:literal, $row:ident, $v:ty, $w:ty, $zero:ident, $load:ident, $splat:ident,
     $dot:expr, $to_f32:ident, $mul:ident, $mul_add:ident) => {
        #[derive(Clone, Copy)]
        struct $name;

        // In this implementation:
        // SAFETY: the level and the pointers are as the trait demands of the caller.
        impl Lanes for $name {
            const WIDE: usize = $wide;
            const WIDEST: usize = $widest;
            const PRECISION: Precision = Precision::Int16;
            f32_vectors_of!($floats);
            products_of_dots!();

            #[inline(always)]
            unsafe fn to_words(x: &[f32], words: &mut [u32]) {
                // SAFETY: see above; every level here contains AVX2.
                unsafe { to_words(x, words) }
            }
            #[inline(always)]
            unsafe fn bytes_to_words(format: Format, bytes: &[u8], words: &mut [u32]) -> bool {
                // SAFETY: see above.
                unsafe {
                    match format {
                        Format::BF16 => $row::<true>(bytes, words),
                        Format::F16 => $row::<false>(bytes, words),
                        _ => return false,
                    }
                }
                true
            }
        }

        // SAFETY: as above.
        impl Dots for $name {
            type W = $w;
            type A = $w;

            #[inline(always)]
            unsafe fn load_words(p: *const u32) -> $w {
                // SAFETY: see above.
                unsafe { $load(p.cast()) }
            }
            #[inline(always)]
            unsafe fn splat_word(p: *const u32) -> $w {
                // SAFETY: see above.
                unsafe { $splat(p.cast::<i32>().read()) }
            }
            #[inline(always)]
            unsafe fn nothing() -> $w {
                // SAFETY: see above.
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn dot(acc: $w, a: $w, b: $w) -> $w {
                // SAFETY: see above.
                unsafe { $dot(acc, a, b) }
            }
            #[inline(always)]
            unsafe fn join(sum: $v, acc: $w, row: $v, columns: $v) -> $v {
                // SAFETY: see above.
                unsafe { $mul_add($to_f32(acc), $mul(row, columns), sum) }
            }
        }
    };
}

/// Without an instruction for both.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn multiply_then_add(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: as the caller.
    unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
}

lanes!(
    Avx2Int16,
    Avx2,
    2,
    3,
    row_by_256,
    __m256,
    __m256i,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_set1_epi32,
    multiply_then_add,
    _mm256_cvtepi32_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps
);
lanes!(
    AvxVnniInt16,
    Avx2,
    2,
    3,
    row_by_256,
    __m256,
    __m256i,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_set1_epi32,
    _mm256_dpwssd_avx_epi32,
    _mm256_cvtepi32_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps
);
lanes!(
    Avx512Int16,
    Avx512,
    4,
    5,
    row_by_512,
    __m512,
    __m512i,
    _mm512_setzero_si512,
    _mm512_loadu_si512,
    _mm512_set1_epi32,
    _mm512_dpwssd_epi32,
    _mm512_cvtepi32_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps
);

functions!(AVX2, Avx2Int16, "avx2,fma,f16c");
functions!(AVXVNNI, AvxVnniInt16, "avx2,fma,f16c,avxvnni");
functions!(AVX512, Avx512Int16, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c");
