use super::*;
use crate::activations::Forms;
use crate::conformance::{Guarded, Rng, assert_close, levels, scalar};
use crate::decode::decode_row;
use crate::dense::DenseScratch;

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
        Format::F32 | Format::F16 | Format::BF16 | Format::MXFP4 | Format::NVFP4 | Format::IQ1_M => &[],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
        Format::TQ1_0 => &[52],
        Format::TQ2_0 => &[64],
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
        Format::NVFP4 => 0.5 * (24.0 + 12.0),
        Format::IQ1_S | Format::IQ1_M => 15.0 / 8.0 * (18.0 + 9.0),
        Format::TQ1_0 | Format::Q1_0 => 2.0 + 1.0,
        Format::TQ2_0 | Format::Q2_0 => 3.0 + 1.0,
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
                    (Format::NVFP4, Pattern::ZeroScale) => bytes[start..start + 4].copy_from_slice(&[0, 0x7f, 0x80, 0]),
                    // 0x38 is 1; below 8 there are subnormals.
                    (Format::NVFP4, _) => bytes[start..start + 4].fill_with(|| (rng.next() % 0x39) as u8),
                    (Format::IQ1_M, _) => {
                        let d = half::f16::from_f32(v).to_bits();
                        for i in 0..4 {
                            let high = &mut bytes[start + 49 + 2 * i];
                            *high = *high & 15 | ((d >> (4 * i) & 15) as u8) << 4;
                        }
                    }
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

fn quantised(way: Way, kernels: &Kernels, x: &[f32], m: usize, k: usize) -> QuantRows {
    let mut q = QuantRows::new(way, BOTH, m, k);
    for r in 0..m {
        kernels.quantize_row(&x[r * k..][..k], q.row_mut(r));
    }
    q
}

/// Two 8-bit terms of every written row, `[2m, k]`.
fn int8x2(kernels: &Kernels, x: &[f32], m: usize, k: usize) -> QuantRows {
    let mut q = QuantRows::int8x2(Way::Written, m, k);
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
    kernels.matmul(w, x, &mut Tile::new(y.values(), w.rows()), &mut DenseScratch::default());
    y.finish(&format!("{} {}", kernels.isa(), w.format()))
}

/// One case against the reference, within c·ε of the sum of magnitudes.
fn check(kernels: &Kernels, format: Format, way: Way, shape: [usize; 3], patterns: [Pattern; 2], rng: &mut Rng) {
    let [m, n, k] = shape;
    let bytes = weights(format, patterns[0], n * k / format.block_len(), rng);
    let w = Matrix::new(format, n, k, &bytes);
    let x = activations(patterns[1], m, k, rng);
    let q = quantised(way, kernels, &x, m, k);
    let inputs = Inputs { x: &x, q: &q };
    let got = product(kernels, w, inputs);
    let magnitude: Vec<f32> = x.chunks(k).map(|x| x.iter().map(|v| v.abs()).sum()).collect();
    let steps = 8.0 + k as f32 / 64.0;
    let what = format!("{} {format} {way:?} m {m} n {n} k {k} {patterns:?}", kernels.isa());
    let tolerance = |i: usize| steps * f32::EPSILON * reach(format) * magnitude[i / n];
    if way == Way::Prompt && kernels.multiplies_int16(format) {
        let (want, terms) = by_int16(w, &x);
        assert_close(&what, &got, &want, |i| steps * f32::EPSILON * terms[i]);
        let (want, terms) = by_f64(w, &x);
        let rounding = rounding_of_int16(w, &x);
        assert_close(&what, &got, &want, |i| rounding[i] + steps * f32::EPSILON * terms[i]);
    } else if kernels.isa() == Isa::Amx && way == Way::Prompt && !format.is_float() {
        // Both factors of each product are rounded to 8 bits, from f32 and not from the quants.
        let (want, terms) = by_f64(w, &x);
        assert_close(&what, &got, &want, |i| (1.0 / 256.0 + 1.0 / 65536.0) * terms[i] + tolerance(i));
    } else {
        assert_close(&what, &got, &product(scalar(), w, inputs), tolerance);
    }
    if way == Way::Written {
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
        64 => &[64, 192, 256, 320, 512 + 64, 1152],
        128 => &[128, 256, 384, 512 + 128, 1152],
        _ => &[256, 512, 768, 1280],
    }
}

#[test]
fn every_level_multiplies_every_format_as_the_reference_does() {
    for kernels in levels() {
        for &format in Format::ALL {
            let mut rng = Rng(format as u64);
            for &k in lengths(format) {
                for [m, n] in [[1, 9], [2, 7], [3, 1], [4, 5], [6, 9], [19, 3]] {
                    check(kernels, format, Way::Written, [m, n, k], [Pattern::Random; 2], &mut rng);
                }
                for [m, n] in [[1, 9], [5, 33], [13, 31]] {
                    check(kernels, format, Way::Prompt, [m, n, k], [Pattern::Random; 2], &mut rng);
                }
            }
            for weights in PATTERNS {
                for activations in PATTERNS {
                    let patterns = [weights, activations];
                    check(kernels, format, Way::Written, [1, 6, 512], patterns, &mut rng);
                    check(kernels, format, Way::Written, [5, 6, 512], patterns, &mut rng);
                    check(kernels, format, Way::Prompt, [8, 33, 512], patterns, &mut rng);
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
                    check(kernels, format, Way::Prompt, [m, n, 256], [Pattern::Random; 2], &mut rng);
                }
            }
        }
    }
}

/// What multiplies rows, and the form it takes them in.
#[derive(Clone, Copy, Debug)]
enum Method {
    Written,
    WrittenInt8x2,
    Prompt,
    PromptBf16,
}

impl Method {
    /// Those of a level.
    fn all(kernels: &Kernels) -> impl Iterator<Item = Method> {
        let bf16 = kernels.has_bf16().then_some(Method::PromptBf16);
        [Method::Written, Method::WrittenInt8x2, Method::Prompt].into_iter().chain(bf16)
    }

    /// The most rows that are tried.
    fn most(self) -> usize {
        match self {
            Method::Written | Method::WrittenInt8x2 => 20,
            Method::Prompt | Method::PromptBf16 => 40,
        }
    }

    /// The product of `w` with `x [m, k]`, rows of the weights cut at these places.
    fn multiply(self, kernels: &Kernels, w: Matrix<'_>, x: &[f32], cuts: &[usize]) -> Vec<f32> {
        let (k, n) = (w.cols(), w.rows());
        let m = x.len() / k;
        let q = match self {
            Method::Written => quantised(Way::Written, kernels, x, m, k),
            Method::WrittenInt8x2 => int8x2(kernels, x, m, k),
            Method::Prompt | Method::PromptBf16 => quantised(Way::Prompt, kernels, x, m, k),
        };
        let (inputs, scratch) = (Inputs { x, q: &q }, &mut DenseScratch::default());
        let mut y = Guarded::new(m * n);
        let mut tile = Tile::new(y.values(), n);
        for cut in cuts.windows(2) {
            let rows = cut[0]..cut[1];
            let (w, mut y) = (w.slice_rows(rows.clone()), tile.columns(rows.clone()));
            match self {
                Method::Written | Method::Prompt => kernels.matmul(w, inputs, &mut y, scratch),
                Method::WrittenInt8x2 => kernels.matmul_int8x2(w, inputs, &mut y),
                Method::PromptBf16 => kernels.matmul_bf16(w, inputs, &mut y, scratch),
            }
        }
        y.finish(&format!("{} {} {self:?}", kernels.isa(), w.format()))
    }
}

/// Row lengths of whole steps of the kernels, and of ragged ones.
fn whole_and_ragged(format: Format) -> [usize; 2] {
    match format.block_len() {
        1 => [768, 2_049],
        32 => [768, 1_056],
        64 => [768, 1_088],
        128 => [768, 1_152],
        _ => [768, 1_280],
    }
}

#[test]
fn a_value_does_not_depend_on_how_many_rows_share_its_product() {
    for kernels in levels() {
        for &format in Format::ALL {
            let mut rng = Rng(3);
            for (n, k) in [7, 5].into_iter().zip(whole_and_ragged(format)) {
                let bytes = weights(format, Pattern::Random, n * k / format.block_len(), &mut rng);
                let w = Matrix::new(format, n, k, &bytes);
                for method in Method::all(kernels) {
                    let most = method.most();
                    let x = activations(Pattern::Random, most, k, &mut rng);
                    let alone = x.chunks(k).flat_map(|x| method.multiply(kernels, w, x, &[0, n]));
                    let alone: Vec<f32> = alone.collect();
                    for m in 1..=most {
                        // The last rows as often as the first: each meets other neighbours, in other places of a tile.
                        let first = if m % 2 == 0 { most - m } else { 0 };
                        let all = method.multiply(kernels, w, &x[first * k..][..m * k], &[0, n]);
                        let what = format!("{} {format} {method:?}, {m} rows of {k}", kernels.isa());
                        assert_eq!(all, alone[first * n..][..m * n], "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_product_is_multiplied_with_the_scale_of_the_matrix_once() {
    let (n, k) = (37, 768);
    for kernels in levels().into_iter().chain([scalar()]) {
        for format in [Format::NVFP4, Format::Q8_0, Format::BF16, Format::F32] {
            let mut rng = Rng(17);
            let bytes = weights(format, Pattern::Random, n * k / format.block_len(), &mut rng);
            let w = Matrix::new(format, n, k, &bytes);
            for method in Method::all(kernels) {
                for m in [1, 2, 4, 9] {
                    let x = activations(Pattern::Random, m, k, &mut rng);
                    let plain = method.multiply(kernels, w, &x, &[0, n]);
                    let scaled = method.multiply(kernels, w.scaled(-0.3), &x, &[0, 5, n]);
                    let want: Vec<f32> = plain.iter().map(|y| y * -0.3).collect();
                    assert_eq!(scaled, want, "{} {format} {method:?} m {m}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn a_value_does_not_depend_on_how_weights_are_shared_out() {
    let (n, k) = (37, 768);
    for kernels in levels() {
        for &format in Format::ALL {
            let mut rng = Rng(3);
            let bytes = weights(format, Pattern::Random, n * k / format.block_len(), &mut rng);
            let w = Matrix::new(format, n, k, &bytes);
            for method in Method::all(kernels) {
                for m in [1, 2, 4, 9] {
                    let x = activations(Pattern::Random, m, k, &mut rng);
                    let whole = method.multiply(kernels, w, &x, &[0, n]);
                    let sliced = method.multiply(kernels, w, &x, &[0, 1, 4, 23, 37]);
                    assert_eq!(whole, sliced, "{} {format} {method:?} m {m}", kernels.isa());
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
            let one = quantised(Way::Written, kernels, &x, 1, len);
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
            for (m, way) in [(2, Way::Written), (7, Way::Written), (2, Way::Prompt), (7, Way::Prompt)] {
                let bytes = weights(format, Pattern::Random, 5 * 512 / format.block_len(), &mut rng);
                let mut x = activations(Pattern::Random, m, 512, &mut rng);
                x[512 + 77] = f32::NAN;
                let q = quantised(way, kernels, &x, m, 512);
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
    let mut q = QuantRows::new(Way::Prompt, Forms::QUANTS, 2, 32);
    let mut x = [0.0; 32];
    (x[0], x[1], x[2]) = (127.0, 10.0, 1.0);
    scalar().quantize_row(&x, q.row_mut(0));
    scalar().quantize_row(&[-3.0; 32], q.row_mut(1));
    let mut y = [0.0; 4];
    scalar().matmul(w, Inputs { x: &[], q: &q }, &mut Tile::new(&mut y, 2), &mut DenseScratch::default());
    assert_eq!(y, [300.0, -69.0, -36.0, 48.0]);
}

#[test]
fn float_weights_take_the_f32_activations() {
    let w = [1.0f32, 2.0, 3.0, -1.0, 0.0, 0.5];
    let w = Matrix::new(Format::F32, 2, 3, bytemuck::cast_slice(&w));
    let q = QuantRows::new(Way::Written, Forms::of([Format::F32]), 1, 3);
    let mut y = [0.0; 2];
    let inputs = Inputs { x: &[1.0, 10.0, 100.0], q: &q };
    scalar().matmul(w, inputs, &mut Tile::new(&mut y, 2), &mut DenseScratch::default());
    assert_eq!(y, [321.0, 49.0]);
}
