//! Weights back to f32, one row at a time: the meaning of every storage format, written for reading.
//!
//! This is the definition the fast kernels are tested against, so it shares no code with them (they share the codebook
//! grids, which are data with a checksum). It also serves the embedding lookup, which needs single rows.
//!
//! Layouts follow the GGUF file format; each function states its block in storage order. Values are computed in f32,
//! scale products first, which is within one unit in the last place of the format's own definition.

mod codebook;
mod few_bits;
mod fp4;
pub(crate) mod grids;
mod kquants;
mod legacy;

use crate::Format;
use half::{bf16, f16};

/// Decodes a row: `out[i]` is the value of the i-th weight in `bytes`.
///
/// # Panics
/// If `out` is not a whole number of blocks of `format`, or `bytes` is not exactly their size.
pub fn decode_row(format: Format, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), format.row_bytes(out.len()), "{} values of {format}", out.len());
    match format {
        Format::F32 => each::<4, 1>(bytes, out, |b, y| y[0] = f32::from_le_bytes(*b)),
        Format::F16 => each::<2, 1>(bytes, out, |b, y| y[0] = f16::from_le_bytes(*b).to_f32()),
        Format::BF16 => each::<2, 1>(bytes, out, |b, y| y[0] = bf16::from_le_bytes(*b).to_f32()),
        Format::Q4_0 => each(bytes, out, legacy::q4_0),
        Format::Q4_1 => each(bytes, out, legacy::q4_1),
        Format::Q5_0 => each(bytes, out, legacy::q5_0),
        Format::Q5_1 => each(bytes, out, legacy::q5_1),
        Format::Q8_0 => each(bytes, out, legacy::q8_0),
        Format::IQ4_NL => each(bytes, out, legacy::iq4_nl),
        Format::MXFP4 => each(bytes, out, fp4::mxfp4),
        Format::Q2_K => each(bytes, out, kquants::q2_k),
        Format::Q3_K => each(bytes, out, kquants::q3_k),
        Format::Q4_K => each(bytes, out, kquants::q4_k),
        Format::Q5_K => each(bytes, out, kquants::q5_k),
        Format::Q6_K => each(bytes, out, kquants::q6_k),
        Format::IQ4_XS => each(bytes, out, kquants::iq4_xs),
        Format::IQ2_XXS => each(bytes, out, codebook::iq2_xxs),
        Format::IQ2_XS => each(bytes, out, codebook::iq2_xs),
        Format::IQ2_S => each(bytes, out, codebook::iq2_s),
        Format::IQ3_XXS => each(bytes, out, codebook::iq3_xxs),
        Format::IQ3_S => each(bytes, out, codebook::iq3_s),
        Format::IQ1_S => each(bytes, out, codebook::iq1_s),
        Format::IQ1_M => each(bytes, out, codebook::iq1_m),
        Format::NVFP4 => each(bytes, out, fp4::nvfp4),
        Format::TQ1_0 => each(bytes, out, few_bits::tq1_0),
        Format::TQ2_0 => each(bytes, out, few_bits::tq2_0),
        Format::Q1_0 => each(bytes, out, few_bits::q1_0),
        Format::Q2_0 => each(bytes, out, few_bits::q2_0),
    }
}

/// Calls `decode` for each block of `B` bytes and its `N` values.
fn each<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn(&[u8; B], &mut [f32; N])) {
    let (blocks, rest) = bytes.as_chunks::<B>();
    let (values, tail) = out.as_chunks_mut::<N>();
    assert!(rest.is_empty() && tail.is_empty() && blocks.len() == values.len());
    for (b, y) in blocks.iter().zip(values) {
        decode(b, y);
    }
}

/// The f16 stored at `at`.
fn half_at(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// The u16 stored at `at`.
fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

/// The u32 stored at `at`.
fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Levels of the non-linear 4-bit formats `IQ4_NL` and `IQ4_XS`.
const IQ4_LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

#[cfg(test)]
mod tests;
