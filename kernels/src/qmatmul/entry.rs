//! From the generic drivers to the table of a level: [`Level`], whose functions carry the level's CPU features, and the
//! products of every format made of them.

use super::blocks::{Blocks, Runs};
use super::formats::{self, Float, Quant, Visitor};
use super::gemm::{self, Panel, PanelFunctions, Stretch, UnpackedRow};
use super::gemv;
use super::written;
use crate::activations::{QuantRowMut, quantize_int8x2_portable, quantize_portable};
use crate::simd::{Simd, levels::features_of};
use crate::{Format, Inputs, Matrix, Tile};
use std::marker::PhantomData;

/// The activation rows from `first` on, as many as `y` has, times all rows of `w`. How many it can take is the function's
/// business. Shapes have been checked by [`crate::Kernels::matmul`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type Multiply = unsafe fn(w: Matrix<'_>, x: Inputs<'_>, first: usize, y: &mut Tile<'_>);

/// See [`crate::Kernels::quantize_row`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type Quantize = unsafe fn(x: &[f32], out: QuantRowMut<'_>);

/// See [`crate::Kernels::quantize_row_int8x2`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(super) type QuantizeInt8x2 = unsafe fn(x: &[f32], first: QuantRowMut<'_>, second: QuantRowMut<'_>);

/// The products of one format.
#[derive(Clone, Copy)]
pub(super) struct Product {
    /// Written rows.
    pub(super) written: Written,
    /// The same in two 8-bit terms; see [`crate::Kernels::matmul_int8x2`].
    pub(super) written_int8x2: Written,
    /// Prompt rows.
    pub(super) gemm: Gemm,
    /// The same in bf16; see [`crate::Kernels::matmul_bf16`].
    pub(super) gemm_bf16: Option<PanelFunctions>,
}

/// How to multiply with written rows: the same bits, whichever function takes a row.
#[derive(Clone, Copy)]
pub(super) struct Written {
    /// One row.
    pub(super) one: Multiply,
    /// One or two.
    pub(super) two: Multiply,
    /// More.
    pub(super) many: Many,
}

/// How to multiply with three written rows or more.
#[derive(Clone, Copy)]
pub(super) enum Many {
    /// Four at a time, or what is left of them.
    Fours(Multiply),
    /// The driver of [`super::written`] with these functions; four rows by a function of their own, where that is faster.
    Strips { four: Option<Multiply>, strips: written::Functions },
}

/// How to multiply with prompt rows.
#[derive(Clone, Copy)]
pub(super) enum Gemm {
    /// A function of its own.
    Whole(Multiply),
    /// The driver of [`super::gemm`] with these functions.
    Panels(PanelFunctions),
    /// The product of the vision tower: weights and activations as 13-bit integers.
    Int16(crate::dense::Functions),
}

/// The functions of a level, compiled with its CPU features. They are the drivers of the same names.
///
/// # Safety
/// Each may only be called where the CPU has the level.
pub(super) trait Level: Blocks {
    unsafe fn quantize(x: &[f32], out: QuantRowMut<'_>);
    unsafe fn quantize_int8x2(x: &[f32], first: QuantRowMut<'_>, second: QuantRowMut<'_>);

    unsafe fn gemv_quantised<F: Quant, const M: usize, const TERMS: usize>(
        w: Matrix<'_>,
        x: Inputs<'_>,
        first: usize,
        y: &mut Tile<'_>,
    );
    unsafe fn gemv_float<F: Float, const M: usize>(w: Matrix<'_>, x: Inputs<'_>, first: usize, y: &mut Tile<'_>);

    unsafe fn written_unpack<F: Quant>(
        row: &[u8],
        first: usize,
        supers: usize,
        next: *const u8,
        out: &mut written::UnpackedRow,
    );
    unsafe fn written_tile<const C: usize, const TERMS: usize, const CODES: u8, const OFFSETS: u8>(
        strip: &written::Strip,
        x: &written::Columns,
        at: written::Stretch,
        sums: &mut written::Sums,
    );
    unsafe fn written_add_up(sums: &written::Sums, n: usize, y: &mut Tile<'_>);
    /// [`Level::written_tile`] for a format.
    fn written_format<F: Quant, const TERMS: usize>() -> written::Tiles;

    unsafe fn unpack_quantised<F: Quant>(row: &[u8], stretch: usize, out: &mut UnpackedRow);
    unsafe fn unpack_float<F: Float>(row: &[u8], stretch: usize, out: &mut UnpackedRow);
    unsafe fn interleave(rows: &[UnpackedRow; 16], v: usize, panel: &mut Panel);
    unsafe fn multiply_float(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>);
    unsafe fn multiply_quantised<const FINE: bool, const RUN: usize>(
        panel: &Panel,
        x: Inputs<'_>,
        at: Stretch,
        y: &mut Tile<'_>,
    );
    /// [`Level::multiply_quantised`] for a format.
    fn multiply_format<F: Quant>() -> gemm::MultiplyPanel;
}

/// Implements [`Level`] for the token of a level.
macro_rules! level {
    ([$features:literal] $level:ty,) => {
        impl Level for $level {
            #[target_feature(enable = $features)]
            unsafe fn quantize(x: &[f32], out: QuantRowMut<'_>) {
                quantize_portable(x, out);
            }

            #[target_feature(enable = $features)]
            unsafe fn quantize_int8x2(x: &[f32], first: QuantRowMut<'_>, second: QuantRowMut<'_>) {
                quantize_int8x2_portable(x, first, second);
            }

            #[target_feature(enable = $features)]
            unsafe fn gemv_quantised<F: Quant, const M: usize, const TERMS: usize>(
                w: Matrix<'_>,
                x: Inputs<'_>,
                first: usize,
                y: &mut Tile<'_>,
            ) {
                // SAFETY: the caller vouches for the level; so below.
                gemv::quantised::<Self, F, M, TERMS>(unsafe { Self::new() }, w, x, first, y);
            }

            #[target_feature(enable = $features)]
            unsafe fn gemv_float<F: Float, const M: usize>(
                w: Matrix<'_>,
                x: Inputs<'_>,
                first: usize,
                y: &mut Tile<'_>,
            ) {
                // SAFETY: see above.
                gemv::float::<Self, F, M>(unsafe { Self::new() }, w, x, first, y);
            }

            #[target_feature(enable = $features)]
            unsafe fn written_unpack<F: Quant>(
                row: &[u8],
                first: usize,
                supers: usize,
                next: *const u8,
                out: &mut written::UnpackedRow,
            ) {
                // SAFETY: see above.
                written::unpack::<Self, F>(unsafe { Self::new() }, row, first, supers, next, out);
            }

            #[target_feature(enable = $features)]
            unsafe fn written_tile<const C: usize, const TERMS: usize, const CODES: u8, const OFFSETS: u8>(
                strip: &written::Strip,
                x: &written::Columns,
                at: written::Stretch,
                sums: &mut written::Sums,
            ) {
                const R: usize = <$level>::WRITTEN_ROWS;
                // SAFETY: see above; the caller vouches for the columns.
                unsafe {
                    written::multiply_tile::<Self, R, C, TERMS, CODES, OFFSETS>(Self::new(), strip, x, at, sums);
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn written_add_up(sums: &written::Sums, n: usize, y: &mut Tile<'_>) {
                // SAFETY: see above.
                written::add_up(unsafe { Self::new() }, sums, n, y);
            }

            fn written_format<F: Quant, const TERMS: usize>() -> written::Tiles {
                use written::{CENTRE, CENTRE_IN_PLACE, NOTHING, OFFSET};
                macro_rules! tiles {
                    ($codes:literal, $offsets:ident) => {
                        written::Tiles {
                            one: Self::written_tile::<1, TERMS, $codes, $offsets>,
                            two: Self::written_tile::<2, TERMS, $codes, $offsets>,
                            four: Self::written_tile::<4, TERMS, $codes, $offsets>,
                        }
                    };
                }
                let codes = match F::MAX_CODE {
                    _ if F::SIGNED => 0,
                    0..=31 if Self::SMALL_CODES_GAIN => 31,
                    32..=63 if Self::SMALL_CODES_GAIN => 63,
                    _ => 127,
                };
                match (written::offsets::<Self, F>(), codes) {
                    (NOTHING, _) => tiles!(0, NOTHING),
                    (OFFSET, 31) => tiles!(31, OFFSET),
                    (OFFSET, _) => tiles!(127, OFFSET),
                    (CENTRE_IN_PLACE, _) => tiles!(127, CENTRE_IN_PLACE),
                    (_, 0) => tiles!(0, CENTRE),
                    (_, 31) => tiles!(31, CENTRE),
                    (_, 63) => tiles!(63, CENTRE),
                    (_, _) => tiles!(127, CENTRE),
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn unpack_quantised<F: Quant>(row: &[u8], stretch: usize, out: &mut UnpackedRow) {
                // SAFETY: see above.
                gemm::unpack_quantised::<Self, F>(unsafe { Self::new() }, row, stretch, out);
            }

            #[target_feature(enable = $features)]
            unsafe fn unpack_float<F: Float>(row: &[u8], stretch: usize, out: &mut UnpackedRow) {
                // SAFETY: see above.
                gemm::unpack_float::<Self, F>(unsafe { Self::new() }, row, stretch, out);
            }

            #[target_feature(enable = $features)]
            unsafe fn interleave(rows: &[UnpackedRow; 16], v: usize, panel: &mut Panel) {
                // SAFETY: see above.
                gemm::interleave(unsafe { Self::new() }, rows, v, panel);
            }

            #[target_feature(enable = $features)]
            unsafe fn multiply_float(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>) {
                const TILE: [usize; 2] = <$level>::TILE;
                // SAFETY: see above.
                let s = unsafe { Self::new() };
                gemm::multiply_float::<Self, { TILE[0] }, { TILE[1] }>(s, panel, x, at, y);
            }

            #[target_feature(enable = $features)]
            unsafe fn multiply_quantised<const FINE: bool, const RUN: usize>(
                panel: &Panel,
                x: Inputs<'_>,
                at: Stretch,
                y: &mut Tile<'_>,
            ) {
                const TILE: [usize; 2] = <$level>::TILE;
                // SAFETY: see above.
                let s = unsafe { Self::new() };
                gemm::multiply_quantised::<Self, { TILE[0] }, { TILE[1] }, FINE, RUN>(s, panel, x, at, y);
            }

            fn multiply_format<F: Quant>() -> gemm::MultiplyPanel {
                const RUNS: Runs = <$level>::RUNS;
                match (F::FINE, F::SIGNED, F::MAX_CODE) {
                    (false, true, _) => Self::multiply_quantised::<false, 0>,
                    (false, false, 0..=15) => Self::multiply_quantised::<false, { RUNS.up_to_15 }>,
                    (false, false, 16..=31) => Self::multiply_quantised::<false, { RUNS.up_to_31 }>,
                    (false, false, 32..=63) => Self::multiply_quantised::<false, { RUNS.up_to_63 }>,
                    (false, false, _) => Self::multiply_quantised::<false, 1>,
                    (true, false, 0..=15) => Self::multiply_quantised::<true, { RUNS.up_to_15 }>,
                    (true, false, 16..=31) => Self::multiply_quantised::<true, { RUNS.up_to_31 }>,
                    (true, false, 32..=63) => Self::multiply_quantised::<true, { RUNS.up_to_63 }>,
                    (true, false, _) => Self::multiply_quantised::<true, 1>,
                    (true, true, _) => unreachable!("no such format"),
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
features_of! { Avx2 => level! }
#[cfg(target_arch = "x86_64")]
features_of! { AvxVnni => level! }
#[cfg(target_arch = "x86_64")]
features_of! { Avx512 => level! }
#[cfg(target_arch = "aarch64")]
features_of! { Neon => level! }
#[cfg(target_arch = "aarch64")]
features_of! { NeonDotprod => level! }
#[cfg(target_arch = "aarch64")]
features_of! { NeonI8mm => level! }

/// The products of `format` at level `S`.
pub(super) fn product<S: Level>(format: Format) -> Product {
    formats::visit(format, Products::<S>(PhantomData))
}

/// Makes the [`Product`] of a format.
struct Products<S>(PhantomData<S>);

impl<S: Level> Visitor for Products<S> {
    type Output = Product;

    fn quantised<F: Quant>(self) -> Product {
        let strips = written::Functions {
            unpack: S::written_unpack::<F>,
            multiply: S::written_format::<F, 1>(),
            multiply_int8x2: S::written_format::<F, 2>(),
            add_up: S::written_add_up,
            super_bytes: size_of::<F::Super>(),
            minus_centre: -formats::centre::<S, F>().unwrap_or(0.0),
        };
        Product {
            written: Written {
                one: S::gemv_quantised::<F, 1, 1>,
                two: S::gemv_quantised::<F, 2, 1>,
                many: Many::Strips { four: Some(S::gemv_quantised::<F, 4, 1>), strips },
            },
            written_int8x2: Written {
                one: S::gemv_quantised::<F, 1, 2>,
                two: S::gemv_quantised::<F, 2, 2>,
                many: Many::Strips { four: None, strips },
            },
            gemm: Gemm::Panels(PanelFunctions {
                unpack: S::unpack_quantised::<F>,
                interleave: S::interleave,
                multiply: S::multiply_format::<F>(),
                values: gemm::ROW_BYTES,
            }),
            gemm_bf16: None,
        }
    }

    fn float<F: Float>(self) -> Product {
        let written = Written {
            one: S::gemv_float::<F, 1>,
            two: S::gemv_float::<F, 2>,
            many: Many::Fours(S::gemv_float::<F, 4>),
        };
        Product {
            written,
            written_int8x2: written,
            gemm: Gemm::Panels(PanelFunctions {
                unpack: S::unpack_float::<F>,
                interleave: S::interleave,
                multiply: S::multiply_float,
                values: gemm::GROUPS,
            }),
            gemm_bf16: None,
        }
    }
}
