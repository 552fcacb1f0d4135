//! From the generic drivers to the functions of a level: [`Level`], whose functions carry the level's CPU features.

use super::panels::Panels;
use super::words::Words;
use super::{DenseHead, DenseScratch, Functions, Product, attend, product};
use crate::simd::Simd;
use crate::simd::levels::features_of;
use crate::{Rows, Tile};

/// The functions of a level, compiled with its CPU features. They are the drivers of the same names, for any words.
///
/// # Safety
/// Each may only be called where the CPU has the level, with shapes that agree.
pub(super) trait Level: Panels {
    unsafe fn row<W: Words<Self>>(x: &[f32], words: &mut [u32]);
    unsafe fn product<W: Words<Self>>(product: &Product<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch);
    unsafe fn pack<W: Words<Self>>(k: Rows<'_>, v: Rows<'_>, first: usize, head: &mut DenseHead);
    unsafe fn attend<W: Words<Self>>(
        q: Rows<'_>,
        head: &DenseHead,
        scale: f32,
        out: &mut Tile<'_>,
        scratch: &mut DenseScratch,
    );
}

/// The functions of level `S` for the words `W`.
pub(super) fn functions<S: Level, W: Words<S>>() -> Functions {
    Functions { row: S::row::<W>, product: S::product::<W>, pack: S::pack::<W>, attend: S::attend::<W> }
}

/// Implements [`Level`] for the token of a level.
macro_rules! level {
    ([$($features:literal)?] $level:ty,) => {
        impl Level for $level {
            $(#[target_feature(enable = $features)])?
            unsafe fn row<W: Words<Self>>(x: &[f32], words: &mut [u32]) {
                // SAFETY: the caller vouches for the level; so below.
                W::to_words(unsafe { Self::new() }, x, words);
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn product<W: Words<Self>>(product: &Product<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch) {
                // SAFETY: see above.
                product::product::<Self, W>(unsafe { Self::new() }, product, y, scratch);
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn pack<W: Words<Self>>(k: Rows<'_>, v: Rows<'_>, first: usize, head: &mut DenseHead) {
                // SAFETY: see above.
                attend::pack::<Self, W>(unsafe { Self::new() }, k, v, first, head);
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn attend<W: Words<Self>>(
                q: Rows<'_>,
                head: &DenseHead,
                scale: f32,
                out: &mut Tile<'_>,
                scratch: &mut DenseScratch,
            ) {
                // SAFETY: see above.
                attend::attend::<Self, W>(unsafe { Self::new() }, q, head, scale, out, scratch);
            }
        }
    };
}

features_of! { Portable => level! }
#[cfg(target_arch = "x86_64")]
features_of! { Avx2 => level! }
#[cfg(target_arch = "x86_64")]
features_of! { AvxVnni => level! }
#[cfg(target_arch = "x86_64")]
features_of! { Avx512 => level! }
#[cfg(target_arch = "x86_64")]
features_of! { Avx512Bf16 => level! }
#[cfg(target_arch = "aarch64")]
features_of! { Neon => level! }
