//! The bridge from the table of a level to the generic drivers: functions that carry the level's CPU features.
//!
//! Everything a driver calls is `inline(always)`, so that it is compiled with the features of the entry point it ends
//! up in; the features cannot be put on the generic code itself.

use crate::activations::QuantRowMut;
use crate::{Inputs, Matrix, Tile};

/// All activation rows times all rows of `w`. How many it can take is the function's business. Shapes have been checked
/// by [`crate::Kernels::matmul`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type Multiply = unsafe fn(w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>);

/// See [`crate::Kernels::quantize_row`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type Quantize = unsafe fn(x: &[f32], out: QuantRowMut<'_>);

/// See [`crate::Kernels::quantize_row_in_two_terms`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type QuantizeTwoTerms = unsafe fn(x: &[f32], first: QuantRowMut<'_>, second: QuantRowMut<'_>);

/// The products of one format.
#[derive(Clone, Copy)]
pub(super) struct Product {
    /// One activation row, at most two, at most four.
    pub(super) gemv: [Multiply; 3],
    /// The same with activations in two terms; see [`crate::Kernels::matmul_two_terms`].
    pub(super) two_terms: [Multiply; 3],
    /// More than that.
    pub(super) gemm: Gemm,
    /// More than that, with activations in bf16; see [`crate::Kernels::matmul_bf16`].
    pub(super) fine: Option<super::gemm::Parts>,
}

/// How to multiply with many activation rows.
#[derive(Clone, Copy)]
pub(super) enum Gemm {
    /// A function of its own.
    Whole(Multiply),
    /// The driver of [`super::gemm`] with these parts.
    Panels(super::gemm::Parts),
    /// The product of the vision tower: weights and activations as 13-bit words.
    Words(crate::dense::Functions),
}

/// Defines the entry points of a level: `product(format)`, `quantize` and `quantize_two_terms`. `tile`: the V and C of [`super::gemm`].
/// `runs`: the `RUN` of [`super::simd::Simd::block_sums`] that is of use for codes up to 15, 31 and 63.
macro_rules! entry_points {
    ($token:ty, tile($v:literal, $c:literal), runs($r8:literal, $r4:literal, $r2:literal), $features:literal) => {
        use crate::activations::{QuantRowMut, quantize_portable, quantize_two_terms_portable};
        use crate::qmatmul::entry::{Gemm, Multiply, Product};
        use crate::qmatmul::formats::{self, Float, Quant};
        use crate::qmatmul::gemm::{Panel, Parts, Stretch, UnpackedRow};
        use crate::qmatmul::{gemm, gemv};
        use crate::{Format, Inputs, Matrix, Tile};

        // The functions below demand the features of the level and nothing else.

        #[target_feature(enable = $features)]
        unsafe fn quant_gemv<F: Quant, const M: usize, const TERMS: usize>(
            w: Matrix<'_>,
            x: Inputs<'_>,
            y: &mut Tile<'_>,
        ) {
            // SAFETY: the caller vouches for the features.
            gemv::quantised::<$token, F, M, TERMS>(unsafe { <$token>::new() }, w, x, y);
        }

        #[target_feature(enable = $features)]
        unsafe fn float_gemv<F: Float, const M: usize>(w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>) {
            // SAFETY: the caller vouches for the features.
            gemv::float::<$token, F, M>(unsafe { <$token>::new() }, w, x, y);
        }

        #[target_feature(enable = $features)]
        unsafe fn quant_unpack<F: Quant>(row: &[u8], stretch: usize, out: &mut UnpackedRow) {
            // SAFETY: the caller vouches for the features.
            gemm::unpack_quantised::<$token, F>(unsafe { <$token>::new() }, row, stretch, out);
        }

        #[target_feature(enable = $features)]
        unsafe fn float_unpack<F: Float>(row: &[u8], stretch: usize, out: &mut UnpackedRow) {
            // SAFETY: the caller vouches for the features.
            gemm::unpack_float::<$token, F>(unsafe { <$token>::new() }, row, stretch, out);
        }

        #[target_feature(enable = $features)]
        unsafe fn interleave(rows: &[UnpackedRow; 16], v: usize, panel: &mut Panel) {
            // SAFETY: the caller vouches for the features.
            gemm::interleave(unsafe { <$token>::new() }, rows, v, panel);
        }

        #[target_feature(enable = $features)]
        unsafe fn quant_panel<const FINE: bool, const RUN: usize>(
            panel: &Panel,
            x: Inputs<'_>,
            at: Stretch,
            y: &mut Tile<'_>,
        ) {
            // SAFETY: the caller vouches for the features.
            let s = unsafe { <$token>::new() };
            gemm::multiply_quantised::<$token, $v, $c, FINE, RUN>(s, panel, x, at, y);
        }

        #[target_feature(enable = $features)]
        unsafe fn float_panel(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>) {
            // SAFETY: the caller vouches for the features.
            gemm::multiply_float::<$token, $v, $c>(unsafe { <$token>::new() }, panel, x, at, y);
        }

        #[target_feature(enable = $features)]
        pub(in crate::qmatmul) unsafe fn quantize(x: &[f32], out: QuantRowMut<'_>) {
            quantize_portable(x, out);
        }

        #[target_feature(enable = $features)]
        pub(in crate::qmatmul) unsafe fn quantize_two_terms(
            x: &[f32],
            first: QuantRowMut<'_>,
            second: QuantRowMut<'_>,
        ) {
            quantize_two_terms_portable(x, first, second);
        }

        fn quant<F: Quant>() -> Product {
            Product {
                gemv: [quant_gemv::<F, 1, 1>, quant_gemv::<F, 2, 1>, quant_gemv::<F, 4, 1>],
                two_terms: [quant_gemv::<F, 1, 2>, quant_gemv::<F, 2, 2>, quant_gemv::<F, 4, 2>],
                gemm: Gemm::Panels(Parts {
                    unpack: quant_unpack::<F>,
                    interleave,
                    // Two products of a code with an activation make at most 254 codes; 8 groups of 15, 4 of 31 and 2 of 63
                    // stay below 2¹⁵.
                    multiply: match (F::FINE, F::SIGNED, F::MAX_CODE) {
                        (false, true, _) => quant_panel::<false, 0>,
                        (false, false, 0..=15) => quant_panel::<false, $r8>,
                        (false, false, 16..=31) => quant_panel::<false, $r4>,
                        (false, false, 32..=63) => quant_panel::<false, $r2>,
                        (false, false, _) => quant_panel::<false, 1>,
                        (true, false, 0..=15) => quant_panel::<true, $r8>,
                        (true, false, 16..=31) => quant_panel::<true, $r4>,
                        (true, false, 32..=63) => quant_panel::<true, $r2>,
                        (true, false, _) => quant_panel::<true, 1>,
                        (true, true, _) => unreachable!("no such format"),
                    },
                    values: gemm::ROW_BYTES,
                }),
                fine: None,
            }
        }

        fn float<F: Float>() -> Product {
            let gemv: [Multiply; 3] = [float_gemv::<F, 1>, float_gemv::<F, 2>, float_gemv::<F, 4>];
            Product {
                gemv,
                two_terms: gemv,
                gemm: Gemm::Panels(Parts {
                    unpack: float_unpack::<F>,
                    interleave,
                    multiply: float_panel,
                    values: gemm::GROUPS,
                }),
                fine: None,
            }
        }

        pub(in crate::qmatmul) fn product(format: Format) -> Product {
            match format {
                Format::F32 => float::<formats::F32>(),
                Format::F16 => float::<formats::F16>(),
                Format::BF16 => float::<formats::BF16>(),
                Format::Q4_0 => quant::<formats::Q4_0>(),
                Format::Q4_1 => quant::<formats::Q4_1>(),
                Format::Q5_0 => quant::<formats::Q5_0>(),
                Format::Q5_1 => quant::<formats::Q5_1>(),
                Format::Q8_0 => quant::<formats::Q8_0>(),
                Format::Q2_K => quant::<formats::Q2_K>(),
                Format::Q3_K => quant::<formats::Q3_K>(),
                Format::Q4_K => quant::<formats::Q4_K>(),
                Format::Q5_K => quant::<formats::Q5_K>(),
                Format::Q6_K => quant::<formats::Q6_K>(),
                Format::IQ2_XXS => quant::<formats::IQ2_XXS>(),
                Format::IQ2_XS => quant::<formats::IQ2_XS>(),
                Format::IQ2_S => quant::<formats::IQ2_S>(),
                Format::IQ3_XXS => quant::<formats::IQ3_XXS>(),
                Format::IQ3_S => quant::<formats::IQ3_S>(),
                Format::IQ4_NL => quant::<formats::IQ4_NL>(),
                Format::IQ4_XS => quant::<formats::IQ4_XS>(),
                Format::MXFP4 => quant::<formats::MXFP4>(),
            }
        }
    };
}

pub(crate) use entry_points;
