//! Super-blocks of 256 values with a scale for 16 or 32. Small integer scales are unpacked in general registers, four
//! or eight bytes at a time; the arithmetic on them is the vectors'.

use super::legacy::{IQ4_LEVELS, iq4_codes};
use super::{Quant, Scales, bytes_at, splat_f16, u16_at, u32_at, u64_at};
use crate::qmatmul::blocks::Blocks;

pub(crate) struct Q2_K;
pub(crate) struct Q3_K;
pub(crate) struct Q4_K;
pub(crate) struct Q5_K;
pub(crate) struct Q6_K;
pub(crate) struct IQ4_XS;

/// `v` in every byte. Only for constants: a call would leave the vector code.
const fn bytes(v: u8) -> u64 {
    u64::from_le_bytes([v; 8])
}

/// The eight nibbles of `v`, lowest first, one a byte.
#[inline(always)]
pub(super) fn spread_nibbles(v: u32) -> u64 {
    let v = u64::from(v);
    let v = (v | v << 16) & 0x0000_ffff_0000_ffff;
    let v = (v | v << 8) & 0x00ff_00ff_00ff_00ff;
    (v | v << 4) & const { bytes(15) }
}

/// The eight 2-bit fields of `v`, lowest first, one a byte.
#[inline(always)]
pub(super) fn spread_crumbs(v: u16) -> u64 {
    let v = u64::from(v);
    let v = (v | v << 24) & 0x0000_00ff_0000_00ff;
    let v = (v | v << 12) & 0x000f_000f_000f_000f;
    (v | v << 6) & const { bytes(3) }
}

/// `v − 32` of each byte, all in 0..=63, as i8.
#[inline(always)]
fn minus_32(v: u64) -> u64 {
    ((v | const { bytes(0x80) }) - const { bytes(32) }) ^ const { bytes(0x80) }
}

/// The scales and mins packed in 6 bits at byte `AT`; d and dmin at bytes 0 and 2.
#[inline(always)]
fn scales_and_mins<S: Blocks, const AT: usize>(s: S, b: &[u8]) -> Scales<S> {
    const SIX: u32 = 0x3f3f_3f3f;
    const FOUR: u32 = 0x0f0f_0f0f;
    const TWO: u32 = 0x0303_0303;
    let (p, q, r) = (u32_at(b, AT), u32_at(b, AT + 4), u32_at(b, AT + 8));
    let scales = u64::from(p & SIX) | u64::from(r & FOUR | (p >> 6 & TWO) << 4) << 32;
    let mins = u64::from(q & SIX) | u64::from(r >> 4 & FOUR | (q >> 6 & TWO) << 4) << 32;
    // The sign of dmin is its top bit.
    let minus_dmin = s.splat_f16_x16(u16_at(b, 2) ^ 0x8000);
    Scales { scale: s.mul_x16(splat_f16(s, b, 0), s.eight_i8(scales)), offset: s.mul_x16(minus_dmin, s.eight_i8(mins)) }
}

/// Two bits of values 64J .. from the 64 bytes at `AT`, in the order of `Q2_K`.
#[inline(always)]
pub(super) fn two_bits<S: Blocks, const J: usize, const AT: usize>(s: S, b: &[u8]) -> S::Bytes {
    let p = bytes_at(b, AT + J / 2 * 32);
    match J {
        0 | 2 => s.fields_32::<0, 2, 3>(p),
        _ => s.fields_32::<4, 6, 3>(p),
    }
}

/// Bits 2J and 2J + 1 of the 32 bytes at `AT`.
#[inline(always)]
fn one_bit<S: Blocks, const J: usize, const AT: usize>(s: S, b: &[u8]) -> S::Bytes {
    let p = bytes_at(b, AT);
    match J {
        0 => s.fields_32::<0, 1, 1>(p),
        1 => s.fields_32::<2, 3, 1>(p),
        2 => s.fields_32::<4, 5, 1>(p),
        _ => s.fields_32::<6, 7, 1>(p),
    }
}

impl Quant for Q2_K {
    type Super = [u8; 84];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 3;
    const FINE: bool = true;
    const CENTRE: Option<f32> = None;

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let (p, q) = (u64_at(b, 0), u64_at(b, 8));
        let scales = s.sixteen_i8([p & const { bytes(15) }, q & const { bytes(15) }]);
        let mins = s.sixteen_i8([p >> 4 & const { bytes(15) }, q >> 4 & const { bytes(15) }]);
        let minus_dmin = s.splat_f16_x16(u16_at(b, 82) ^ 0x8000);
        Scales { scale: s.mul_x16(splat_f16(s, b, 80), scales), offset: s.mul_x16(minus_dmin, mins) }
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        two_bits::<S, J, 16>(s, b)
    }
}

impl Quant for Q3_K {
    type Super = [u8; 110];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 7;
    const FINE: bool = true;
    const CENTRE: Option<f32> = Some(4.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let (low, high) = (u64_at(b, 96), u32_at(b, 104));
        const TWO: u64 = bytes(3) >> 32;
        let high = u64::from(high);
        let first = low & const { bytes(15) } | (high & TWO) << 4 | (high >> 2 & TWO) << 36;
        let second = low >> 4 & const { bytes(15) } | (high >> 4 & TWO) << 4 | (high >> 6 & TWO) << 36;
        let integers = s.sixteen_i8([minus_32(first), minus_32(second)]);
        Scales::centred(s, s.mul_x16(splat_f16(s, b, 108), integers))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.or(two_bits::<S, J, 32>(s, b), s.shift_left::<2>(one_bit::<S, J, 0>(s, b)))
    }
}

impl Quant for Q4_K {
    type Super = [u8; 144];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 15;
    const FINE: bool = false;
    const CENTRE: Option<f32> = None;
    const HIGH_LANES: u16 = 0xff00;

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales_and_mins::<S, 4>(s, b)
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.fields_32::<0, 4, 15>(bytes_at(b, 16 + 32 * J))
    }

    #[inline(always)]
    fn in_place<S: Blocks>() -> bool {
        S::IN_PLACE_32
    }

    #[inline(always)]
    fn exchanged<S: Blocks>(s: S, b: &Self::Super) -> [S::Bytes; 4] {
        s.nibbles_32_exchanged(bytes_at(b, 16))
    }
}

impl Quant for Q5_K {
    type Super = [u8; 176];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 31;
    const FINE: bool = false;
    const CENTRE: Option<f32> = None;

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        scales_and_mins::<S, 4>(s, b)
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let low = s.fields_32::<0, 4, 15>(bytes_at(b, 48 + 32 * J));
        s.or(low, s.shift_left::<4>(one_bit::<S, J, 16>(s, b)))
    }

    #[inline(always)]
    fn exchanged<S: Blocks>(s: S, b: &Self::Super) -> [S::Bytes; 4] {
        s.five_bits_exchanged(bytes_at(b, 48), bytes_at(b, 16), super::codes::<S, Self>(s, b))
    }
}

impl Quant for Q6_K {
    type Super = [u8; 210];
    const RAGGED: bool = false;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 63;
    const FINE: bool = true;
    const CENTRE: Option<f32> = Some(32.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let integers = s.sixteen_i8([u64_at(b, 192), u64_at(b, 200)]);
        Scales::centred(s, s.mul_x16(splat_f16(s, b, 208), integers))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        let p = bytes_at(b, 64 * (J / 2));
        let low = match J {
            0 | 2 => s.fields_64::<0, 15>(p),
            _ => s.fields_64::<4, 15>(p),
        };
        s.or(low, s.shift_left::<4>(two_bits::<S, J, 128>(s, b)))
    }
}

impl Quant for IQ4_XS {
    type Super = [u8; 136];
    const RAGGED: bool = false;
    const SIGNED: bool = true;
    const MAX_CODE: u8 = 255;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(0.0);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let integers = minus_32(spread_nibbles(u32_at(b, 4)) | spread_crumbs(u16_at(b, 2)) << 4);
        Scales::centred(s, s.mul_x16(splat_f16(s, b, 0), s.eight_i8(integers)))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.lookup_signed(&IQ4_LEVELS, s.nibbles(bytes_at(b, 8 + 32 * J), bytes_at(b, 24 + 32 * J)))
    }

    #[inline(always)]
    fn exchanged<S: Blocks>(s: S, b: &Self::Super) -> [S::Bytes; 4] {
        iq4_codes(s, s.nibbles_exchanged::<0, 16, false>(bytemuck::cast_ref(bytes_at::<128>(b, 8))))
    }
}
