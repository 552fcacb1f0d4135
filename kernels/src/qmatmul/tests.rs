use super::*;
use crate::activations::Forms;
use crate::conformance::{Guarded, Rng, assert_close, levels, scalar};
use crate::decode::decode_row;

/// What the weights or activations of a case look like.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Pattern {
    Random,
    AllMax,
    AllMin,
    ZeroScale,
    NegativeScale,
}

const PATTERNS: [Pattern; 5] =
    [Pattern::Random, Pattern::AllMax, Pattern::AllMin, Pattern::ZeroScale, Pattern::NegativeScale];

/// Where the f16 scale fields of a block are.
fn scale_fields(format: Format) -> &'static [usize] {
    match format {
        Format::F32 | Format::F16 | Format::BF16 | Format::MXFP4 => &[],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
        _ => &[0],
    }
}

/// Largest |scale·code| + |offset| of a value when the f16 fields are 1: the size of what the kernels add up.
fn reach(format: Format) -> f32 {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => 1.0,
        Format::Q4_0 => 15.0 + 8.0,
        Format::Q4_1 => 15.0 + 1.0,
        Format::Q5_0 => 31.0 + 16.0,
        Format::Q5_1 => 31.0 + 1.0,
        Format::Q8_0 | Format::IQ4_NL => 255.0 + 128.0,
        Format::Q2_K => 15.0 * 4.0,
        Format::Q3_K => 32.0 * (7.0 + 4.0),
        Format::Q4_K => 63.0 * 16.0,
        Format::Q5_K => 63.0 * 32.0,
        Format::Q6_K => 128.0 * (63.0 + 32.0),
        Format::IQ4_XS => 32.0 * (255.0 + 128.0),
        Format::MXFP4 => 24.0 + 12.0,
        Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => 31.0 / 8.0 * (128.0 + 64.0),
        Format::IQ3_XXS => 31.0 / 4.0 * (128.0 + 64.0),
        Format::IQ3_S => 31.0 * (128.0 + 64.0),
    }
}

/// `blocks` blocks of a format; scales are at most 1.
fn weights(format: Format, pattern: Pattern, blocks: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks * format.block_bytes());
    for _ in 0..blocks {
        let v = match pattern {
            Pattern::AllMax => 1.0,
            Pattern::ZeroScale => 0.0,
            Pattern::NegativeScale => -0.25 - 0.5 * rng.signed().abs(),
            Pattern::Random | Pattern::AllMin => 0.25 + 0.5 * rng.signed().abs(),
        };
        match format {
            Format::F32 => bytes.extend((v * rng.signed()).to_le_bytes()),
            Format::F16 => bytes.extend(half::f16::from_f32(v * rng.signed()).to_le_bytes()),
            Format::BF16 => bytes.extend(half::bf16::from_f32(v * rng.signed()).to_le_bytes()),
            _ => {
                let start = bytes.len();
                bytes.extend((0..format.block_bytes()).map(|_| match pattern {
                    Pattern::AllMax => 0xff,
                    Pattern::AllMin => 0x00,
                    _ => rng.next() as u8,
                }));
                for &at in scale_fields(format) {
                    bytes[start + at..start + at + 2].copy_from_slice(&half::f16::from_f32(v).to_le_bytes());
                }
                match (format, pattern) {
                    // Signed quants: 0xff and 0 are not their extremes.
                    (Format::Q8_0, Pattern::AllMax) => bytes[start + 2..].fill(127),
                    (Format::Q8_0, Pattern::AllMin) => bytes[start + 2..].fill(0x80),
                    (Format::MXFP4, Pattern::ZeroScale) => bytes[start] = 0,
                    (Format::MXFP4, _) => bytes[start] = 120 + (rng.next() % 8) as u8,
                    _ => {}
                }
            }
        }
    }
    bytes
}

/// Activation rows `[m, k]`.
fn activations(pattern: Pattern, m: usize, k: usize, rng: &mut Rng) -> Vec<f32> {
    (0..m * k)
        .map(|i| match pattern {
            Pattern::Random => rng.signed(),
            Pattern::AllMax => 1.0,
            Pattern::AllMin => -1.0,
            Pattern::ZeroScale => 0.0,
            Pattern::NegativeScale => {
                if i % 2 == 0 {
                    1.0
                } else {
                    -1.0
                }
            }
        })
        .collect()
}

const BOTH: Forms = Forms { quants: true, int16: true };

fn quantised(kernels: &Kernels, x: &[f32], m: usize, k: usize) -> QuantRows {
    let mut q = QuantRows::new(BOTH, m, k);
    for r in 0..m {
        kernels.quantize_row(&x[r * k..][..k], q.row_mut(r));
    }
    q
}

/// Two 8-bit terms of every row, `[2m, k]`.
fn int8x2(kernels: &Kernels, x: &[f32], m: usize, k: usize) -> QuantRows {
    let mut q = QuantRows::int8x2(m, k);
    let layout = q.layout();
    for (x, records) in x.chunks(k).zip(q.records_mut().chunks_mut(2 * layout.record_len())).take(m) {
        let (first, second) = records.split_at_mut(layout.record_len());
        kernels.quantize_row_int8x2(x, layout.row_mut(first), layout.row_mut(second));
    }
    q
}

fn product_of_int8x2(kernels: &Kernels, w: Matrix<'_>, x: Inputs<'_>, m: usize) -> Vec<f32> {
    let mut y = Guarded::new(m * w.rows());
    kernels.matmul_int8x2(w, x, &mut Tile::new(y.values(), w.rows()));
    y.finish(&format!("{} {} int8x2", kernels.isa(), w.format()))
}

fn product(kernels: &Kernels, w: Matrix<'_>, x: Inputs<'_>) -> Vec<f32> {
    let mut y = Guarded::new(x.q.rows() * w.rows());
    kernels.matmul(w, x, &mut Tile::new(y.values(), w.rows()));
    y.finish(&format!("{} {}", kernels.isa(), w.format()))
}

/// One case against the reference, within c·ε of the sum of magnitudes.
fn check(kernels: &Kernels, format: Format, [m, n, k]: [usize; 3], patterns: [Pattern; 2], rng: &mut Rng) {
    let bytes = weights(format, patterns[0], n * k / format.block_len(), rng);
    let w = Matrix::new(format, n, k, &bytes);
    let x = activations(patterns[1], m, k, rng);
    let q = quantised(kernels, &x, m, k);
    let inputs = Inputs { x: &x, q: &q };
    let got = product(kernels, w, inputs);
    let magnitude: Vec<f32> = x.chunks(k).map(|x| x.iter().map(|v| v.abs()).sum()).collect();
    let steps = 8.0 + k as f32 / 64.0;
    let what = format!("{} {format} m {m} n {n} k {k} {patterns:?}", kernels.isa());
    let tolerance = |i: usize| steps * f32::EPSILON * reach(format) * magnitude[i / n];
    if m > GEMV_COLUMNS && kernels.multiplies_int16(format) {
        let (want, terms) = by_int16(w, &x);
        assert_close(&what, &got, &want, |i| steps * f32::EPSILON * terms[i]);
        let (want, terms) = by_f64(w, &x);
        let rounding = rounding_of_int16(w, &x);
        assert_close(&what, &got, &want, |i| rounding[i] + steps * f32::EPSILON * terms[i]);
    } else if kernels.isa() == Isa::Amx && m > GEMV_COLUMNS && !format.is_float() {
        // Both factors of each product are rounded to 8 bits, from f32 and not from the quants.
        let (want, terms) = by_f64(w, &x);
        assert_close(&what, &got, &want, |i| (1.0 / 256.0 + 1.0 / 65536.0) * terms[i] + tolerance(i));
    } else {
        assert_close(&what, &got, &product(scalar(), w, inputs), tolerance);
    }
    if m <= GEMV_COLUMNS {
        let q = int8x2(kernels, &x, m, k);
        let inputs = Inputs { x: &x, q: &q };
        let got = product_of_int8x2(kernels, w, inputs, m);
        let want = product_of_int8x2(scalar(), w, inputs, m);
        assert_close(&format!("{what}, int8x2"), &got, &want, tolerance);
    }
}

/// The rows of `w`, decoded.
fn decoded(w: Matrix<'_>) -> Vec<f32> {
    let mut values = vec![0.0; w.rows() * w.cols()];
    for (r, values) in values.chunks_mut(w.cols()).enumerate() {
        decode_row(w.format(), w.row(r), values);
    }
    values
}

/// A row as 13-bit integers, each with the scale of its 128.
fn int16(row: &[f32]) -> Vec<(f32, f32)> {
    let group = |values: &[f32]| {
        let largest = values.iter().fold(0.0, |a: f32, v| a.max(v.abs()));
        let inverse = if largest > 1e-30 { 4095.0 / largest } else { 0.0 };
        values.iter().map(|v| ((v * inverse).round_ties_even(), largest * (1.0 / 4095.0))).collect::<Vec<_>>()
    };
    row.chunks(128).flat_map(group).collect()
}

/// The product of the 13-bit integers of `w` and of `x [m, k]`, and the sum of the magnitudes of its terms.
fn by_int16(w: Matrix<'_>, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let k = w.cols();
    let weights: Vec<_> = decoded(w).chunks(k).map(int16).collect();
    let term = |((q, d), (p, e)): (&(f32, f32), &(f32, f32))| [q, p, d, e].iter().map(|&&v| f64::from(v)).product();
    let cells = x.chunks(k).map(int16).flat_map(|x| {
        let terms = |w: &Vec<_>| x.iter().zip(w).map(term).collect::<Vec<f64>>();
        weights.iter().map(terms).collect::<Vec<_>>()
    });
    cells.map(|t| (t.iter().sum::<f64>() as f32, t.iter().map(|t| t.abs()).sum::<f64>() as f32)).unzip()
}

/// What the product of 13-bit integers may be off by: half a unit of the largest of a group, and a thousandth of that
/// for the product by the scale's inverse, in each factor of each term.
fn rounding_of_int16(w: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let (k, weights) = (w.cols(), decoded(w));
    let unit = |group: &[f32]| 0.5005 * group.iter().fold(0.0, |a: f32, v| a.max(v.abs())) / 4095.0;
    let sum = |group: &[f32]| group.iter().map(|v| v.abs()).sum::<f32>();
    let group = |(x, w): (&[f32], &[f32])| unit(x) * sum(w) + unit(w) * sum(x) + x.len() as f32 * unit(x) * unit(w);
    let cell = |x: &[f32], w: &[f32]| x.chunks(128).zip(w.chunks(128)).map(group).sum();
    x.chunks(k).flat_map(|x| weights.chunks(k).map(|w| cell(x, w)).collect::<Vec<_>>()).collect()
}

/// The product with f32 activations `[m, k]`, and the sum of the magnitudes of its terms.
fn by_f64(w: Matrix<'_>, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (k, values) = (w.cols(), decoded(w));
    let terms =
        |x: &[f32], w: &[f32]| -> Vec<f64> { x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).collect() };
    let cells = x.chunks(k).flat_map(|x| values.chunks(k).map(|w| terms(x, w)).collect::<Vec<_>>());
    cells.map(|t| (t.iter().sum::<f64>() as f32, t.iter().map(|t| t.abs()).sum::<f64>() as f32)).unzip()
}

/// Row lengths around the edges of the kernels' steps.
fn lengths(format: Format) -> &'static [usize] {
    match format.block_len() {
        1 => &[1, 15, 16, 17, 32, 100, 255, 256, 257, 1024 + 48],
        32 => &[32, 64, 224, 256, 288, 512 + 96, 1152],
        _ => &[256, 512, 768, 1280],
    }
}

#[test]
fn every_level_multiplies_every_format_as_the_reference_does() {
    for kernels in levels() {
        for &format in Format::ALL {
            let mut rng = Rng(format as u64);
            for &k in lengths(format) {
                for [m, n] in [[1, 9], [2, 7], [3, 1], [4, 5], [5, 33], [13, 31]] {
                    check(kernels, format, [m, n, k], [Pattern::Random; 2], &mut rng);
                }
            }
            for weights in PATTERNS {
                for activations in PATTERNS {
                    check(kernels, format, [1, 6, 512], [weights, activations], &mut rng);
                    check(kernels, format, [8, 33, 512], [weights, activations], &mut rng);
                }
            }
        }
    }
}

#[test]
fn batches_around_every_tile_edge_agree_with_the_reference() {
    for kernels in levels() {
        for format in [Format::Q4_K, Format::Q8_0, Format::Q6_K, Format::F16] {
            let mut rng = Rng(7);
            for m in 0..=26 {
                for n in [1, 15, 16, 17, 32, 33, 65] {
                    check(kernels, format, [m, n, 256], [Pattern::Random; 2], &mut rng);
                }
            }
        }
    }
}

/// A way to multiply: quantised or in two terms.
type Way = (fn(&Kernels, &[f32], usize, usize) -> QuantRows, fn(&Kernels, Matrix<'_>, Inputs<'_>, &mut Tile<'_>));

#[test]
fn a_value_does_not_depend_on_how_rows_are_shared_out_nor_on_its_neighbours() {
    // Up to four rows are one sequence of operations, more are another; there are no more than four in two terms.
    let ways: [(Way, &[std::ops::RangeInclusive<usize>]); 2] =
        [((quantised, Kernels::matmul), &[1..=4, 5..=9]), ((int8x2, Kernels::matmul_int8x2), &[1..=4])];
    let (n, k) = (37, 768);
    for kernels in levels() {
        for &format in Format::ALL {
            let mut rng = Rng(3);
            let bytes = weights(format, Pattern::Random, n * k / format.block_len(), &mut rng);
            let w = Matrix::new(format, n, k, &bytes);
            let x = activations(Pattern::Random, 9, k, &mut rng);
            for ((quantise, multiply), batches) in ways {
                let of_rows = |m: usize| {
                    let q = quantise(kernels, &x, m, k);
                    let inputs = Inputs { x: &x[..m * k], q: &q };
                    let (mut whole, mut sliced) = (vec![0.0; m * n], vec![0.0; m * n]);
                    multiply(kernels, w, inputs, &mut Tile::new(&mut whole, n));
                    let mut tile = Tile::new(&mut sliced, n);
                    for rows in [0..1, 1..4, 4..23, 23..37] {
                        multiply(kernels, w.slice_rows(rows.clone()), inputs, &mut tile.columns(rows));
                    }
                    assert_eq!(whole, sliced, "{} {format} m {m}", kernels.isa());
                    whole
                };
                for batch in batches {
                    let all = of_rows(*batch.end());
                    for m in batch.clone() {
                        assert_eq!(of_rows(m), all[..m * n], "{} {format} m {m}", kernels.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn every_level_quantises_to_the_same_bits() {
    for kernels in levels() {
        let mut rng = Rng(1);
        for len in [1, 31, 32, 33, 256, 300] {
            let mut x = rng.values(len, 100.0);
            if len == 300 {
                (x[40], x[100], x[150]) = (f32::NAN, f32::INFINITY, 1e-38);
            }
            let (a, b) = (int8x2(kernels, &x, 1, len), int8x2(scalar(), &x, 1, len));
            let bits = |v: &[f32]| v.iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect::<Vec<_>>();
            let one = quantised(kernels, &x, 1, len);
            for (a, b) in [(a.row(0), b.row(0)), (a.row(1), b.row(1)), (one.row(0), b.row(0))] {
                assert_eq!(a.q, b.q, "{}", kernels.isa());
                assert_eq!(bits(a.d), bits(b.d), "{}", kernels.isa());
                assert_eq!(bits(a.ds), bits(b.ds), "{}", kernels.isa());
            }
        }
    }
}

#[test]
fn a_nan_reaches_the_rows_it_belongs_to_and_no_others() {
    for kernels in levels().into_iter().chain([scalar()]) {
        for &format in Format::ALL {
            let mut rng = Rng(5);
            for m in [2, 7] {
                let bytes = weights(format, Pattern::Random, 5 * 512 / format.block_len(), &mut rng);
                let mut x = activations(Pattern::Random, m, 512, &mut rng);
                x[512 + 77] = f32::NAN;
                let q = quantised(kernels, &x, m, 512);
                let y = product(kernels, Matrix::new(format, 5, 512, &bytes), Inputs { x: &x, q: &q });
                for (i, y) in y.iter().enumerate() {
                    assert_eq!(y.is_nan(), i / 5 == 1, "{} {format} m {m}: {y} at {i}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn the_reference_multiplies_by_hand() {
    // Two rows of Q8_0, one block each: d = 2 and d = 0.5, quants 1, 2, 3 .. and all -1.
    let mut bytes = Vec::new();
    for (d, q) in [(2.0f32, [1i8, 2, 3].into_iter().chain([0; 29]).collect::<Vec<_>>()), (0.5, vec![-1; 32])] {
        bytes.extend(half::f16::from_f32(d).to_le_bytes());
        bytes.extend(q.iter().map(|&q| q as u8));
    }
    let w = Matrix::new(Format::Q8_0, 2, 32, &bytes);
    let mut q = QuantRows::new(Forms::QUANTS, 2, 32);
    let mut x = [0.0; 32];
    (x[0], x[1], x[2]) = (127.0, 10.0, 1.0);
    scalar().quantize_row(&x, q.row_mut(0));
    scalar().quantize_row(&[-3.0; 32], q.row_mut(1));
    let mut y = [0.0; 4];
    scalar().matmul(w, Inputs { x: &[], q: &q }, &mut Tile::new(&mut y, 2));
    assert_eq!(y, [300.0, -69.0, -36.0, 48.0]);
}

#[test]
fn float_weights_take_the_f32_activations() {
    let w = [1.0f32, 2.0, 3.0, -1.0, 0.0, 0.5];
    let w = Matrix::new(Format::F32, 2, 3, bytemuck::cast_slice(&w));
    let q = QuantRows::new(Forms::of([Format::F32]), 1, 3);
    let mut y = [0.0; 2];
    scalar().matmul(w, Inputs { x: &[1.0, 10.0, 100.0], q: &q }, &mut Tile::new(&mut y, 2));
    assert_eq!(y, [321.0, 49.0]);
}
