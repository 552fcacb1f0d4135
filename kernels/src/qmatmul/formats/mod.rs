//! Unpackers: one block of each storage format to small integer codes with scales, over the [`Blocks`] vocabulary.
//!
//! Quantised formats are seen 256 values at a time: one super-block of the K and codebook formats, eight blocks of the
//! others. A value is `scale·code + offset`, with scale and offset constant over 16 values at least.

// Types are named as the formats they stand for.
#![allow(non_camel_case_types)]

/// Eight times the same steps on constant indices; a loop over a closure would not be inlined into vector code.
macro_rules! eight {
    ($t:ident => $e:expr) => {
        [
            { const $t: usize = 0; $e }, { const $t: usize = 1; $e }, { const $t: usize = 2; $e },
            { const $t: usize = 3; $e }, { const $t: usize = 4; $e }, { const $t: usize = 5; $e },
            { const $t: usize = 6; $e }, { const $t: usize = 7; $e },
        ]
    };
}

mod codebook;
mod few_bits;
mod float;
mod fp4;
mod kquants;
mod legacy;

use super::blocks::{Blocks, Codes};
use crate::Format;

use codebook::*;
use few_bits::*;
use float::*;
use fp4::*;
use kquants::*;
use legacy::*;

/// A quantised format.
pub(super) trait Quant: Sized + 'static {
    /// The bytes of 256 values.
    type Super: bytemuck::Pod;

    /// Whether a row may end within a [`Quant::Super`]: after any of its blocks.
    const RAGGED: bool;

    /// Whether codes are i8, passed through [`Blocks::signed`]; otherwise they are in 0..=127.
    const SIGNED: bool;

    /// The largest code, of formats that are not signed.
    const MAX_CODE: u8;

    /// Whether scales or offsets differ within 32 values.
    const FINE: bool;

    /// The code that stands for zero, of formats where that is the same everywhere: `value = scale·(code − centre)`.
    const CENTRE: Option<f32>;

    /// The lanes of [`Quant::exchanged`] that are high nibbles, and count for 16 times as much where they are left
    /// [in place](Quant::in_place).
    const HIGH_LANES: u16 = 0;

    /// The scale of each 16 values, and the offset unless there is a [`Quant::CENTRE`], in the order of lanes.
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S>;

    /// The codes of values 64J .. 64J + 64, in order.
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes;

    /// Whether level `S` leaves high nibbles in place.
    #[inline(always)]
    fn in_place<S: Blocks>() -> bool {
        false
    }

    /// The codes of all values in the [order of lanes](crate::activations::Order::Lanes).
    #[inline(always)]
    fn exchanged<S: Blocks>(s: S, b: &Self::Super) -> [S::Bytes; 4] {
        s.exchange(codes::<S, Self>(s, b))
    }
}

/// What a format's codes are.
#[inline(always)]
pub(super) fn kind<F: Quant>() -> Codes {
    if F::SIGNED { Codes::Signed } else { Codes::UpTo(F::MAX_CODE) }
}

/// The codes of 256 values, in order.
#[inline(always)]
pub(super) fn codes<S: Blocks, F: Quant>(s: S, b: &F::Super) -> [S::Bytes; 4] {
    [F::codes::<S, 0>(s, b), F::codes::<S, 1>(s, b), F::codes::<S, 2>(s, b), F::codes::<S, 3>(s, b)]
}

/// The scales `d` of activations that meet [`Quant::exchanged`] codes, less the factor of high nibbles left in place.
/// It is a power of two, so results keep their bits.
#[inline(always)]
pub(super) fn scales_of_lanes<S: Blocks, F: Quant>(s: S, d: S::Floats) -> S::Floats {
    if !F::in_place::<S>() {
        return d;
    }
    s.mul_x16(d, s.load_x16(const { &sixteenths(F::HIGH_LANES) }))
}

/// 1/16 in the lanes given, 1 in the others.
const fn sixteenths(lanes: u16) -> [f32; 16] {
    let mut factors = [1.0; 16];
    let mut i = 0;
    while i < 16 {
        if lanes >> i & 1 == 1 {
            factors[i] = 1.0 / 16.0;
        }
        i += 1;
    }
    factors
}

/// The centre of a format's codes as level `S` has them, with the bias of signed ones.
#[inline(always)]
pub(super) fn centre<S: Blocks, F: Quant>() -> Option<f32> {
    let bias = if F::SIGNED { S::SIGNED_BIAS } else { 0.0 };
    F::CENTRE.map(|centre| centre + bias)
}

/// The scale and offset of each 16 values for the codes as level `S` has them.
#[inline(always)]
pub(super) fn affine<S: Blocks, F: Quant>(s: S, b: &F::Super) -> Scales<S> {
    let Scales { scale, offset } = F::scales(s, b);
    match centre::<S, F>() {
        None => Scales { scale, offset },
        Some(centre) => Scales { scale, offset: s.mul_x16(scale, s.splat_x16(-centre)) },
    }
}

/// Scale and offset of each 16 of 256 values: those of values 64v + 16b .. in lane 4b + v.
#[derive(Clone, Copy)]
pub(super) struct Scales<S: Blocks> {
    pub scale: S::Floats,
    pub offset: S::Floats,
}

impl<S: Blocks> Scales<S> {
    /// For formats with a [`Quant::CENTRE`].
    #[inline(always)]
    fn centred(s: S, scale: S::Floats) -> Self {
        Scales { scale, offset: s.splat_x16(0.0) }
    }
}

/// A float format.
pub(super) trait Float: 'static {
    /// The bytes of 16 values.
    type Group: bytemuck::Pod;

    /// The values.
    fn values<S: Blocks>(s: S, b: &Self::Group) -> S::Floats;
}

/// What is done with a format known at run time, as a type.
pub(super) trait Visitor {
    type Output;

    fn quantised<F: Quant>(self) -> Self::Output;
    fn float<F: Float>(self) -> Self::Output;
}

/// The formats and their types.
pub(super) fn visit<V: Visitor>(format: Format, visitor: V) -> V::Output {
    match format {
        Format::F32 => visitor.float::<F32>(),
        Format::F16 => visitor.float::<F16>(),
        Format::BF16 => visitor.float::<BF16>(),
        Format::Q4_0 => visitor.quantised::<Q4_0>(),
        Format::Q4_1 => visitor.quantised::<Q4_1>(),
        Format::Q5_0 => visitor.quantised::<Q5_0>(),
        Format::Q5_1 => visitor.quantised::<Q5_1>(),
        Format::Q8_0 => visitor.quantised::<Q8_0>(),
        Format::Q2_K => visitor.quantised::<Q2_K>(),
        Format::Q3_K => visitor.quantised::<Q3_K>(),
        Format::Q4_K => visitor.quantised::<Q4_K>(),
        Format::Q5_K => visitor.quantised::<Q5_K>(),
        Format::Q6_K => visitor.quantised::<Q6_K>(),
        Format::IQ2_XXS => visitor.quantised::<IQ2_XXS>(),
        Format::IQ2_XS => visitor.quantised::<IQ2_XS>(),
        Format::IQ2_S => visitor.quantised::<IQ2_S>(),
        Format::IQ3_XXS => visitor.quantised::<IQ3_XXS>(),
        Format::IQ3_S => visitor.quantised::<IQ3_S>(),
        Format::IQ4_NL => visitor.quantised::<IQ4_NL>(),
        Format::IQ4_XS => visitor.quantised::<IQ4_XS>(),
        Format::MXFP4 => visitor.quantised::<MXFP4>(),
        Format::NVFP4 => visitor.quantised::<NVFP4>(),
        Format::IQ1_S => visitor.quantised::<IQ1_S>(),
        Format::IQ1_M => visitor.quantised::<IQ1_M>(),
        Format::TQ1_0 => visitor.quantised::<TQ1_0>(),
        Format::TQ2_0 => visitor.quantised::<TQ2_0>(),
        Format::Q1_0 => visitor.quantised::<Q1_0>(),
        Format::Q2_0 => visitor.quantised::<Q2_0>(),
    }
}

/// `N` bytes of `b` from `at`.
#[inline(always)]
fn bytes_at<const N: usize>(b: &[u8], at: usize) -> &[u8; N] {
    b[at..at + N].try_into().expect("N bytes")
}

/// The u16 at `at`.
#[inline(always)]
fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes_at(b, at))
}

/// The u32 at `at`.
#[inline(always)]
fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes_at(b, at))
}

/// The u64 at `at`.
#[inline(always)]
fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes_at(b, at))
}

/// The f16 number at `at` in all lanes.
#[inline(always)]
fn splat_f16<S: Blocks>(s: S, b: &[u8], at: usize) -> S::Floats {
    s.splat_f16_x16(u16_at(b, at))
}
