//! What the tests of every kernel family share: the levels to run, numbers that hunt for errors, outputs with guards,
//! and a comparison that shows the worst values.

use crate::{Isa, Kernels};
use std::ops::Range;

/// The tables of all levels of this CPU above the scalar one, or that of the level which `QWEN_EDGE_TEST_ISA` names (for
/// emulators, where every level costs minutes). Says on the error stream which levels are not run.
///
/// # Panics
/// If the level that is asked for is not there.
pub(crate) fn levels() -> Vec<&'static Kernels> {
    if let Ok(name) = std::env::var("QWEN_EDGE_TEST_ISA") {
        return vec![Kernels::select(Some(name.parse().unwrap())).unwrap()];
    }
    let mut tables = Vec::new();
    for &isa in Isa::ALL {
        match Kernels::select(Some(isa)) {
            Ok(_) if isa == Isa::Scalar => {}
            Ok(table) => tables.push(table),
            Err(_) => eprintln!("skipped: {isa}, not on this CPU"),
        }
    }
    tables
}

/// The tables whose f32 vector families differ: the reference, and the lowest level of each width of vectors. The levels
/// above those share their code.
pub(crate) fn vector_levels() -> impl Iterator<Item = &'static Kernels> {
    [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni, Isa::Neon].into_iter().filter_map(|isa| Kernels::select(Some(isa)).ok())
}

/// The reference table.
pub(crate) fn scalar() -> &'static Kernels {
    Kernels::select(Some(Isa::Scalar)).expect("every CPU has it")
}

/// A small generator of test numbers (SplitMix64): the same on every machine.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let v = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let v = (v ^ v >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        v ^ v >> 31
    }

    /// Uniform in `-1.0..1.0`.
    pub(crate) fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `len` values, uniform in `-scale..scale`.
    pub(crate) fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.signed() * scale).collect()
    }
}

/// An output buffer between guard values, filled with NaN: what is not written shows, and so does what is written
/// beside it.
pub(crate) struct Guarded {
    buffer: Vec<f32>,
    inside: Range<usize>,
}

impl Guarded {
    const GUARD: f32 = f32::from_bits(0xdead_beef);

    pub(crate) fn new(len: usize) -> Self {
        let inside = 64..64 + len;
        let mut buffer = vec![Self::GUARD; len + 128];
        buffer[inside.clone()].fill(f32::NAN);
        Guarded { buffer, inside }
    }

    pub(crate) fn values(&mut self) -> &mut [f32] {
        &mut self.buffer[self.inside.clone()]
    }

    /// The values, after a look at the guards.
    pub(crate) fn finish(self, what: &str) -> Vec<f32> {
        for (i, v) in self.buffer.iter().enumerate() {
            let intact = self.inside.contains(&i) || v.to_bits() == Self::GUARD.to_bits();
            assert!(intact, "{what}: wrote at {} of {}", i as isize - 64, self.inside.len());
        }
        self.buffer[self.inside].to_vec()
    }
}

/// Panics unless every `|got − want| ≤ bound`, value by value; shows the first three that are not. NaN must meet NaN.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f32], bound: impl Fn(usize) -> f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let near =
        |i: usize| got[i] == want[i] || (got[i] - want[i]).abs() <= bound(i) || got[i].is_nan() && want[i].is_nan();
    let bad: Vec<_> = (0..got.len()).filter(|&i| !near(i)).collect();
    let first: Vec<_> = bad
        .iter()
        .take(3)
        .map(|&i| {
            format!(
                "\n  [{i}] {:e}, reference {:e}, difference {:e} above {:e}",
                got[i],
                want[i],
                got[i] - want[i],
                bound(i)
            )
        })
        .collect();
    assert!(bad.is_empty(), "{what}: {} of {} values differ{}", bad.len(), got.len(), first.concat());
}

/// [`assert_close`] to numbers computed in f64, within `tolerance`: absolute below 1, relative above.
#[track_caller]
pub(crate) fn assert_near(what: &str, got: &[f32], want: &[f64], tolerance: f32) {
    let want: Vec<f32> = want.iter().map(|&v| v as f32).collect();
    assert_close(what, got, &want, |i| tolerance * want[i].abs().max(1.0));
}
