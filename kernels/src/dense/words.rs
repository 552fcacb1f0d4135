//! Rows of 32-bit words and how they are multiplied: [`Words`] for each [`Precision`], over the vectors of a level.

use super::Precision;
use super::panels::Panels;
use super::product;
use crate::Format;
use crate::simd::Simd;

/// What the words of a precision hold, on level `S`.
pub(super) trait Words<S: Panels>: 'static {
    /// The precision.
    const PRECISION: Precision;

    /// Values to words, as [`Precision::words`] counts them.
    fn to_words(s: S, x: &[f32], words: &mut [u32]);

    /// A row of bytes in `format` to words; `false` where there is no shorter way than by f32.
    #[inline(always)]
    fn bytes_to_words(_s: S, _format: Format, _bytes: &[u8], _words: &mut [u32]) -> bool {
        false
    }

    /// Gives `out` the sums of products of each of the `m` rows of `x`, `stride` words apart and `words` long, and a
    /// panel `[words, vectors]`.
    fn rows_by_vectors(
        s: S,
        x: (&[u32], usize, usize),
        m: usize,
        panel: &[u32],
        vectors: usize,
        out: &mut impl Sums<S>,
    );
}

/// What becomes of sums of products. Not a closure: those may be compiled on their own, without the level's features.
pub(super) trait Sums<S: Simd> {
    /// Takes the sums of row `i` and vector `j` of the columns.
    ///
    /// # Panics
    /// If there is no such row or no such vector.
    fn take(&mut self, s: S, i: usize, j: usize, sum: S::F32);

    /// Called for every word of every register block: time to ask for memory that is needed soon.
    #[inline(always)]
    fn meanwhile(&mut self) {}
}

/// Words that an instruction multiplies lane by lane, which makes the products of a register block.
pub(super) trait Dots<S: Panels>: Words<S> {
    /// A vector of words.
    type Vector: Copy;
    /// A vector of sums of products, before [`Dots::join`].
    type Acc: Copy;

    /// The words at `p`.
    ///
    /// # Safety
    /// There are [`Simd::LANES`] of them.
    unsafe fn load(s: S, p: *const u32) -> Self::Vector;
    /// The word in every lane.
    fn splat(s: S, word: u32) -> Self::Vector;
    /// Sums of nothing.
    fn nothing(s: S) -> Self::Acc;
    /// `acc + a · b`, summed over the values of a word.
    fn dot(s: S, acc: Self::Acc, a: Self::Vector, b: Self::Vector) -> Self::Acc;
    /// `sum` with what a group has given, which is `acc` times the group's scales of the row and of the columns. Floats
    /// have one group and no scales: that is `acc`.
    fn join(s: S, sum: S::F32, acc: Self::Acc, row: S::F32, columns: S::F32) -> S::F32;
}

/// f32 values, one a word.
pub(super) struct F32Words;

impl<S: Panels> Words<S> for F32Words {
    const PRECISION: Precision = Precision::F32;

    #[inline(always)]
    fn to_words(_s: S, x: &[f32], words: &mut [u32]) {
        words.copy_from_slice(bytemuck::cast_slice(x));
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

impl<S: Panels> Dots<S> for F32Words {
    type Vector = S::F32;
    type Acc = S::F32;

    #[inline(always)]
    unsafe fn load(s: S, p: *const u32) -> S::F32 {
        // SAFETY: as the caller.
        unsafe { s.load_from(p.cast()) }
    }

    #[inline(always)]
    fn splat(s: S, word: u32) -> S::F32 {
        s.splat(f32::from_bits(word))
    }

    #[inline(always)]
    fn nothing(s: S) -> S::F32 {
        s.splat(0.0)
    }

    #[inline(always)]
    fn dot(s: S, acc: S::F32, a: S::F32, b: S::F32) -> S::F32 {
        s.mul_add(a, b, acc)
    }

    #[inline(always)]
    fn join(_s: S, _sum: S::F32, acc: S::F32, _row: S::F32, _columns: S::F32) -> S::F32 {
        acc
    }
}
