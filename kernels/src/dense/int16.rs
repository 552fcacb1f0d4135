//! Pairs of 16-bit integers, which one instruction multiplies and adds into 32 bits: twice the products of an f32 FMA,
//! as bf16 would give, with ten times less error.
//!
//! A quant is `round(value / d)` for `d` the largest magnitude of its group over [`LARGEST`]. The sum of a group then
//! fits: `GROUP · LARGEST² < 2^31`.

use super::panels::Panels;
use super::words::{Dots, Sums, Words};
use super::{GROUP, Precision, product};
use crate::Format;

/// Words of a group with its scale.
pub(super) const GROUP_WORDS: usize = Precision::Int16.group().1;

/// Bytes of a group in 16-bit floats.
pub(super) const GROUP_BYTES: usize = 2 * GROUP;

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

/// What a level needs for such words.
pub(super) trait Pairs: Panels {
    /// A vector of words, or of 32-bit sums.
    type Ints: Copy;

    /// The words at `p`.
    ///
    /// # Safety
    /// There are [`crate::simd::Simd::LANES`] of them.
    unsafe fn load_words(self, p: *const u32) -> Self::Ints;

    /// The word in every lane.
    fn splat_word(self, word: u32) -> Self::Ints;

    /// Sums of nothing.
    fn no_sums(self) -> Self::Ints;

    /// `acc` and the two products of each lane.
    fn dot_pairs(self, acc: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// Sums as f32, rounded once.
    fn to_f32(self, sums: Self::Ints) -> Self::F32;

    /// A scale, then the quants of the values, two a word. A group with NaN or infinity has such a scale, so that all
    /// its products are NaN.
    fn group_to_words(self, x: &[f32; GROUP], words: &mut [u32; GROUP_WORDS]);

    /// The same of values in BF16, or else F16: bit for bit what [`Pairs::group_to_words`] makes of the widened values.
    fn halves_to_words<const BF16: bool>(self, x: &[u8; GROUP_BYTES], words: &mut [u32; GROUP_WORDS]);
}

/// 13-bit integers, two a word, and scales.
pub(super) struct Int16Words;

impl<S: Pairs> Words<S> for Int16Words {
    const PRECISION: Precision = Precision::Int16;

    #[inline(always)]
    fn to_words(s: S, x: &[f32], words: &mut [u32]) {
        let (groups, rest) = x.as_chunks::<GROUP>();
        let (whole, tail) = words.split_at_mut(groups.len() * GROUP_WORDS);
        for (group, words) in groups.iter().zip(whole.as_chunks_mut::<GROUP_WORDS>().0) {
            s.group_to_words(group, words);
        }
        if !rest.is_empty() {
            let (mut group, mut words) = ([0.0; GROUP], [0; GROUP_WORDS]);
            group[..rest.len()].copy_from_slice(rest);
            s.group_to_words(&group, &mut words);
            tail.copy_from_slice(&words[..tail.len()]);
        }
    }

    #[inline(always)]
    fn bytes_to_words(s: S, format: Format, bytes: &[u8], words: &mut [u32]) -> bool {
        match format {
            Format::BF16 => halves_to_words::<S, true>(s, bytes, words),
            Format::F16 => halves_to_words::<S, false>(s, bytes, words),
            _ => return false,
        }
        true
    }

    #[inline(always)]
    fn rows_by_vectors(
        s: S,
        x: (&[u32], usize, usize),
        m: usize,
        panel: &[u32],
        vectors: usize,
        out: &mut impl Sums<S>,
    ) {
        product::rows_by_vectors::<S, Self>(s, x, m, panel, vectors, out);
    }
}

/// A row of BF16, or else F16, as words.
#[inline(always)]
fn halves_to_words<S: Pairs, const BF16: bool>(s: S, bytes: &[u8], words: &mut [u32]) {
    let (groups, rest) = bytes.as_chunks::<GROUP_BYTES>();
    let (whole, tail) = words.split_at_mut(groups.len() * GROUP_WORDS);
    for (bytes, words) in groups.iter().zip(whole.as_chunks_mut::<GROUP_WORDS>().0) {
        s.halves_to_words::<BF16>(bytes, words);
    }
    if !rest.is_empty() {
        let (mut bytes, mut words) = ([0; GROUP_BYTES], [0; GROUP_WORDS]);
        bytes[..rest.len()].copy_from_slice(rest);
        s.halves_to_words::<BF16>(&bytes, &mut words);
        tail.copy_from_slice(&words[..tail.len()]);
    }
}

impl<S: Pairs> Dots<S> for Int16Words {
    type Vector = S::Ints;
    type Acc = S::Ints;

    #[inline(always)]
    unsafe fn load(s: S, p: *const u32) -> S::Ints {
        // SAFETY: as the caller.
        unsafe { s.load_words(p) }
    }

    #[inline(always)]
    fn splat(s: S, word: u32) -> S::Ints {
        s.splat_word(word)
    }

    #[inline(always)]
    fn nothing(s: S) -> S::Ints {
        s.no_sums()
    }

    #[inline(always)]
    fn dot(s: S, acc: S::Ints, a: S::Ints, b: S::Ints) -> S::Ints {
        s.dot_pairs(acc, a, b)
    }

    #[inline(always)]
    fn join(s: S, sum: S::F32, acc: S::Ints, row: S::F32, columns: S::F32) -> S::F32 {
        s.mul_add(s.to_f32(acc), s.mul(row, columns), sum)
    }
}
