//! 4-bit floats. Twice an E2M1 value is a whole number of at most 12, which becomes a code by adding 12.

use super::legacy::nibbles;
use super::{Quant, Scales, bytes_at, u32_at};
use crate::qmatmul::blocks::Blocks;

pub(crate) struct MXFP4;
pub(crate) struct NVFP4;

/// The code of zero.
const ZERO: f32 = 12.0;

/// Doubled E2M1 values plus 12.
const CODES: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// Half the scale of an `MXFP4` block, `2^(e − 128)`.
#[inline(always)]
fn mxfp4_scale(e: u8) -> f32 {
    let e = u32::from(e);
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

impl Quant for MXFP4 {
    type Super = [[u8; 17]; 8];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 2 * ZERO as u8;
    const FINE: bool = false;
    const CENTRE: Option<f32> = Some(ZERO);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let mut scales = [0.0; 8];
        for i in 0..4 {
            scales[i] = mxfp4_scale(b[2 * i][0]);
            scales[4 + i] = mxfp4_scale(b[2 * i + 1][0]);
        }
        Scales::centred(s, s.eight_f32(&scales))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.lookup(&CODES, nibbles::<S, J, 1, 17>(s, b))
    }
}

impl Quant for NVFP4 {
    type Super = [[u8; 36]; 4];
    const RAGGED: bool = true;
    const SIGNED: bool = false;
    const MAX_CODE: u8 = 2 * ZERO as u8;
    const FINE: bool = true;
    const CENTRE: Option<f32> = Some(ZERO);

    #[inline(always)]
    fn scales<S: Blocks>(s: S, b: &Self::Super) -> Scales<S> {
        let pair = |i: usize| u64::from(u32_at(&b[i], 0)) | u64::from(u32_at(&b[i + 1], 0)) << 32;
        Scales::centred(s, s.mul_x16(s.sixteen_ue4m3([pair(0), pair(2)]), s.splat_x16(0.5)))
    }

    #[inline(always)]
    fn codes<S: Blocks, const J: usize>(s: S, b: &Self::Super) -> S::Bytes {
        s.lookup(&CODES, s.nibbles_of_eights(bytes_at(&b[J], 4)))
    }
}
