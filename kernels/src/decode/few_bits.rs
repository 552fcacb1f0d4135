//! Blocks of values of one or two bits, or a trit, with one scale.

use super::half_at;

/// d f16, 128 bits, lowest first: `y = ±d`, positive where the bit is set.
pub(super) fn q1_0(b: &[u8; 18], y: &mut [f32; 128]) {
    let d = half_at(b, 0);
    for (i, y) in y.iter_mut().enumerate() {
        *y = if b[2 + i / 8] >> (i % 8) & 1 == 1 { d } else { -d };
    }
}

/// d f16, 64 × 2 bits, lowest first: `y = d·(q − 1)`.
pub(super) fn q2_0(b: &[u8; 18], y: &mut [f32; 64]) {
    let d = half_at(b, 0);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * (f32::from(b[2 + i / 4] >> (2 * (i % 4)) & 3) - 1.0);
    }
}

/// `qs[48]` of five trits, `qh[4]` of four, d f16: `y = d·(trit − 1)`. A byte is a fraction of 256 in base 3, its first digit
/// first: digit n of byte v is the whole part of `3·(3ⁿ·v mod 256)/256`.
///
/// Digits of the same number stand together: 5 times those of 32 bytes, 5 times those of 16, 4 times those of 4.
pub(super) fn tq1_0(b: &[u8; 54], y: &mut [f32; 256]) {
    let d = half_at(b, 52);
    let mut y = y.iter_mut();
    for (bytes, digits) in [(0..32, 5), (32..48, 5), (48..52, 4)] {
        for n in 0..digits {
            for (&v, y) in b[bytes.clone()].iter().zip(&mut y) {
                let rest = (u32::from(v) * 3u32.pow(n)) % 256;
                *y = d * ((3 * rest / 256) as f32 - 1.0);
            }
        }
    }
}

/// `qs[64]` (2 bits), d f16: `y = d·(q − 1)`. e = 128n + 32j + l: q = bits 2j of qs[32n + l].
pub(super) fn tq2_0(b: &[u8; 66], y: &mut [f32; 256]) {
    let d = half_at(b, 64);
    for (i, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (l, y) in y.iter_mut().enumerate() {
            *y = d * (f32::from(b[32 * (i / 4) + l] >> (2 * (i % 4)) & 3) - 1.0);
        }
    }
}
