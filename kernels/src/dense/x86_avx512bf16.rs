//! AVX-512 with the bf16 dot product: sixteen f32 sums, two products each an instruction.

use super::Precision;
use super::lanes::{Lanes, functions};
use super::x86_avx512::Avx512;
use std::arch::x86_64::*;
use std::mem::transmute;

#[derive(Clone, Copy)]
struct Avx512Bf16;

// In this implementation:
// SAFETY: the level and the pointers are as the trait demands of the caller.
impl Lanes for Avx512Bf16 {
    const N: usize = 16;
    const WIDE: usize = 4;
    const WIDEST: usize = 5;
    const PRECISION: Precision = Precision::Bf16;
    type V = __m512;
    type W = __m512i;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::splat(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::load(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: see above.
        unsafe { Avx512::store(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::add(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::sub(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::mul_add(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::max(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::round(a) }
    }
    #[inline(always)]
    unsafe fn scale(a: __m512, n: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { Avx512::scale(a, n) }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_word(p: *const u32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(*p.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(acc: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: see above; the types differ in name alone.
        unsafe { _mm512_dpbf16_ps(acc, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b)) }
    }
    #[inline(always)]
    unsafe fn to_words(x: &[f32], words: &mut [u32]) {
        let (chunks, rest) = x.as_chunks::<16>();
        let (out, tail) = words.split_at_mut(chunks.len() * 8);
        for (chunk, words) in chunks.iter().zip(out.as_chunks_mut::<8>().0) {
            // SAFETY: the level as the caller; sixteen values and eight words, as their types say.
            unsafe {
                let pairs: __m256i = transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(chunk.as_ptr())));
                _mm256_storeu_si256(words.as_mut_ptr().cast(), pairs);
            }
        }
        for (word, pair) in tail.iter_mut().zip(rest.chunks(2)) {
            let low = half::bf16::from_f32(pair[0]).to_bits();
            let high = pair.get(1).map_or(0, |&value| half::bf16::from_f32(value).to_bits());
            *word = u32::from(low) | u32::from(high) << 16;
        }
    }
}

functions!(BF16, Avx512Bf16, "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c");
