//! Blocks of 4-bit floats: E2M1, one bit of sign, two of exponent, one of mantissa.

/// E2M1 values times two.
const DOUBLED: [f32; 16] = [0., 1., 2., 3., 4., 6., 8., 12., -0., -1., -2., -3., -4., -6., -8., -12.];

/// exponent e u8, 16 nibble pairs, values `j` (low) and `j + 16` (high): `y = 2^(e − 127)·value`.
pub(super) fn mxfp4(b: &[u8; 17], y: &mut [f32; 32]) {
    // Half the scale, 2^(e − 128), whose two smallest values are subnormal.
    let d = match b[0] {
        e @ 0..=1 => f32::from_bits(0x0020_0000 << e),
        e => f32::from_bits(u32::from(e - 1) << 23),
    };
    for j in 0..16 {
        y[j] = d * DOUBLED[usize::from(b[1 + j] & 15)];
        y[j + 16] = d * DOUBLED[usize::from(b[1 + j] >> 4)];
    }
}

/// A float of four bits of exponent and three of mantissa; the top bit is of no account. What would be NaN is 0.
fn ue4m3(v: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(v >> 3 & 15), f32::from(v & 7));
    match (exponent, v) {
        (_, 0x7f) => 0.0,
        (0, _) => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}

/// `scales[4]` (UE4M3) of 16 values each, then for each of them 8 nibble pairs, values `j` (low) and `j + 8` (high):
/// `y = scale·value`. The tensor as a whole may have a scale besides.
pub(super) fn nvfp4(b: &[u8; 36], y: &mut [f32; 64]) {
    for (i, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let d = 0.5 * ue4m3(b[i]);
        for j in 0..8 {
            let pair = b[4 + 8 * i + j];
            y[j] = d * DOUBLED[usize::from(pair & 15)];
            y[j + 8] = d * DOUBLED[usize::from(pair >> 4)];
        }
    }
}
