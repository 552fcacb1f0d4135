//! Super-blocks of 256 values whose magnitudes, or values, are groups of 4 or 8 picked from a grid.

use super::{grids, half_at, u16_at, u32_at};
use half::f16;

/// The eight sign bits for seven stored ones: the eighth makes their number even.
fn even_parity(seven: u32) -> u8 {
    (seven | (seven.count_ones() & 1) << 7) as u8
}

/// `y[i] = ±scale·magnitudes[i]`, negative where bit i of `signs` is set.
fn signed(scale: f32, magnitudes: &[u8], signs: u8, y: &mut [f32]) {
    for (i, (y, &g)) in y.iter_mut().zip(magnitudes).enumerate() {
        let value = scale * f32::from(g);
        *y = if signs >> i & 1 == 1 { -value } else { value };
    }
}

/// d f16, then for each 32 values `idx[4]` and a u32 of four 7-bit sign groups and a 4-bit scale.
pub(super) fn iq2_xxs(b: &[u8; 66], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    for (k, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let at = 2 + 8 * k;
        let w = u32_at(b, at + 4);
        let scale = d * (0.5 + (w >> 28) as f32) * 0.25;
        for (t, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            signed(scale, &grids::IQ2_XXS[usize::from(b[at + t])], even_parity(w >> (7 * t) & 127), y);
        }
    }
}

/// The scale of group `t` of 8 values: `d·(0.5 + nibble)/4`, one nibble for two groups.
fn iq2_scale(d: f32, scales: &[u8], t: usize) -> f32 {
    d * (0.5 + f32::from(scales[t / 4] >> (4 * (t / 2 % 2)) & 15)) * 0.25
}

/// d f16, `q u16[32]` (9-bit index, 7 signs), `scales[8]` (nibbles).
pub(super) fn iq2_xs(b: &[u8; 74], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    for (t, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let q = u16_at(b, 2 + 2 * t);
        let signs = even_parity(u32::from(q >> 9));
        signed(iq2_scale(d, &b[66..74], t), &grids::IQ2_XS[usize::from(q & 511)], signs, y);
    }
}

/// d f16, `q[32]`, `signs[32]`, `qh[8]` (bits 8 and 9 of the index), `scales[8]` (nibbles).
pub(super) fn iq2_s(b: &[u8; 82], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    for (t, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = usize::from(b[66 + t / 4] >> (2 * (t % 4)) & 3);
        let index = usize::from(b[2 + t]) | high << 8;
        signed(iq2_scale(d, &b[74..82], t), &grids::IQ2_S[index], b[34 + t], y);
    }
}

/// d f16, `q[64]`, then for each 32 values a u32 of four 7-bit sign groups and a 4-bit scale.
pub(super) fn iq3_xxs(b: &[u8; 98], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    for (t, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let w = u32_at(b, 66 + 4 * (t / 4));
        let scale = d * (0.5 + (w >> 28) as f32) * 0.5;
        let signs = even_parity(w >> (7 * (t % 4)) & 127);
        let (first, second) = y.split_at_mut(4);
        signed(scale, &grids::IQ3_XXS[usize::from(b[2 + 2 * t])], signs, first);
        signed(scale, &grids::IQ3_XXS[usize::from(b[3 + 2 * t])], signs >> 4, second);
    }
}

/// d f16, `q[64]`, `qh[8]` (ninth index bits), `signs[32]`, `scales[4]` (nibbles): `y = ±d·(1 + 2·nibble)·magnitude`.
pub(super) fn iq3_s(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    for (k, y) in y.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let high = usize::from(b[66 + k / 8] >> (k % 8) & 1);
        let index = usize::from(b[2 + k]) | high << 8;
        let nibble = b[106 + k / 16] >> (4 * (k / 8 % 2)) & 15;
        let signs = b[74 + k / 2] >> (4 * (k % 2));
        signed(d * f32::from(1 + 2 * nibble), &grids::IQ3_S[index], signs, y);
    }
}

/// `y[i] = scale·(v[i] ± 1/8)` for the values v of −1, 0 and 1 of a group; minus where `minus` is not 0.
fn shifted(scale: f32, group: &[u8; 8], minus: u16, y: &mut [f32; 8]) {
    let delta = if minus == 0 { 0.125 } else { -0.125 };
    for (y, &v) in y.iter_mut().zip(group) {
        *y = scale * (f32::from(v) / 8.0 - 1.0 + delta);
    }
}

/// d f16, `q[32]`, `qh u16[8]`, one for each 32 values: the upper three bits of four indices, a 3-bit scale, the sign of 1/8.
pub(super) fn iq1_s(b: &[u8; 50], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    for (t, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = u16_at(b, 34 + 2 * (t / 4));
        let index = usize::from(b[2 + t]) | usize::from(high >> (3 * (t % 4)) & 7) << 8;
        shifted(d * f32::from(1 + 2 * (high >> 12 & 7)), &grids::IQ1[index], high & 0x8000, y);
    }
}

/// `q[32]`, `qh[16]` (nibbles: the upper three bits of an index, the sign of 1/8), `scales u16[4]`, each four scales of 3 bits
/// for 16 values and a quarter of d, lowest first.
pub(super) fn iq1_m(b: &[u8; 56], y: &mut [f32; 256]) {
    let scales = [0, 1, 2, 3].map(|i| u16_at(b, 48 + 2 * i));
    let quarters = scales.iter().enumerate().map(|(i, scales)| (scales >> 12) << (4 * i));
    let d = f16::from_bits(quarters.sum()).to_f32();
    for (t, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let nibble = u16::from(b[32 + t / 2] >> (4 * (t % 2)) & 15);
        let index = usize::from(b[t]) | usize::from(nibble & 7) << 8;
        let scale = scales[t / 8] >> (3 * (t / 2 % 4)) & 7;
        shifted(d * f32::from(1 + 2 * scale), &grids::IQ1[index], nibble & 8, y);
    }
}
