//! Panels of bf16: for the tiles of AMX, and for products of more than 8-bit activations where `vdpbf16ps` is fast.
//!
//! Weights are unpacked to `bf16(scale·code + offset)`, activations are the f32 values rounded to bf16 (kept in the
//! rows of [`crate::QuantRows`] where the CPU has a use for them). A product rounds each factor to 8 bits of its own
//! magnitude instead of 8 bits of its block's largest, and there are no scales in the loop. The panel is that of
//! [`super::gemm`] with two bf16 values to a group of four bytes.

use super::blocks::Blocks;
use super::entry::{self, Level, Product};
use super::formats::{self, Float, Quant, Scales, Visitor};
use super::gemm::{self, GROUPS, Panel, PanelFunctions, Stretch, UnpackedRow};
use crate::simd::{Avx512, Simd};
use crate::{Format, Inputs, Tile};
use std::arch::x86_64::*;
use std::mem::transmute;

/// bf16 values of a row in a panel.
pub(super) const VALUES: usize = 2 * GROUPS;

/// Activation rows of a step: with the two lines of a group, as many chains of sums as hide the latency.
const COLUMNS: usize = 8;

/// The functions of panels of bf16, for quantised formats.
pub(super) fn functions_of(format: Format) -> Option<PanelFunctions> {
    struct Panels;

    impl Visitor for Panels {
        type Output = Option<PanelFunctions>;

        fn quantised<F: Quant>(self) -> Option<PanelFunctions> {
            Some(PanelFunctions { unpack: unpack::<F>, interleave: Avx512::interleave, multiply, values: VALUES })
        }

        fn float<F: Float>(self) -> Option<PanelFunctions> {
            None
        }
    }

    formats::visit(format, Panels)
}

/// The products of AVX-512-VNNI, with these beside them.
pub(super) fn product(format: Format) -> Product {
    Product { gemm_bf16: functions_of(format), ..entry::product::<Avx512>(format) }
}

/// [`super::gemm::Unpack`]: bf16 values.
///
/// # Safety
/// The CPU has the features.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
unsafe fn unpack<F: Quant>(row: &[u8], stretch: usize, out: &mut UnpackedRow) {
    // SAFETY: the features of this function contain those of the token.
    let s = unsafe { Avx512::new() };
    let super_bytes = size_of::<F::Super>();
    let bytes = &row[stretch * super_bytes..];
    let mut end = None;
    let block = gemm::completed::<F::Super>(bytes, &mut end);
    let Scales { scale: [scale], offset: [offset] } = formats::affine::<_, F>(s, block);
    let codes = formats::codes::<_, F>(s, block);
    for j in 0..4 {
        // Codes are u8 at this level, the bias of signed ones is in the offset.
        let quarters = [
            _mm512_castsi512_si128(codes[j]),
            _mm512_extracti32x4_epi32::<1>(codes[j]),
            _mm512_extracti32x4_epi32::<2>(codes[j]),
            _mm512_extracti32x4_epi32::<3>(codes[j]),
        ];
        let mut values = [_mm512_setzero_ps(); 4];
        for i in 0..4 {
            let lane = _mm512_set1_epi32((4 * i + j) as i32);
            let scale = _mm512_permutexvar_ps(lane, scale);
            let offset = _mm512_permutexvar_ps(lane, offset);
            values[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(quarters[i])), scale, offset);
        }
        for i in 0..2 {
            let pair = _mm512_cvtne2ps_pbh(values[2 * i + 1], values[2 * i]);
            // SAFETY: 64 bytes, only seen as another type.
            let pair: __m512i = unsafe { transmute(pair) };
            s.store_bytes(pair, out.line_mut(2 * j + i));
        }
    }
}

/// [`gemm::MultiplyPanel`].
///
/// # Safety
/// The CPU has the features.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
unsafe fn multiply(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>) {
    // SAFETY: the features of this function contain those of the token.
    let s = unsafe { Avx512::new() };
    // A stretch is completed with zeros, in the panel and in the rows.
    let groups = at.k.div_ceil(2);
    for m in (0..y.rows()).step_by(COLUMNS) {
        let mut rows: [&[[u16; 2]]; COLUMNS] = [&[]; COLUMNS];
        for c in 0..COLUMNS {
            // Past the last activation row it is taken again; its results are dropped.
            let row = x.q.row((m + c).min(x.q.rows() - 1));
            rows[c] = &row.bf16.as_chunks().0[at.number * GROUPS..][..groups];
        }
        let mut acc = gemm::load_tile::<Avx512, 2, COLUMNS>(s, y, m, at, 0);
        for g in 0..groups {
            let lines = panel.lines(g).map(|line| s.load_bytes(line));
            for c in 0..COLUMNS {
                let x = _mm512_set1_epi32(bytemuck::cast::<[u16; 2], i32>(rows[c][g]));
                for i in 0..2 {
                    // SAFETY: 64 bytes, only seen as another type.
                    let (w, x) =
                        unsafe { (transmute::<__m512i, __m512bh>(lines[i]), transmute::<__m512i, __m512bh>(x)) };
                    acc[c][i] = [_mm512_dpbf16_ps(acc[c][i][0], w, x)];
                }
            }
        }
        gemm::store_tile::<Avx512, 2, COLUMNS>(s, y, m, at, 0, acc);
    }
}

#[cfg(test)]
mod tests {
    use super::super::amx;
    use super::*;
    use crate::activations::{Forms, Way};
    use crate::conformance::{Guarded, Rng, assert_close, scalar};
    use crate::decode::decode_row;
    use crate::dense::DenseScratch;
    use crate::{Isa, Kernels, Matrix, QuantRows};

    /// The product by every way this CPU has: vectors at the levels that offer it, and emulated tiles.
    fn every_product(w: Matrix<'_>, x: Inputs<'_>) -> Vec<(String, Vec<f32>)> {
        let levels = Isa::available().into_iter().map(|isa| Kernels::select(Some(isa)).unwrap());
        let mut found: Vec<_> = levels
            .filter(|kernels| kernels.has_bf16())
            .map(|kernels| {
                let mut y = Guarded::new(x.q.rows() * w.rows());
                kernels.matmul_bf16(w, x, &mut Tile::new(y.values(), w.rows()), &mut DenseScratch::default());
                (kernels.isa().name().to_owned(), y.finish(kernels.isa().name()))
            })
            .collect();
        found.extend(amx::tests::emulated(w, x).map(|y| ("emulated tiles".to_owned(), y)));
        found
    }

    fn quantised(kernels: &Kernels, x: &[f32], m: usize, k: usize) -> QuantRows {
        let mut q = QuantRows::new(Way::Prompt, Forms::QUANTS, m, k);
        for r in 0..m {
            kernels.quantize_row(&x[r * k..][..k], q.row_mut(r));
        }
        q
    }

    #[test]
    fn small_whole_numbers_multiply_exactly() {
        let mut rng = Rng(11);
        for (m, n, k) in [(5, 1, 32), (16, 32, 256), (17, 33, 288), (32, 64, 512), (33, 31, 1056), (70, 40, 768)] {
            let mut bytes = Vec::new();
            for _ in 0..n * k / 32 {
                bytes.extend(half::f16::from_f32(1.0).to_le_bytes());
                bytes.extend((0..32).map(|_| rng.next() as u8));
            }
            let w = Matrix::new(Format::Q8_0, n, k, &bytes);
            // A value of 127 in each block makes its scale 1.
            let x: Vec<f32> =
                (0..m * k).map(|i| if i % 32 == 5 { 127.0 } else { (rng.next() % 255) as f32 - 127.0 }).collect();
            let q = quantised(scalar(), &x, m, k);
            let inputs = Inputs { x: &x, q: &q };
            let mut want = vec![0.0; m * n];
            scalar().matmul(w, inputs, &mut Tile::new(&mut want, n), &mut DenseScratch::default());
            for (what, got) in every_product(w, inputs) {
                assert_eq!(got, want, "{what}, m {m} n {n} k {k}");
            }
        }
    }

    #[test]
    fn every_format_unpacks_to_its_values_rounded_to_bf16() {
        let k = 512;
        let mut rng = Rng(12);
        // Row m of the activations is one at m alone, so that the product shows the weights.
        let mut x = vec![0.0; k * k];
        for i in 0..k {
            x[i * k + i] = 1.0;
        }
        let q = quantised(scalar(), &x, k, k);
        for &format in Format::ALL.iter().filter(|f| !f.is_float()) {
            let mut bytes: Vec<u8> = (0..format.row_bytes(k).unwrap()).map(|_| rng.next() as u8 & 0x3f).collect();
            if format == Format::MXFP4 {
                bytes.iter_mut().step_by(17).for_each(|e| *e |= 0x70);
            }
            let w = Matrix::new(format, 1, k, &bytes);
            let mut want = vec![0.0; k];
            decode_row(format, &bytes, &mut want);
            // Offsets may cancel most of a value: half a unit of its own, and f32 rounding of the largest.
            let largest = want.iter().fold(0.0, |a: f32, v| a.max(v.abs()));
            for (what, got) in every_product(w, Inputs { x: &x, q: &q }) {
                let bound = |i: usize| want[i].abs() / 256.0 + 16.0 * f32::EPSILON * largest;
                assert_close(&format!("{what}, {format}"), &got, &want, bound);
            }
        }
    }

    #[test]
    fn a_product_of_a_row_is_the_same_in_any_batch() {
        let (m, n, k) = (21, 70, 800);
        let mut rng = Rng(13);
        let bytes: Vec<u8> = (0..n * Format::Q4_0.row_bytes(k).unwrap()).map(|_| rng.next() as u8 & 0x3f).collect();
        let w = Matrix::new(Format::Q4_0, n, k, &bytes);
        let x: Vec<f32> = (0..m * k).map(|_| (rng.next() % 2001) as f32 / 1000.0 - 1.0).collect();
        let all = every_product(w, Inputs { x: &x, q: &quantised(scalar(), &x, m, k) });
        for (first, rows) in (0..m).map(|first| (first, 1)).chain([(3, 8), (7, 9), (2, 19)]) {
            let x = &x[first * k..][..rows * k];
            let some = every_product(w.slice_rows(5..40), Inputs { x, q: &quantised(scalar(), x, rows, k) });
            for ((what, all), (_, some)) in all.iter().zip(&some) {
                for r in 0..rows {
                    assert_eq!(some[r * 35..][..35], all[(first + r) * n + 5..][..35], "{what}, row {}", first + r);
                }
            }
        }
    }
}
