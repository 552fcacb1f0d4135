//! Super-blocks of 256 values in sub-blocks of 16 or 32 with small integer scales. `e` below is the index of a value.

use super::{IQ4_LEVELS, half_at, u16_at};

/// `scales[16]` (nibbles: scale, min), `qs[64]` (2 bits), d f16, dmin f16: `y = d·sc·q − dmin·mn`, sub-blocks of 16.
///
/// e = 128n + 32j + 16s + l: q = bits 2j of qs[32n + 16s + l], scale and min number 8n + 2j + s.
pub(super) fn q2_k(b: &[u8; 84], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 80), half_at(b, 82));
    for (t, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (n, j, s) = (t / 8, t / 2 % 4, t % 2);
        let (scale, min) = (d * f32::from(b[t] & 15), dmin * f32::from(b[t] >> 4));
        for (l, y) in y.iter_mut().enumerate() {
            *y = scale * f32::from(b[16 + 32 * n + 16 * s + l] >> (2 * j) & 3) - min;
        }
    }
}

/// `hmask[32]` (third bits), `qs[64]` (2 bits), `scales[12]` (6 bits), d f16: `y = d·(sc − 32)·(q − 4)`, sub-blocks of 16.
///
/// e as in [`q2_k`]; the third bit of q is bit 4n + j of hmask[16s + l].
pub(super) fn q3_k(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = half_at(b, 108);
    let packed = &b[96..108];
    for (t, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (n, j, s) = (t / 8, t / 2 % 4, t % 2);
        let low = if t < 8 { packed[t] & 15 } else { packed[t - 8] >> 4 };
        let high = packed[8 + t % 4] >> (2 * (t / 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        for (l, y) in y.iter_mut().enumerate() {
            let q = b[32 + 32 * n + 16 * s + l] >> (2 * j) & 3 | (b[16 * s + l] >> (4 * n + j) & 1) << 2;
            *y = scale * (f32::from(q) - 4.0);
        }
    }
}

/// Scale and min number `i` of the 8 pairs of 6 bits packed into 12 bytes.
fn scale_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (sc, mn) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4)
    };
    (f32::from(sc), f32::from(mn))
}

/// d f16, dmin f16, `scales[12]` (6-bit pairs), `qs[128]` (nibbles): `y = d·sc·q − dmin·mn`, sub-blocks of 32.
///
/// e = 64j + 32s + l: q = nibble s of qs[32j + l], scale and min number 2j + s.
pub(super) fn q4_k(b: &[u8; 144], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for (i, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (sc, mn) = scale_min(&b[4..16], i);
        let (scale, min) = (d * sc, dmin * mn);
        for (l, y) in y.iter_mut().enumerate() {
            *y = scale * f32::from(b[16 + 32 * (i / 2) + l] >> (4 * (i % 2)) & 15) - min;
        }
    }
}

/// d f16, dmin f16, `scales[12]`, `qh[32]` (fifth bits), `qs[128]`: as [`q4_k`] with bit i = 2j + s of `qh[l]` as fifth bit.
pub(super) fn q5_k(b: &[u8; 176], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for (i, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (sc, mn) = scale_min(&b[4..16], i);
        let (scale, min) = (d * sc, dmin * mn);
        for (l, y) in y.iter_mut().enumerate() {
            let q = b[48 + 32 * (i / 2) + l] >> (4 * (i % 2)) & 15 | (b[16 + l] >> i & 1) << 4;
            *y = scale * f32::from(q) - min;
        }
    }
}

/// `ql[128]` (low nibbles), `qh[64]` (upper 2 bits), `scales i8[16]`, d f16: `y = d·sc·(q − 32)`, sub-blocks of 16.
///
/// e = 128n + 32r + l: nibble r / 2 of ql[64n + 32(r % 2) + l], bits 2r of qh[32n + l], scale number e / 16.
pub(super) fn q6_k(b: &[u8; 210], y: &mut [f32; 256]) {
    let d = half_at(b, 208);
    for (t, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (n, r, half) = (t / 8, t / 2 % 4, t % 2);
        let scale = d * f32::from(b[192 + t] as i8);
        for (i, y) in y.iter_mut().enumerate() {
            let l = 16 * half + i;
            let low = b[64 * n + 32 * (r % 2) + l] >> (4 * (r / 2)) & 15;
            let high = b[128 + 32 * n + l] >> (2 * r) & 3;
            *y = scale * (f32::from(low | high << 4) - 32.0);
        }
    }
}

/// d f16, scales_h u16, `scales_l[4]`, `qs[128]`: `y = d·(ls − 32)·level`, sub-blocks of 32 laid out as `IQ4_NL`.
pub(super) fn iq4_xs(b: &[u8; 136], y: &mut [f32; 256]) {
    let (d, high) = (half_at(b, 0), u16_at(b, 2));
    for (i, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let ls = b[4 + i / 2] >> (4 * (i % 2)) & 15 | ((high >> (2 * i) & 3) as u8) << 4;
        let scale = d * (f32::from(ls) - 32.0);
        for j in 0..16 {
            let pair = b[8 + 16 * i + j];
            y[j] = scale * f32::from(IQ4_LEVELS[usize::from(pair & 15)]);
            y[j + 16] = scale * f32::from(IQ4_LEVELS[usize::from(pair >> 4)]);
        }
    }
}
