use super::*;

/// The blocks and values of one type in `fixture/`, cut from reference data by `fixture/make.py`.
fn fixture(format: Format) -> Option<&'static [u8]> {
    macro_rules! files {
        ($($name:ident)*) => {
            match format {
                Format::F32 | Format::F16 | Format::BF16 => None,
                $(Format::$name => Some(&include_bytes!(concat!("fixture/", stringify!($name), ".bin"))[..]),)*
            }
        };
    }
    files!(
        Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS IQ1_M
        TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0
    )
}

#[test]
fn every_format_decodes_reference_blocks_within_one_ulp() {
    for &format in Format::ALL {
        let Some(data) = fixture(format) else { continue };
        let (blocks, values) = data.split_at(format.row_bytes(1024).unwrap());
        let want: Vec<f32> = values.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let mut got = vec![f32::NAN; want.len()];
        decode_row(format, blocks, &mut got);
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            // Neighbouring floats of one sign have neighbouring bit patterns; 0 and -0 are equal.
            let near = got == want || (got.signum() == want.signum() && got.to_bits().abs_diff(want.to_bits()) <= 1);
            assert!(near, "{format} value {i}: {got:e}, reference {want:e}");
        }
    }
}

/// A block of the byte pattern `37·i + 11` with tame scales, as the published test vectors have it.
fn pattern_block(format: Format) -> Vec<u8> {
    let mut b: Vec<u8> = (0..format.block_bytes()).map(|i| (37 * i + 11) as u8).collect();
    let (half, quarter) = (f16::from_f32(0.5).to_le_bytes(), f16::from_f32(0.25).to_le_bytes());
    let mut put = |at: usize, v: [u8; 2]| b[at..at + 2].copy_from_slice(&v);
    match format {
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => {
            put(0, half);
            put(2, quarter);
        }
        Format::Q2_K => {
            put(80, half);
            put(82, quarter);
        }
        Format::Q3_K => put(108, half),
        Format::Q6_K => put(208, half),
        Format::MXFP4 => b[0] = 127,
        _ => put(0, half),
    }
    b
}

#[test]
fn pattern_blocks_decode_to_the_published_values() {
    type Case<'a> = (Format, &'a [usize], &'a [f32], f64, f64);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (Format::Q8_0, &[0, 1, 15, 16, 17, 31], &[42.5, 61., -64., -45.5, -27., -24.], -88., -4040.),
        (Format::Q4_0, &[0, 1, 15, 16, 17, 31], &[-1.5, 1., -4., -1.5, -0.5, 0.], -10.5, -259.),
        (Format::Q4_1, &[0, 1, 15, 16, 17, 31], &[7.75, 2.25, 5.25, 4.75, 6.25, 6.25], 130.5, 2123.5),
        (Format::Q5_0, &[0, 1, 15, 16, 17, 31], &[4.5, -1., -6., 7., 0., 0.5], 7.5, 56.),
        (Format::Q5_1, &[0, 1, 15, 16, 17, 31], &[9.75, 12.25, 15.25, 9.75, 2.75, 2.75], 260.5, 4082.5),
        (Format::IQ4_NL, &[0, 1, 15, 16, 17, 31], &[-17.5, 12.5, -63.5, -17.5, -5., 0.5], -128.5, -3459.5),
        (Format::MXFP4, &[0, 1, 15, 16, 17, 31], &[0., 3., -1.5, 1.5, 3., 3.], 12.5, 319.),
        (Format::Q2_K, K, &[16.5, 0., -0.75, -0.75, 3.75, 10., 3.75, 4., 2.25], 1029.5, 121565.),
        (Format::Q3_K, K, &[40.5, -54., -48., 32., -11., 0., 1., 12.5, 21.], 479., 88572.5),
        (Format::Q4_K, K, &[157.75, -12.75, 157.75, 80.25, 4., 47.5, 211.5, 69.25, 24.25], 27220., 3786420.),
        (Format::Q5_K, K, &[405.75, -12.75, 405.75, 80.25, 56., 117.5, 523.5, 69.25, 54.25], 58108., 8013724.),
        (Format::Q6_K, K, &[-715.5, 848., -216., -48., 115.5, 1261.5, -175.5, 544.5, -30.], 2306., 392210.),
        (Format::IQ4_XS, K, &[32.5, -0.5, 32.5, 17.5, 227.5, 20., -292.5, 570., -8.], -5502.5, -1045567.),
        (Format::IQ2_XXS, K,
            &[-29.5625, 29.5625, 17.1875, 17.1875, -26.5625, 13.5, -48.4375, -4.5, -40.3125], 381.875, 18396.5),
        (Format::IQ2_XS, K, &[-5.5, 17.1875, -9.5, -9.5, -10.5, -4.5, -9.5, 3.5, -9.5], 745.25, 61599.0625),
        (Format::IQ2_S, K,
            &[-72.5625, 42.1875, -11.5, 35.9375, -2.5, -12.5, -4.6875, 35.9375, 39.0625], -400.3125, -31040.3125),
        (Format::IQ3_XXS, K, &[-6.5, 4.5, 3.5, -1.5, -28.5, -12.5, -27.5, 22.5, -7.5], -342., 1511.5),
        (Format::IQ3_S, K, &[-40.5, 121.5, -94.5, 94.5, -16.5, -8.5, -52.5, 137.5, 112.5], 728., 101395.),
    ];
    const K: &[usize] = &[0, 1, 16, 31, 32, 100, 128, 200, 255];
    for &(format, at, values, sum, weighted) in cases {
        let mut y = vec![0.0; format.block_len()];
        decode_row(format, &pattern_block(format), &mut y);
        assert_eq!(at.iter().map(|&i| y[i]).collect::<Vec<_>>(), values, "{format}");
        let sums = y.iter().enumerate().fold((0.0, 0.0), |(s, w), (i, &y)| {
            let y = f64::from(y);
            (s + y, w + (i + 1) as f64 * y)
        });
        assert_eq!(sums, (sum, weighted), "{format}");
    }
}

#[test]
fn plain_floats_keep_their_bits() {
    let mut y = [0.0; 3];
    decode_row(Format::F32, bytemuck::cast_slice(&[1.5f32, -0.0, 1e-42]), &mut y);
    assert_eq!(y.map(f32::to_bits), [1.5f32, -0.0, 1e-42].map(f32::to_bits));
    decode_row(Format::F16, bytemuck::cast_slice(&[f16::MIN_POSITIVE_SUBNORMAL, f16::MAX, f16::NEG_INFINITY]), &mut y);
    assert_eq!(y, [5.9604645e-8, 65504.0, f32::NEG_INFINITY]);
    decode_row(Format::BF16, &[0x80, 0x3f, 0x01, 0x00, 0x49, 0xc0], &mut y);
    assert_eq!(y, [1.0, f32::from_bits(0x0001_0000), -3.140625]);
}

#[test]
fn the_smallest_mxfp4_scales_are_subnormal() {
    let mut y = [0.0; 32];
    for (e, one) in [(0, 2f32.powi(-127)), (1, 2f32.powi(-126)), (2, 2f32.powi(-125)), (255, 2f32.powi(127) * 2.0)] {
        let mut b = [0x22u8; 17];
        b[0] = e;
        decode_row(Format::MXFP4, &b, &mut y);
        assert_eq!(y, [one; 32], "e = {e}");
    }
}
