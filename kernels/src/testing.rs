//! What the tests of the vector families share: numbers, levels, a comparison that says where it failed.

use crate::{Isa, Kernels};

/// Numbers in `-scale..scale` that follow from `seed` alone.
pub(crate) fn numbers(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next() * scale).collect()
}

/// The kernels of every level this CPU has.
pub(crate) fn levels() -> impl Iterator<Item = &'static Kernels> {
    Isa::available().into_iter().map(|isa| Kernels::select(Some(isa)).expect("an available level"))
}

/// Asserts that every value is within `tolerance` of its expected one: absolute below 1, relative above. NaN matches
/// NaN only.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: length");
    for (i, (&got, &want)) in got.iter().zip(expected).enumerate() {
        let ok = if want.is_nan() || want.is_infinite() || got.is_infinite() {
            f64::from(got) as f32 == want as f32 || (want.is_nan() && got.is_nan())
        } else {
            (f64::from(got) - want).abs() <= tolerance * want.abs().max(1.0)
        };
        assert!(ok, "{what}: value {i} is {got}, expected {want}");
    }
}
