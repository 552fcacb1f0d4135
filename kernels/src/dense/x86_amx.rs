//! Products of values that are sums of two bf16 ones, by tile instructions: `a·b = a₁·b₁ + a₂·b₁ + a₁·b₂`, where
//! `a₂·b₂` is below the 16 bits that two halves keep. Three times the products of plain bf16 for eight bits more; and
//! the tiles that are loaded serve three products instead of two.

use super::Precision;
use super::words::{Sums, Words};
use crate::amx_tiles::{Hardware, Tiles};
use crate::simd::{Avx512Bf16, Simd, has};
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::transmute;

/// Values of a vector.
const LANES: usize = Avx512Bf16::LANES;
/// Rows and columns of a step of the tiles.
const SIDE: usize = 32;
/// Words of 32 values: high halves, low halves.
const GROUP_WORDS: usize = 32;

/// Sums of two bf16 values, multiplied by the tiles `T`.
pub(super) struct SplitBf16Words<T = Hardware>(PhantomData<T>);

impl<T: Tiles + 'static> Words<Avx512Bf16> for SplitBf16Words<T> {
    const PRECISION: Precision = Precision::SplitBf16;

    #[inline(always)]
    fn to_words(_s: Avx512Bf16, x: &[f32], words: &mut [u32]) {
        let (groups, rest) = x.as_chunks::<32>();
        let (whole, tail) = words.split_at_mut(groups.len() * GROUP_WORDS);
        for (group, words) in groups.iter().zip(whole.as_chunks_mut().0) {
            has!(group_to_words(group, words));
        }
        if !rest.is_empty() {
            let mut group = [0.0; 32];
            group[..rest.len()].copy_from_slice(rest);
            has!(group_to_words(&group, tail.try_into().expect("words of the last group")));
        }
    }

    #[inline(always)]
    fn rows_by_vectors(
        s: Avx512Bf16,
        (x, stride, words): (&[u32], usize, usize),
        m: usize,
        panel: &[u32],
        vectors: usize,
        out: &mut impl Sums<Avx512Bf16>,
    ) {
        assert!(words > 0 && words.is_multiple_of(GROUP_WORDS) && panel.len() >= words * vectors * LANES);
        assert!(m == 0 || x.len() >= (m - 1) * stride + words);
        // Less than a step's rows stand in a copy, zeros below them; more end with a step that repeats some.
        let mut copy = Vec::new();
        let (x, stride) = if m < SIDE {
            copy.resize(SIDE * words, 0);
            for (to, from) in copy.chunks_exact_mut(words).zip(x.chunks(stride)).take(m) {
                to.copy_from_slice(&from[..words]);
            }
            (&copy[..], words)
        } else {
            (x, stride)
        };
        let mut c = [[0.0; SIDE]; SIDE];
        T::configure();
        for first in (0..m).step_by(SIDE) {
            let start = first.min(m.saturating_sub(SIDE));
            let a = [start, start + 16].map(|r| x[r * stride..].as_ptr().cast());
            for first_vector in (0..vectors).step_by(2) {
                let last_vector = (first_vector + 1).min(vectors - 1);
                let b = [first_vector, last_vector].map(|j| panel[j * LANES..].as_ptr().cast());
                // SAFETY: `SIDE` rows from `start` on are in x, of `words` words each (asserted above, or made so); the
                // panel has `words` lines of `vectors` vectors; the tiles are configured.
                unsafe { T::split_step(words / GROUP_WORDS, a, 4 * stride, b, 64 * vectors, &mut c) };
                for i in first..m.min(first + SIDE) {
                    for j in first_vector..=last_vector {
                        out.take(s, i, j, s.load(&c[i - start][(j - first_vector) * LANES..]));
                    }
                }
            }
        }
        T::release();
    }
}

/// The high halves, `bf16(x)`, then the low ones, `bf16(x − high)`.
///
/// # Safety
/// The CPU has AVX-512 and its conversion to bf16.
#[inline(always)]
unsafe fn group_to_words(x: &[f32; 32], words: &mut [u32; GROUP_WORDS]) {
    // SAFETY: as the caller; loads and stores are of whole halves of the arrays, and bf16 values stand in 16 bits.
    unsafe {
        let x = [0, 16].map(|i| _mm512_loadu_ps(x[i..].as_ptr()));
        let high: __m512i = transmute(_mm512_cvtne2ps_pbh(x[1], x[0]));
        let wide = |half: __m256i| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        let rounded = [wide(_mm512_castsi512_si256(high)), wide(_mm512_extracti64x4_epi64::<1>(high))];
        let rest = [_mm512_sub_ps(x[0], rounded[0]), _mm512_sub_ps(x[1], rounded[1])];
        let low: __m512i = transmute(_mm512_cvtne2ps_pbh(rest[1], rest[0]));
        _mm512_storeu_si512(words.as_mut_ptr().cast(), high);
        _mm512_storeu_si512(words[16..].as_mut_ptr().cast(), low);
    }
}

/// The functions with emulated tiles, where the CPU has what they need beside the tiles.
#[cfg(test)]
pub(super) fn emulated() -> Option<super::Functions> {
    use crate::amx_tiles::tests::Emulated;
    let has = crate::Isa::Avx512Vnni.is_available() && std::arch::is_x86_feature_detected!("avx512bf16");
    has.then(super::entry::functions::<Avx512Bf16, SplitBf16Words<Emulated>>)
}
