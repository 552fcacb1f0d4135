//! The vector operations the drivers of this family are written in.

use super::Precision;
use crate::Format;

/// A level's vectors and one precision's words. Implementations are stateless markers; a function of the level's CPU
/// features calls them inlined.
///
/// # Safety
/// Every function may only be called where the CPU has the features of the level; pointers must be valid for
/// [`Lanes::N`] elements.
pub(super) trait Lanes: Copy {
    /// f32 values of a vector.
    const N: usize;
    /// Vectors of a panel in products: with the rows of a block they fill the registers.
    const WIDE: usize;
    /// Most vectors of a panel.
    const WIDEST: usize;
    /// What a word holds.
    const PRECISION: Precision;

    /// A vector of f32.
    type V: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a · 2^n` for whole `n` in `-126..=0`.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;

    /// Values to words, as [`Precision::words`] counts them.
    unsafe fn to_words(x: &[f32], words: &mut [u32]);

    /// A row of bytes in `format` to words; `false` where there is no shorter way than by f32.
    unsafe fn bytes_to_words(_format: Format, _bytes: &[u8], _words: &mut [u32]) -> bool {
        false
    }

    /// [`Lanes::N`] rows of `depth` words, `stride` apart, to the first columns of a panel `[depth, width]`. The stride is
    /// `depth` completed to whole vectors, at least.
    unsafe fn turn(rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize);

    /// Gives `out` the sums of products of each of the `m` rows of `x`, `stride` words apart and `words` long, and a panel
    /// `[words, vectors]`.
    unsafe fn rows_by_vectors(
        x: (&[u32], usize, usize),
        m: usize,
        panel: &[u32],
        vectors: usize,
        out: &mut impl Sums<Self::V>,
    );
}

/// What becomes of sums of products. Not a closure: those may be compiled on their own, without the level's features.
pub(super) trait Sums<V> {
    /// Takes the sums of row `i` and vector `j` of the columns.
    ///
    /// # Safety
    /// The CPU has the level; there is such a row and such a vector.
    unsafe fn take(&mut self, i: usize, j: usize, sum: V);

    /// Called for every word of every register block: time to ask for memory that is needed soon.
    fn meanwhile(&mut self) {}
}

/// Words that an instruction multiplies lane by lane, which makes the products of a register block.
///
/// # Safety
/// As of [`Lanes`].
pub(super) trait Dots: Lanes {
    /// A vector of words.
    type W: Copy;
    /// A vector of sums of products, before [`Dots::join`].
    type A: Copy;

    unsafe fn load_words(p: *const u32) -> Self::W;
    /// The word at `p` in every lane.
    unsafe fn splat_word(p: *const u32) -> Self::W;
    /// Sums of nothing.
    unsafe fn nothing() -> Self::A;
    /// `acc + a · b`, summed over the values of a word.
    unsafe fn dot(acc: Self::A, a: Self::W, b: Self::W) -> Self::A;
    /// `sum` with what a group has given, which is `acc` times the group's scales of the row and of the columns. Floats
    /// have one group and no scales: that is `acc`.
    unsafe fn join(sum: Self::V, acc: Self::A, row: Self::V, columns: Self::V) -> Self::V;
}

/// Inside an implementation of [`Lanes`] for a level with [`Dots`].
macro_rules! products_of_dots {
    () => {
        #[inline(always)]
        unsafe fn rows_by_vectors(
            x: (&[u32], usize, usize),
            m: usize,
            panel: &[u32],
            vectors: usize,
            out: &mut impl $crate::dense::lanes::Sums<Self::V>,
        ) {
            // SAFETY: as the caller.
            unsafe { $crate::dense::product::rows_by_vectors::<Self>(x, m, panel, vectors, out) }
        }
    };
}
pub(super) use products_of_dots;

/// [`Lanes::turn`] of four rows.
#[inline(always)]
pub(super) fn turn_4(rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
    let rows: [&[u32]; 4] = std::array::from_fn(|j| &rows[j * stride..][..depth]);
    for (i, out) in panel.chunks_mut(width).take(depth).enumerate() {
        out[..4].copy_from_slice(&[rows[0][i], rows[1][i], rows[2][i], rows[3][i]]);
    }
}

/// Inside an implementation of [`Lanes`]: [`Lanes::turn`] by squares in registers.
#[cfg(target_arch = "x86_64")]
macro_rules! turn_squares {
    ($n:literal, $transpose:path, $load:ident, $store:ident) => {
        #[inline(always)]
        unsafe fn turn(rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
            assert!(depth > 0 && stride >= depth.next_multiple_of($n) && rows.len() >= $n * stride);
            assert!(width >= $n && panel.len() >= (depth - 1) * width + $n);
            for first in (0..depth).step_by($n) {
                // SAFETY: the CPU as the caller; rows reach to the next multiple of their length, and there are `depth` lines of
                // the panel.
                unsafe {
                    let mut square = [$load(rows.as_ptr().add(first).cast()); $n];
                    for r in 1..$n {
                        square[r] = $load(rows.as_ptr().add(r * stride + first).cast());
                    }
                    let square = $transpose(square);
                    let panel = panel.as_mut_ptr().add(first * width);
                    for i in 0..$n.min(depth - first) {
                        $store(panel.add(i * width).cast(), square[i]);
                    }
                }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use turn_squares;

/// `2^x` for `x ≤ 0`, within 3e-7 relative; `2^-126` below -126; NaN stays NaN.
///
/// The fraction in -1/2..=1/2 goes through the Taylor polynomial of `2^f` of degree 6 (error 1.3e-7 at the ends).
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
pub(super) unsafe fn exp2<L: Lanes>(x: L::V) -> L::V {
    const C: [f32; 7] =
        [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0];
    // SAFETY: as the caller.
    unsafe {
        let x = L::max(L::splat(-126.0), x);
        let n = L::round(x);
        let f = L::sub(x, n);
        let mut p = L::splat(C[0]);
        let mut i = 1;
        while i < C.len() {
            p = L::mul_add(p, f, L::splat(C[i]));
            i += 1;
        }
        L::scale(p, n)
    }
}

/// Inside an implementation of [`Dots`]: sums of float products are floats.
macro_rules! float_sums {
    () => {
        type A = Self::V;

        #[inline(always)]
        unsafe fn nothing() -> Self::V {
            // SAFETY: as the caller.
            unsafe { Self::splat(0.0) }
        }
        #[inline(always)]
        unsafe fn join(_: Self::V, acc: Self::V, _: Self::V, _: Self::V) -> Self::V {
            acc
        }
    };
}
pub(super) use float_sums;

/// Inside an implementation of [`Lanes`]: vectors of f32 and what is done with them are those of another one.
#[cfg(target_arch = "x86_64")]
macro_rules! f32_vectors_of {
    ($other:ty) => {
        const N: usize = <$other>::N;
        type V = <$other as Lanes>::V;

        $crate::dense::lanes::f32_vectors_of!($other: splat(x: f32) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!($other: load(p: *const f32) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!($other: store(p: *mut f32, v: Self::V) -> ());
        $crate::dense::lanes::f32_vectors_of!($other: add(a: Self::V, b: Self::V) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!($other: sub(a: Self::V, b: Self::V) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!($other: mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!($other: max(a: Self::V, b: Self::V) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!($other: round(a: Self::V) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!($other: scale(a: Self::V, n: Self::V) -> Self::V);
        $crate::dense::lanes::f32_vectors_of!(
            $other: turn(rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) -> ()
        );
    };
    ($other:ty: $name:ident($($arg:ident: $ty:ty),*) -> $out:ty) => {
        #[inline(always)]
        unsafe fn $name($($arg: $ty),*) -> $out {
            // SAFETY: as the caller; this level contains the other.
            unsafe { <$other>::$name($($arg),*) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use f32_vectors_of;

/// The functions of one level and precision: entry points with the CPU features, everything below them inlined.
macro_rules! functions {
    ($name:ident, $lanes:ty $(, $features:literal)?) => {
        pub(in crate::dense) const $name: $crate::dense::Functions = {
            use $crate::dense::{DenseHead, DenseScratch, Functions, Product, attend, lanes::Lanes, product};
            use $crate::{Rows, Tile};

            $(#[target_feature(enable = $features)])?
            fn row(x: &[f32], words: &mut [u32]) {
                // SAFETY: the features are enabled on this function, whose callers vouch for them.
                unsafe { <$lanes>::to_words(x, words) }
            }

            $(#[target_feature(enable = $features)])?
            fn product(product: &Product<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch) {
                // SAFETY: as above.
                unsafe { product::product::<$lanes>(product, y, scratch) }
            }

            $(#[target_feature(enable = $features)])?
            fn pack(k: Rows<'_>, v: Rows<'_>, first: usize, head: &mut DenseHead) {
                // SAFETY: as above.
                unsafe { attend::pack::<$lanes>(k, v, first, head) }
            }

            $(#[target_feature(enable = $features)])?
            fn attend(q: Rows<'_>, head: &DenseHead, scale: f32, out: &mut Tile<'_>, scratch: &mut DenseScratch) {
                // SAFETY: as above.
                unsafe { attend::attend::<$lanes>(q, head, scale, out, scratch) }
            }

            Functions { row, product, pack, attend }
        };
    };
}
pub(super) use functions;
