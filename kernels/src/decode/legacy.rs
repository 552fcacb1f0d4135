//! Blocks of 32 values with one scale. A byte of a nibble pair holds values `j` (low) and `j + 16` (high).

use super::{IQ4_LEVELS, half_at, u32_at};

/// d f16, 16 nibble pairs: `y = d·(q − 8)`.
pub(super) fn q4_0(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for j in 0..16 {
        y[j] = d * (f32::from(b[2 + j] & 15) - 8.0);
        y[j + 16] = d * (f32::from(b[2 + j] >> 4) - 8.0);
    }
}

/// d f16, m f16, 16 nibble pairs: `y = d·q + m`.
pub(super) fn q4_1(b: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    for j in 0..16 {
        y[j] = d * f32::from(b[4 + j] & 15) + m;
        y[j + 16] = d * f32::from(b[4 + j] >> 4) + m;
    }
}

/// The two 5-bit values of nibble pair `j`; `high` holds bit 4 of value i at bit i.
fn five_bits(pair: u8, high: u32, j: usize) -> (f32, f32) {
    let (low, up) = (u32::from(pair & 15), u32::from(pair >> 4));
    ((low | (high >> j & 1) << 4) as f32, (up | (high >> (j + 16) & 1) << 4) as f32)
}

/// d f16, high bits u32, 16 nibble pairs: `y = d·(q − 16)`.
pub(super) fn q5_0(b: &[u8; 22], y: &mut [f32; 32]) {
    let (d, high) = (half_at(b, 0), u32_at(b, 2));
    for j in 0..16 {
        let (p, q) = five_bits(b[6 + j], high, j);
        y[j] = d * (p - 16.0);
        y[j + 16] = d * (q - 16.0);
    }
}

/// d f16, m f16, high bits u32, 16 nibble pairs: `y = d·q + m`.
pub(super) fn q5_1(b: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m, high) = (half_at(b, 0), half_at(b, 2), u32_at(b, 4));
    for j in 0..16 {
        let (p, q) = five_bits(b[8 + j], high, j);
        y[j] = d * p + m;
        y[j + 16] = d * q + m;
    }
}

/// d f16, 32 × i8: `y = d·q`.
pub(super) fn q8_0(b: &[u8; 34], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (y, &q) in y.iter_mut().zip(&b[2..]) {
        *y = d * f32::from(q as i8);
    }
}

/// d f16, 16 nibble pairs that index [`IQ4_LEVELS`]: `y = d·level`.
pub(super) fn iq4_nl(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for j in 0..16 {
        y[j] = d * f32::from(IQ4_LEVELS[usize::from(b[2 + j] & 15)]);
        y[j + 16] = d * f32::from(IQ4_LEVELS[usize::from(b[2 + j] >> 4)]);
    }
}
