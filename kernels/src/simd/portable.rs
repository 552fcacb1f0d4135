//! Four f32 values in plain Rust, for any CPU.

use super::Simd;

/// The level without vectors; every CPU has it.
#[derive(Clone, Copy)]
pub(crate) struct Portable(());

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; 4] {
    [f(0), f(1), f(2), f(3)]
}

impl Simd for Portable {
    type F32 = [f32; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn new() -> Self {
        Portable(())
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 4] {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load_from(self, p: *const f32) -> [f32; 4] {
        // SAFETY: valid for four values, as the trait demands.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_to(self, v: [f32; 4], p: *mut f32) {
        // SAFETY: as above.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i])
    }

    /// Not fused: a CPU without the instruction would call a library function for each.
    #[inline(always)]
    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    /// For magnitudes below 2²².
    #[inline(always)]
    fn round(self, a: [f32; 4]) -> [f32; 4] {
        // Adding 1.5·2^23 leaves the nearest whole number in the low bits.
        const MAGIC: f32 = 12_582_912.0;
        each(|i| (a[i] + MAGIC) - MAGIC)
    }

    #[inline(always)]
    fn scale_by_power(self, p: [f32; 4], n: [f32; 4]) -> [f32; 4] {
        // As the vector levels do it.
        each(|i| (p[i] + p[i]) * f32::from_bits(((n[i] as i32 + 126) as u32) << 23))
    }
}
