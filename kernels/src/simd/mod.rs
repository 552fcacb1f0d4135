//! The vector vocabulary: one token for each instruction-set level, and the operations that every family of kernels uses.
//!
//! A value of a type that implements [`Simd`] exists only where the CPU has its instructions: holding it is the proof
//! that the safe methods rely on. Algorithms are generic over `S: Simd` and `#[inline(always)]`; they become machine
//! code of a level in that level's entry points, which carry `#[target_feature]` ([`levels`]). What is not inlined into
//! them is compiled without the features, and LLVM refuses to inline a function that itself calls one returning a
//! slice: so hot loops run over ranges, without closures and without iterator adapters (one `zip` cost attention half
//! its speed).
//!
//! What one family alone needs is a trait of its own over the same tokens:
//!
//! | trait | where | adds |
//! |---|---|---|
//! | [`VectorMath`] | here | division, selection, sums of lanes, small types: norms, delta rule, attention |
//! | `Blocks` | `qmatmul/blocks.rs` | logical vectors of 64 bytes, 16 i32 or 16 f32: quantised products |
//! | `Panels`, `Pairs` | `dense/` | transposed panels of words, pairs of 16-bit integers: dense products |

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod levels;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::{Avx2, Avx2With, AvxVnni};
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512, Avx512Bf16, Avx512With};
use half::f16;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::{Neon, NeonDotprod, NeonI8mm, NeonWith};
pub(crate) use portable::Portable;

/// The operations that every family uses: f32 in one register of a level.
pub(crate) trait Simd: Copy + 'static {
    /// A vector of [`Simd::LANES`] values.
    type F32: Copy;

    /// Values in a vector: 4, 8 or 16.
    const LANES: usize;

    /// The proof that this CPU has the level.
    ///
    /// # Safety
    /// It must have it.
    unsafe fn new() -> Self;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F32;

    /// The values at `p`.
    ///
    /// # Safety
    /// There are [`Simd::LANES`] of them, at any address.
    unsafe fn load_from(self, p: *const f32) -> Self::F32;

    /// To the values at `p`.
    ///
    /// # Safety
    /// There are [`Simd::LANES`] of them, at any address.
    unsafe fn store_to(self, v: Self::F32, p: *mut f32);

    /// The first values of `x`. Panics if there are fewer than [`Simd::LANES`]; so do the other loads and stores.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::F32 {
        // SAFETY: as many values as a vector has.
        unsafe { self.load_from(x[..Self::LANES].as_ptr()) }
    }

    /// To the first values of `x`.
    #[inline(always)]
    fn store(self, v: Self::F32, x: &mut [f32]) {
        // SAFETY: as many values as a vector has.
        unsafe { self.store_to(v, x[..Self::LANES].as_mut_ptr()) }
    }

    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// `a − b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// `a · b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// `a · b + c`, rounded once (twice by [`Portable`]).
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;

    /// `a > b ? a : b`: b where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::F32;

    /// `p · 2ⁿ` for integers n of `-125..=128`.
    fn scale_by_power(self, p: Self::F32, n: Self::F32) -> Self::F32;
}

/// What norms, gates, the delta rule and attention need beyond the common operations.
pub(crate) trait VectorMath: Simd {
    /// All lanes `x`, widened.
    fn splat_f16(self, x: f16) -> Self::F32;

    /// Widens the values at `p`, exactly.
    ///
    /// # Safety
    /// There are [`Simd::LANES`] of them, at any address.
    unsafe fn load_f16_from(self, p: *const f16) -> Self::F32;

    /// Widens half precision, exactly.
    #[inline(always)]
    fn load_f16(self, x: &[f16]) -> Self::F32 {
        // SAFETY: as many values as a vector has.
        unsafe { self.load_f16_from(x[..Self::LANES].as_ptr()) }
    }

    /// Rounds to half precision, ties to even.
    fn store_f16(self, v: Self::F32, x: &mut [f16]);

    /// Widens small integers.
    fn load_i8(self, x: &[i8]) -> Self::F32;

    /// Rounds to nearest, ties to even, saturating at the ends of i8.
    fn store_i8(self, v: Self::F32, x: &mut [i8]);

    /// `a / b`, correctly rounded.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// `c − a · b`, rounded once.
    fn neg_mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;

    /// `a < b ? a : b`: b where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// `a ≤ b ? x : y`, y where either is NaN.
    fn select_le(self, a: Self::F32, b: Self::F32, x: Self::F32, y: Self::F32) -> Self::F32;

    /// Sum of the lanes.
    fn reduce_add(self, v: Self::F32) -> f32;

    /// Sums of the lanes of four vectors.
    fn reduce_add_4(self, v: [Self::F32; 4]) -> [f32; 4];

    /// The largest lane that is not NaN; unspecified when one is.
    fn reduce_max(self, v: Self::F32) -> f32;

    /// The first `x.len()` lanes from `x`, the rest zero; for ends of rows.
    #[inline(always)]
    fn load_part(self, x: &[f32]) -> Self::F32 {
        let mut buffer = [0.0; 16];
        buffer[..x.len()].copy_from_slice(x);
        self.load(&buffer)
    }

    /// The first `x.len()` lanes to `x`; for ends of rows.
    #[inline(always)]
    fn store_part(self, v: Self::F32, x: &mut [f32]) {
        let mut buffer = [0.0; 16];
        self.store(v, &mut buffer);
        x.copy_from_slice(&buffer[..x.len()]);
    }
}

/// Intrinsics of the features that a token proves.
macro_rules! has {
    ($e:expr) => {
        // SAFETY: the token exists, so the CPU has the features of its level (`Simd::new`). Pointers, where the
        // intrinsic takes one, come from references to at least the bytes it reads or writes.
        unsafe { $e }
    };
}
pub(crate) use has;
