//! Values of one or two bits, or a trit, with one scale a block. They are rare: codes are unpacked in plain code where no
//! operation of the levels does it already.

use super::kquants::{spread_crumbs, two_bits};
use super::{Quant, Scales, splat_f16, u16_at, u64_at};
use crate::qmatmul::blocks::Blocks;

pub(crate) struct Q1_0;
pub(crate) struct Q2_0;
pub(crate) struct TQ1_0;
pub(crate) struct TQ2_0;

/// The f16 numbers that start N blocks of 256 values together.
#[inline(always)]
fn scales_of_blocks<S: Blocks, const N: usize, const B: usize>(s: S, b: &[[u8; B]; N]) -> Scales<S> {
    let mut h = [0; 8];
    for i in 0..8 {
        h[i] = u16_at(&b[i * N / 8], 0);
    }
    Scales::centred(s, s.eight_f16(h))
}

impl Quant for Q1_0 {
    type Super = [[u8; 18]; 2];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 2;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(1.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales_of_blocks(s, b)
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.set_where(s.splat_bytes(0), u64_at(&b[J / 2], 2 + 8 * (J % 2)), 2)
    }
}

impl Quant for Q2_0 {
    type Super = [[u8; 18]; 4];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 3;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(1.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales_of_blocks(s, b)
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.groups(eight!(T => spread_crumbs(u16_at(&b[J], 2 + 2 * T))))
    }
}

/// What each of 256 trits is taken from: a byte, and the power of 3 that brings the digit to its front.
const TRITS: [(u8, u8); 256] = {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let mut trits = [(0, 0); 256];
    let mut i = 0;
    while i < 256 {
        // Start of the digits in values and in bytes, and bytes that are read together.
        let (start, at, len) = match i {
            0..160 => (0, 0, 32),
            160..240 => (160, 32, 16),
            _ => (240, 48, 4),
        };
        trits[i] = ((at + (i - start) % len) as u8, POWERS[(i - start) / len]);
        i += 1;
    }
    trits
};

impl Quant for TQ1_0 {
    type Super = [u8; 54];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 2;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(1.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        Scales::centred(s, splat_f16(s, b, 52))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let mut codes = [0; 64];
        for i in 0..64 {
            let (at, power) = TRITS[64 * J + i];
            codes[i] = (u16::from(b[usize::from(at)].wrapping_mul(power)) * 3 >> 8) as u8;
        }
        s.load_bytes(&codes)
    }
}

impl Quant for TQ2_0 {
    type Super = [u8; 66];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 3;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(1.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        Scales::centred(s, splat_f16(s, b, 64))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        two_bits::<S, J, 0>(s, b)
    }
}
