//! Codebook formats: magnitudes are fetched from the grids eight bytes at a time, the rest is done in vectors.
//! Signed values of at most ±62 become codes by adding 64. Of the smallest formats, eighths of at most ±9 by adding 9.

use super::kquants::spread_nibbles;
use super::{Quant, Scales, bytes_at, splat_f16, u16_at, u32_at, u64_at};
use crate::decode::grids;
use crate::qmatmul::blocks::Blocks;

pub(crate) struct IQ2_XXS;
pub(crate) struct IQ2_XS;
pub(crate) struct IQ2_S;
pub(crate) struct IQ3_XXS;
pub(crate) struct IQ3_S;
pub(crate) struct IQ1_S;
pub(crate) struct IQ1_M;

/// What is added to a signed value to make its code.
const CENTRE: u8 = 64;

/// Eight sign bits from the seven of each byte: the last makes their number even.
#[inline(always)]
fn with_parity(signs: u64) -> u64 {
    let p = signs ^ signs >> 4;
    let p = p ^ p >> 2;
    let p = p ^ p >> 1;
    signs | (p & 0x0101_0101_0101_0101) << 7
}

/// 64 sign bits from the four 7-bit groups of each of two words.
#[inline(always)]
fn signs_of_words(first: u32, second: u32) -> u64 {
    let w = u64::from(first) | u64::from(second) << 32;
    let group = |t: u32| (w & 0x0000_007f_0000_007f << (7 * t)) << t;
    with_parity(group(0) | group(1) | group(2) | group(3))
}

/// Codes from magnitudes and signs.
#[inline(always)]
fn centre<S: Blocks>(s: S, magnitudes: S::Bytes, signs: u64) -> S::Bytes {
    s.add_bytes(s.negate_where(magnitudes, signs), s.splat_bytes(CENTRE))
}

/// Scales `d·unit·integers`.
#[inline(always)]
fn scales<S: Blocks>(s: S, b: &[u8], unit: f32, integers: S::Floats) -> Scales<S> {
    Scales::centred(s, s.mul_x16(s.mul_x16(splat_f16(s, b, 0), s.splat_x16(unit)), integers))
}

/// `2v + 1` of each byte, all below 64.
#[inline(always)]
fn odd(v: u64) -> u64 {
    v << 1 | 0x0101_0101_0101_0101
}

/// The top nibbles of the eight u32 at `at`, `step` bytes apart, one a byte.
#[inline(always)]
fn top_nibbles(b: &[u8], at: usize, step: usize) -> u64 {
    let mut nibbles = 0;
    for k in 0..8 {
        nibbles |= u64::from(b[at + k * step + 3] >> 4) << (8 * k);
    }
    nibbles
}

/// Four u16 that are below 256, as bytes.
#[inline(always)]
fn low_bytes(v: u64) -> u64 {
    let v = (v | v >> 8) & 0x0000_ffff_0000_ffff;
    (v | v >> 16) & 0xffff_ffff
}

/// The eight 3-bit fields that start each of two u16, one a byte.
#[inline(always)]
fn spread_threes(v: u32) -> u64 {
    let v = u64::from(v & 0xfff) | u64::from(v >> 16 & 0xfff) << 32;
    let v = (v | v << 10) & 0x003f_003f_003f_003f;
    (v | v << 5) & 0x0707_0707_0707_0707
}

impl Quant for IQ2_XXS {
    type Super = [u8; 66];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 127;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(CENTRE as f32);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales(s, b, 0.125, s.eight_i8(odd(top_nibbles(b, 6, 8))))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let at = 2 + 16 * J;
        let magnitudes = eight!(T => u64::from_le_bytes(grids::IQ2_XXS[usize::from(b[at + T / 4 * 8 + T % 4])]));
        centre(s, s.groups(magnitudes), signs_of_words(u32_at(b, at + 4), u32_at(b, at + 12)))
    }
}

impl Quant for IQ2_XS {
    type Super = [u8; 74];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 127;
    const FINE: bool = true;
    const CENTRE: Option<f32> = Some(CENTRE as f32);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let integers = [odd(spread_nibbles(u32_at(b, 66))), odd(spread_nibbles(u32_at(b, 70)))];
        scales(s, b, 0.125, s.sixteen_i8(integers))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let (first, second) = (u64_at(b, 2 + 16 * J), u64_at(b, 10 + 16 * J));
        let magnitudes = eight!(T => {
            let q = if T < 4 { first >> (16 * T) } else { second >> (16 * (T - 4)) };
            u64::from_le_bytes(grids::IQ2_XS[(q & 511) as usize])
        });
        // The top seven bits of each u16, as bytes.
        let top = |q: u64| low_bytes(q >> 9 & 0x007f_007f_007f_007f);
        centre(s, s.groups(magnitudes), with_parity(top(first) | top(second) << 32))
    }
}

impl Quant for IQ2_S {
    type Super = [u8; 82];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 127;
    const FINE: bool = true;
    const CENTRE: Option<f32> = Some(CENTRE as f32);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let integers = [odd(spread_nibbles(u32_at(b, 74))), odd(spread_nibbles(u32_at(b, 78)))];
        scales(s, b, 0.125, s.sixteen_i8(integers))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let high = usize::from(u16_at(b, 66 + 2 * J));
        let magnitudes = eight!(T => {
            u64::from_le_bytes(grids::IQ2_S[usize::from(b[2 + 8 * J + T]) | (high >> (2 * T) & 3) << 8])
        });
        centre(s, s.groups(magnitudes), u64_at(b, 34 + 8 * J))
    }
}

impl Quant for IQ3_XXS {
    type Super = [u8; 98];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 127;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(CENTRE as f32);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales(s, b, 0.25, s.eight_i8(odd(top_nibbles(b, 66, 4))))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let at = 2 + 16 * J;
        let magnitudes = s.groups_at(&grids::IQ3_XXS, bytes_at(b, at), 0);
        let signs = signs_of_words(u32_at(b, 66 + 8 * J), u32_at(b, 70 + 8 * J));
        centre(s, magnitudes, signs)
    }
}

impl Quant for IQ3_S {
    type Super = [u8; 110];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 127;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(CENTRE as f32);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales(s, b, 1.0, s.eight_i8(odd(spread_nibbles(u32_at(b, 106)))))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let at = 2 + 16 * J;
        let magnitudes = s.groups_at(&grids::IQ3_S, bytes_at(b, at), u16_at(b, 66 + 2 * J));
        centre(s, magnitudes, u64_at(b, 74 + 8 * J))
    }
}

/// The code of zero where codes count eighths: 8·(v + 1) from the grid, and 2 where an eighth is added to v rather than taken
/// off, so that it is 1 off either way.
const EIGHTHS: f32 = 9.0;

impl Quant for IQ1_S {
    type Super = [u8; 50];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 2 * EIGHTHS as u8;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(EIGHTHS);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let three = |at: usize| low_bytes(u64_at(b, at) >> 12 & 0x0007_0007_0007_0007);
        scales(s, b, 0.125, s.eight_i8(odd(three(34) | three(42) << 32)))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let high = u32_at(b, 34 + 4 * J);
        let values = eight!(T => {
            let high = high >> (16 * (T / 4) + 3 * (T % 4)) & 7;
            u64::from_le_bytes(grids::IQ1[usize::from(b[2 + 8 * J + T]) | (high as usize) << 8])
        });
        // The sign of each 32 values, in each of their bits.
        let minus = |at: u32| u64::from(((high << at) as i32 >> 31) as u32);
        s.set_where(s.groups(values), !(minus(16) | minus(0) << 32), 2)
    }
}

impl Quant for IQ1_M {
    type Super = [u8; 56];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 2 * EIGHTHS as u8;
    const FINE: bool = true;
    const CENTRE: Option<f32> = Some(EIGHTHS);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let w = u64_at(b, 48);
        let d = (w >> 12 & 0xf | w >> 24 & 0xf0 | w >> 36 & 0xf00 | w >> 48 & 0xf000) as u16;
        let integers = s.sixteen_i8([odd(spread_threes(w as u32)), odd(spread_threes((w >> 32) as u32))]);
        Scales::centred(s, s.mul_x16(s.mul_x16(s.splat_f16_x16(d), s.splat_x16(0.125)), integers))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let high = spread_nibbles(u32_at(b, 32 + 4 * J));
        let values = eight!(T => {
            let high = (high >> (8 * T) & 7) as usize;
            u64::from_le_bytes(grids::IQ1[usize::from(b[8 * J + T]) | high << 8])
        });
        // The sign of each eight values, in each of their bits.
        let plus = (!high >> 3 & 0x0101_0101_0101_0101) * 0xff;
        s.set_where(s.groups(values), plus, 2)
    }
}
