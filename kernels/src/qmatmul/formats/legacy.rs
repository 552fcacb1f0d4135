//! Formats with blocks of 32 values, eight of them at a time.

use super::{Quant, Scales, bytes_at, u32_at};
use crate::qmatmul::blocks::Blocks;

pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q5_0;
pub(crate) struct Q5_1;
pub(crate) struct Q8_0;
pub(crate) struct IQ4_NL;

/// Levels of the non-linear 4-bit formats.
pub(super) const IQ4_LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Scales and offsets from the pairs of f16 numbers that start eight blocks.
#[inline(always)]
fn scales_of_pairs<S: Blocks, const B: usize>(s: S, b: &[[u8; B]; 8]) -> Scales<S> {
    let mut words = [0; 8];
    for i in 0..8 {
        words[i] = u32_at(&b[i], 0);
    }
    let [scale, offset] = s.eight_f16_pairs(words);
    Scales { scale, offset }
}

/// Nibble pairs at `AT` of blocks 2J and 2J + 1.
#[inline(always)]
pub(super) fn nibbles<S: Blocks, const J: usize, const AT: usize, const B: usize>(s: S, b: &[[u8; B]; 8]) -> S::Bytes {
    s.nibbles(bytes_at(&b[2 * J], AT), bytes_at(&b[2 * J + 1], AT))
}

/// Nibble pairs 4 bytes after `AT`, with the fifth bits at `AT`.
#[inline(always)]
fn five_bits<S: Blocks, const J: usize, const AT: usize, const NIBBLES: usize, const B: usize>(
    s: S,
    b: &[[u8; B]; 8],
) -> S::Bytes {
    let bits = u64::from(u32_at(&b[2 * J], AT)) | u64::from(u32_at(&b[2 * J + 1], AT)) << 32;
    s.set_where(nibbles::<S, J, NIBBLES, B>(s, b), bits, 16)
}

impl Quant for Q4_0 {
    type Super = [[u8; 18]; 8];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 15;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(8.0);
    const HIGH_LANES: u16 = 0xf0f0;

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        Scales::centred(s, s.f16_of_blocks(b))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        nibbles::<S, J, 2, 18>(s, b)
    }

    #[inline(always)]
    fn in_place<S: Blocks>() -> bool {
        S::IN_PLACE_16
    }

    #[inline(always)]
    fn exchanged<S: Blocks>(s: S, b: &Self::Super) -> [S::Bytes; 4] {
        s.nibbles_exchanged::<2, 18, true>(b)
    }
}

impl Quant for Q4_1 {
    type Super = [[u8; 20]; 8];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 15;
    const FINE: bool = false;
    const CENTRE: Option<f32> = None;
    const HIGH_LANES: u16 = 0xf0f0;

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales_of_pairs(s, b)
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        nibbles::<S, J, 4, 20>(s, b)
    }

    #[inline(always)]
    fn in_place<S: Blocks>() -> bool {
        S::IN_PLACE_16
    }

    #[inline(always)]
    fn exchanged<S: Blocks>(s: S, b: &Self::Super) -> [S::Bytes; 4] {
        s.nibbles_exchanged::<4, 20, true>(b)
    }
}

impl Quant for Q5_0 {
    type Super = [[u8; 22]; 8];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 31;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(16.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        Scales::centred(s, s.f16_of_blocks(b))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        five_bits::<S, J, 2, 6, 22>(s, b)
    }
}

impl Quant for Q5_1 {
    type Super = [[u8; 24]; 8];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 31;
    const FINE: bool = false;
    const CENTRE: Option<f32> = None;

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales_of_pairs(s, b)
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        five_bits::<S, J, 4, 8, 24>(s, b)
    }
}

impl Quant for Q8_0 {
    type Super = [[u8; 34]; 8];
    const RAGGED: bool = true;
    const SIGNED: bool = true;
    const MAX_CODE: u8 = 255;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(0.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        Scales::centred(s, s.f16_of_blocks(b))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.signed(s.load_halves(bytes_at(&b[2 * J], 2), bytes_at(&b[2 * J + 1], 2)))
    }
}

impl Quant for IQ4_NL {
    type Super = [[u8; 18]; 8];
    const RAGGED: bool = true;
    const SIGNED: bool = true;
    const MAX_CODE: u8 = 255;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(0.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        Scales::centred(s, s.f16_of_blocks(b))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.lookup_signed(&IQ4_LEVELS, nibbles::<S, J, 2, 18>(s, b))
    }

    #[inline(always)]
    fn exchanged<S: Blocks>(s: S, b: &Self::Super) -> [S::Bytes; 4] {
        iq4_codes(s, s.nibbles_exchanged::<2, 18, false>(b))
    }
}

/// The codes of the non-linear 4-bit formats.
#[inline(always)]
pub(super) fn iq4_codes<S: Blocks>(s: S, mut nibbles: [S::Bytes; 4]) -> [S::Bytes; 4] {
    for m in 0..4 {
        nibbles[m] = s.lookup_signed(&IQ4_LEVELS, nibbles[m]);
    }
    nibbles
}
