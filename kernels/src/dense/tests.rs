//! Conformance of products and full attention: every level and precision against sums in f64.

use super::*;
use crate::conformance::{Rng, levels, scalar};
use crate::decode::decode_row;

/// The level amx with emulated tiles, where the CPU has what it needs beside them.
fn emulated_tiles() -> Option<&'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::{attention, deltanet, qmatmul, vecmath};
        static KERNELS: std::sync::LazyLock<Option<Kernels>> = std::sync::LazyLock::new(|| {
            let packed = Some((Precision::SplitBf16, x86_amx::emulated()?));
            let isa = Isa::Avx512Vnni;
            Some(Kernels {
                isa,
                qmatmul: qmatmul::Table::of(isa),
                vecmath: vecmath::Table::of(isa),
                deltanet: deltanet::Table::of(isa),
                attention: attention::Table::of(isa),
                dense: Table { packed, ..Table::of(isa) },
            })
        });
        KERNELS.as_ref()
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Each level with each of its precisions.
fn variants() -> Vec<(&'static Kernels, Precision)> {
    std::iter::once(scalar())
        .chain(levels())
        .chain(emulated_tiles())
        .flat_map(|kernels| kernels.dense_precisions().map(move |precision| (kernels, precision)))
        .collect()
}

/// Largest error of a product of two values each rounded by the precision, relative to the sum of their magnitudes.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2e-6,
        // Half a unit of the largest value, which may be larger than others: those of these tests are uniform.
        Precision::Int16 => 2.0 / 4095.0,
        // 2⁻¹⁷ of each factor by the rounding of its low half, and 2⁻¹⁶ for the product of the low halves.
        Precision::SplitBf16 => 4.0 / 65536.0,
    }
}

fn rows(kernels: &Kernels, precision: Precision, x: &[f32], cols: usize) -> DenseRows {
    let mut rows = DenseRows::new(precision);
    rows.reshape(x.len() / cols, cols);
    let words = rows.row_words();
    for (out, row) in rows.words_mut().chunks_exact_mut(words).zip(x.chunks_exact(cols)) {
        kernels.dense_row(precision, row, out);
    }
    rows
}

fn encode(format: Format, values: &[f32]) -> Vec<u8> {
    match format {
        Format::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Format::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        Format::BF16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        // Any bytes are quants; a scale of one.
        Format::Q8_0 => values
            .chunks(32)
            .flat_map(|block| [0u8, 0x3C].into_iter().chain(block.iter().map(|v| (v * 10.0) as i8 as u8)))
            .collect(),
        _ => unreachable!(),
    }
}

#[test]
fn products_agree_with_f64_at_every_level_format_and_ragged_size() {
    for (kernels, precision) in variants() {
        for (m, n, k) in [(1, 1, 1), (5, 17, 33), (6, 64, 64), (7, 65, 31), (13, 130, 96), (12, 48, 269)] {
            for format in [Format::F32, Format::F16, Format::BF16, Format::Q8_0] {
                if k % format.block_len() != 0 {
                    continue;
                }
                let what = format!("{} {precision:?} {format} [{m}, {n}, {k}]", kernels.isa());
                let bytes = encode(format, &Rng(1).values(n * k, 1.0));
                let w = Matrix::new(format, n, k, &bytes);
                let (x, bias) = (Rng(2).values((m + 2) * k, 1.0), Rng(3).values(n, 1.0));
                let input = rows(kernels, precision, &x, k);
                // A guard column on either side of the output.
                let mut y = vec![0.5; m * (n + 2)];
                let mut whole = Tile::new(&mut y, n + 2);
                let mut scratch = DenseScratch::default();
                kernels.dense_matmul(w, &bias, (&input, 2), Store::Set, &mut whole.columns(1..n + 1), &mut scratch);
                kernels.dense_matmul(w, &[], (&input, 1), Store::Add, &mut whole.columns(1..n + 1), &mut scratch);
                let mut row = vec![0.0; k];
                for j in 0..n {
                    decode_row(format, w.row(j), &mut row);
                    for i in 0..m {
                        let (mut sum, mut size) = (f64::from(bias[j]), 1.0);
                        for first in [2, 1] {
                            for (a, b) in row.iter().zip(&x[(first + i) * k..]) {
                                sum += f64::from(*a) * f64::from(*b);
                                size += (f64::from(*a) * f64::from(*b)).abs();
                            }
                        }
                        let got = f64::from(y[i * (n + 2) + 1 + j]);
                        assert!((got - sum).abs() <= tolerance(precision) * size, "{what} at {i}, {j}: {got}, {sum}");
                    }
                }
                assert!((0..m).all(|i| y[i * (n + 2)] == 0.5 && y[i * (n + 2) + n + 1] == 0.5), "{what}: guards");
            }
        }
    }
}

#[test]
fn attention_agrees_with_f64_at_every_level_and_head_size() {
    for (kernels, precision) in variants() {
        for (n, keys, d) in [(1, 1, 1), (3, 7, 16), (61, 300, 24), (10, 64, 72), (60, 513, 64), (7, 257, 80)] {
            let what = format!("{} {precision:?} {n} queries, {keys} keys, {d} values", kernels.isa());
            let (q, k, v) = (Rng(4).values(n * d, 3.0), Rng(5).values(keys * d, 3.0), Rng(6).values(keys * d, 1.0));
            let mut head = DenseHead::new(precision);
            // In two parts, where there are keys for two.
            let (k_rows, v_rows) = (Rows::new(&k, keys, d, d), Rows::new(&v, keys, d, d));
            let cut = if keys > 128 { 128 } else { keys };
            kernels.dense_pack(k_rows.slice(0..cut), v_rows.slice(0..cut), (0, keys), &mut head);
            if cut < keys {
                kernels.dense_pack(k_rows.slice(cut..keys), v_rows.slice(cut..keys), (cut, keys), &mut head);
            }
            let mut out = vec![0.5; n * (d + 1)];
            let scale = 1.0 / (d as f32).sqrt();
            let mut whole = Tile::new(&mut out, d + 1);
            let mut scratch = DenseScratch::default();
            kernels.dense_attend(Rows::new(&q, n, d, d), &head, scale, &mut whole.columns(0..d), &mut scratch);
            for i in 0..n {
                let scores: Vec<f64> = (0..keys)
                    .map(|j| (0..d).map(|c| f64::from(q[i * d + c]) * f64::from(k[j * d + c])).sum::<f64>())
                    .map(|dot| dot * f64::from(scale))
                    .collect();
                let maximum = scores.iter().copied().fold(f64::MIN, f64::max);
                let p: Vec<f64> = scores.iter().map(|s| (s - maximum).exp()).collect();
                let sum: f64 = p.iter().sum();
                for c in 0..d {
                    let want = p.iter().zip(0..).map(|(p, j)| p * f64::from(v[j * d + c])).sum::<f64>() / sum;
                    let got = f64::from(out[i * (d + 1) + c]);
                    let tolerance = match precision {
                        Precision::F32 => 1e-5,
                        Precision::Int16 => 0.01,
                        Precision::SplitBf16 => 1e-3,
                    };
                    assert!((got - want).abs() <= tolerance, "{what} at {i}, {c}: {got}, {want}");
                }
                assert_eq!(out[i * (d + 1) + d], 0.5, "{what}: guard");
            }
        }
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    for (kernels, precision) in variants() {
        let (d, keys) = (16, 600);
        let q = vec![30.0; d];
        let mut k = vec![-30.0; keys * d];
        k[500 * d..501 * d].fill(30.0);
        let v: Vec<f32> = (0..keys * d).map(|i| (i / d) as f32).collect();
        let mut head = DenseHead::new(precision);
        kernels.dense_pack(Rows::new(&k, keys, d, d), Rows::new(&v, keys, d, d), (0, keys), &mut head);
        let mut out = vec![0.0; d];
        let mut scratch = DenseScratch::default();
        kernels.dense_attend(Rows::new(&q, 1, d, d), &head, 1.0, &mut Tile::new(&mut out, d), &mut scratch);
        let near = out.iter().all(|v| (v - 500.0).abs() <= 500.0 / 4095.0);
        assert!(near, "{} {precision:?}: {out:?}", kernels.isa());
    }
}

#[test]
fn nan_reaches_its_own_row_and_no_other() {
    for (kernels, precision) in variants() {
        let (d, keys) = (16, 70);
        let (mut q, k, v) = (Rng(7).values(3 * d, 1.0), Rng(8).values(keys * d, 1.0), Rng(9).values(keys * d, 1.0));
        q[d] = f32::NAN;
        let mut head = DenseHead::new(precision);
        kernels.dense_pack(Rows::new(&k, keys, d, d), Rows::new(&v, keys, d, d), (0, keys), &mut head);
        let mut out = vec![0.0; 3 * d];
        let mut scratch = DenseScratch::default();
        kernels.dense_attend(Rows::new(&q, 3, d, d), &head, 1.0, &mut Tile::new(&mut out, d), &mut scratch);
        assert!(out[d..2 * d].iter().all(|v| v.is_nan()), "{} {precision:?}", kernels.isa());
        assert!(out[..d].iter().chain(&out[2 * d..]).all(|v| v.is_finite()), "{} {precision:?}", kernels.isa());
    }
}

#[test]
fn sums_of_the_largest_values_do_not_overflow() {
    for (kernels, precision) in variants() {
        let (n, k) = (17, 1000);
        let bytes = encode(Format::F32, &vec![1.0; n * k]);
        let x = [vec![3.0; k], vec![-3.0; k]].concat();
        let input = rows(kernels, precision, &x, k);
        let mut y = vec![0.0; 2 * n];
        let w = Matrix::new(Format::F32, n, k, &bytes);
        kernels.dense_matmul(w, &[], (&input, 0), Store::Set, &mut Tile::new(&mut y, n), &mut DenseScratch::default());
        for (row, want) in y.chunks_exact(n).zip([3000.0f32, -3000.0]) {
            assert!(row.iter().all(|v| (v - want).abs() < 0.01), "{} {precision:?}: {row:?}", kernels.isa());
        }
    }
}

#[test]
fn rows_of_zeros_and_of_extremes_stay_what_they_are_and_alone() {
    for (kernels, precision) in variants() {
        let (n, k) = (20, 150);
        let weights = Rng(10).values(n * k, 1.0);
        let bytes = encode(Format::F32, &weights);
        let mut x = [vec![0.0; k], vec![1e-37; k], vec![1e30; k], Rng(11).values(3 * k, 1.0)].concat();
        (x[3 * k + 140], x[4 * k + 3]) = (f32::INFINITY, f32::NAN);
        let input = rows(kernels, precision, &x, k);
        let mut y = vec![0.0; 6 * n];
        let w = Matrix::new(Format::F32, n, k, &bytes);
        kernels.dense_matmul(w, &[], (&input, 0), Store::Set, &mut Tile::new(&mut y, n), &mut DenseScratch::default());
        let what = format!("{} {precision:?}", kernels.isa());
        assert!(y[..n].iter().all(|&v| v == 0.0), "{what}: zeros");
        assert!(y[n..2 * n].iter().all(|v| v.abs() < 1e-34), "{what}: tiny");
        for (got, row) in y[2 * n..3 * n].iter().zip(weights.chunks_exact(k)) {
            let want: f64 = row.iter().map(|&v| f64::from(v) * 1e30).sum();
            assert!((f64::from(*got) - want).abs() < 0.02 * 1e30 * k as f64, "{what}: huge");
        }
        assert!(y[3 * n..5 * n].iter().all(|v| !v.is_finite()), "{what}: infinity and NaN");
        assert!(y[5 * n..].iter().all(|v| v.is_finite()), "{what}: another row");
    }
}

#[test]
fn weights_in_16_bit_floats_give_the_bits_that_their_f32_values_give() {
    for (kernels, precision) in variants() {
        for (n, k) in [(1, 1), (17, 127), (66, 300), (16, 1024), (9, 1600)] {
            for format in [Format::F16, Format::BF16] {
                let mut values = Rng(12).values(n * k, 1.0);
                // A group of zeros, subnormal ones of either format, and the largest.
                values[..k.min(128)].fill(0.0);
                for (i, odd) in [6e-8, -3e-6, 1e-39, 65504.0, 3e38].into_iter().enumerate() {
                    values[(i + 1) * 131 % (n * k)] = odd;
                }
                let halves = encode(format, &values);
                let mut decoded = vec![0.0; n * k];
                decode_row(format, &halves, &mut decoded);
                let wide = encode(Format::F32, &decoded);
                let input = rows(kernels, precision, &Rng(13).values(7 * k, 1.0), k);
                let product = |format, bytes: &[u8]| {
                    let mut y = vec![0.0f32; 7 * n];
                    let mut tile = Tile::new(&mut y, n);
                    let w = Matrix::new(format, n, k, bytes);
                    kernels.dense_matmul(w, &[], (&input, 0), Store::Set, &mut tile, &mut DenseScratch::default());
                    y.iter().map(|v| if v.is_finite() { Some(v.to_bits()) } else { None }).collect::<Vec<_>>()
                };
                let what = format!("{} {precision:?} {format} [{n}, {k}]", kernels.isa());
                assert_eq!(product(format, &halves), product(Format::F32, &wide), "{what}");
            }
        }
    }
}
