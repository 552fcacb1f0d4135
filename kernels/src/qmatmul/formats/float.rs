//! The float formats.

use super::Float;
use crate::qmatmul::blocks::Blocks;

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct BF16;

impl Float for F32 {
    type Group = [u8; 64];

    #[inline(always)]
    fn values<S: Blocks>(s: S, b: &Self::Group) -> S::Floats {
        // An f32 of the file may lie at any address; this copy compiles to an unaligned load.
        let mut values = [0.0; 16];
        for (v, b) in values.iter_mut().zip(b.as_chunks().0) {
            *v = f32::from_le_bytes(*b);
        }
        s.load_x16(&values)
    }
}

impl Float for F16 {
    type Group = [u8; 32];

    #[inline(always)]
    fn values<S: Blocks>(s: S, b: &Self::Group) -> S::Floats {
        s.widen_f16(b)
    }
}

impl Float for BF16 {
    type Group = [u8; 32];

    #[inline(always)]
    fn values<S: Blocks>(s: S, b: &Self::Group) -> S::Floats {
        s.widen_bf16(b)
    }
}
