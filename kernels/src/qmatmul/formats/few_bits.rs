//! Values of one or two bits, or a trit, with one scale a block. They are rare: codes are unpacked in plain code where no
//! operation of the levels does it already.

use super::kquants::{spread_crumbs, two_bits};
use super::{Quant, Scales, bytes_at, splat_f16, u16_at, u64_at};
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

/// Digit number `n` of each of LEN bytes; see the decoder for what a byte is. Simple enough for the compiler to make vectors of.
#[inline(always)]
fn digits<const LEN: usize>(b: &[u8], n: u32, codes: &mut [u8]) {
    let (b, codes): (&[u8; LEN], _) = (bytes_at(b, 0), &mut codes[..LEN]);
    let power = [1, 3, 9, 27, 81][n as usize];
    for i in 0..LEN {
        codes[i] = ((u16::from(b[i].wrapping_mul(power)) * 3) >> 8) as u8;
    }
}

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
        let (first, second, third) = (&b[..32], &b[32..48], &b[48..52]);
        match J {
            0 | 1 => {
                digits::<32>(first, 2 * J as u32, &mut codes);
                digits::<32>(first, 2 * J as u32 + 1, &mut codes[32..]);
            }
            2 => {
                digits::<32>(first, 4, &mut codes);
                digits::<16>(second, 0, &mut codes[32..]);
                digits::<16>(second, 1, &mut codes[48..]);
            }
            _ => {
                digits::<16>(second, 2, &mut codes);
                digits::<16>(second, 3, &mut codes[16..]);
                digits::<16>(second, 4, &mut codes[32..]);
                for n in 0..4 {
                    digits::<4>(third, n, &mut codes[48 + 4 * n as usize..]);
                }
            }
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
