//! Plain Rust on any CPU.

use super::Precision;
use super::lanes::{Dots, Lanes, float_sums, functions, products_of_dots, turn_4};

/// Four f32 values.
#[derive(Clone, Copy)]
struct Four;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; 4] {
    [f(0), f(1), f(2), f(3)]
}

impl Lanes for Four {
    const N: usize = 4;
    const WIDE: usize = 2;
    const WIDEST: usize = 3;
    const PRECISION: Precision = Precision::F32;
    type V = [f32; 4];
    products_of_dots!();

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: valid for four values, as the trait demands.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: as above.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not fused: a CPU without the instruction would call a library function for each.
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        // Adding 1.5·2^23 leaves the nearest whole number in the low bits, for |a| < 2^22.
        const MAGIC: f32 = 12_582_912.0;
        each(|i| (a[i] + MAGIC) - MAGIC)
    }
    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        each(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn turn(rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
        turn_4(rows, depth, stride, panel, width);
    }
    #[inline(always)]
    unsafe fn to_words(x: &[f32], words: &mut [u32]) {
        words.copy_from_slice(bytemuck::cast_slice(x));
    }
}

impl Dots for Four {
    type W = [f32; 4];
    float_sums!();

    #[inline(always)]
    unsafe fn load_words(p: *const u32) -> Self::W {
        // SAFETY: valid for four words, as the trait demands.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_word(p: *const u32) -> Self::W {
        // SAFETY: valid for a word, as the trait demands.
        [unsafe { p.cast::<f32>().read() }; 4]
    }
    #[inline(always)]
    unsafe fn dot(acc: Self::V, a: Self::W, b: Self::W) -> Self::V {
        each(|i| acc[i] + a[i] * b[i])
    }
}

functions!(F32, Four);
