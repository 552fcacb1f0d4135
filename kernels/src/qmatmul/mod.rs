//! The product of a weight matrix, in any storage format, with rows of activations:
//! `y[m, n] = Σ_k w[n, k]·x[m, k]`.
//!
//! Weights stay as they lie in the file. Quantised formats multiply the 8-bit activations of [`QuantRows`]; the float
//! formats multiply the f32 activations, or, where prompt rows meet 16-bit floats, 13-bit integers made of them, where
//! the level multiplies those faster: [`crate::dense`].
//!
//! Promises, for every level:
//! - A value `y[m, n]` is computed by one fixed sequence of operations that depends on weight row n, activation row m
//!   and the [`Way`] of the latter alone. How rows are sliced among threads or batches, and what else is among them,
//!   does not change a bit. The two ways may differ by rounding.
//! - NaN and infinity in activations or scales travel into the outputs they belong to; nothing panics.

// Tiles of registers are walked by index, several arrays at a time; the functions an iterator adds might not be inlined
// into vector code.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod blocks;
mod entry;
mod formats;
mod gemm;
mod gemv;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod written;

use crate::activations::{QuantRowMut, QuantRows, Way, quantize_int8x2_portable, quantize_portable};
use crate::dense::{self, DenseScratch, Precision, Store, ToWords};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::simd;
use crate::{Format, Isa, Kernels, Matrix, Tile};
use entry::{Gemm, Level, Product, Quantize, QuantizeInt8x2};

/// Activation rows `[m, k]` in all forms. Which one is read depends on the weights: [`crate::activations::Forms::of`].
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// f32 values, `[m, k]`: read with float weights only, may be empty otherwise.
    pub x: &'a [f32],
    /// 8-bit values, read with quantised weights, and 13-bit integers, read with 16-bit floats. Its row count is m, and
    /// its way that of the rows, in any case.
    pub q: &'a QuantRows,
}

/// The functions of this family at one level.
pub(crate) struct Table {
    quantize: Quantize,
    quantize_int8x2: QuantizeInt8x2,
    /// Makes 13-bit integers of values, at levels that multiply them.
    to_int16: Option<ToWords>,
    /// By format, in the order of [`Format::ALL`].
    products: Vec<Product>,
}

impl Table {
    pub(crate) fn of(isa: Isa) -> Table {
        let Functions { quantize, quantize_int8x2, product } = Functions::of(isa);
        let int16 = dense::Table::int16(isa);
        let product = |format| match (format, int16) {
            (Format::F16 | Format::BF16, Some(int16)) => Product { gemm: Gemm::Int16(int16), ..product(format) },
            _ => product(format),
        };
        let products = Format::ALL.iter().map(|&format| product(format)).collect();
        Table { quantize, quantize_int8x2, to_int16: int16.map(|int16| int16.row), products }
    }
}

/// The functions of a level, but for 13-bit integers.
struct Functions {
    quantize: Quantize,
    quantize_int8x2: QuantizeInt8x2,
    product: fn(Format) -> Product,
}

impl Functions {
    fn of(isa: Isa) -> Functions {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Functions::of_level::<simd::Avx2>(),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => Functions::of_level::<simd::AvxVnni>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni if crate::isa::bf16_products_are_fast() => {
                Functions { product: bf16::product, ..Functions::of_level::<simd::Avx512>() }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Functions::of_level::<simd::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Functions { product: amx::product, ..Functions::of_level::<simd::Avx512>() },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Functions::of_level::<simd::Neon>(),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => Functions::of_level::<simd::NeonDotprod>(),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm => Functions::of_level::<simd::NeonI8mm>(),
            _ => Functions {
                quantize: quantize_portable,
                quantize_int8x2: quantize_int8x2_portable,
                product: scalar::product,
            },
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn of_level<S: Level>() -> Functions {
        Functions { quantize: S::quantize, quantize_int8x2: S::quantize_int8x2, product: entry::product::<S> }
    }
}

impl Kernels {
    /// Brings one row of activations into the forms that `out` has room for; see [`crate::activations`]. Every level
    /// gives the same bits; 13-bit integers are only written at levels that multiply them.
    ///
    /// # Panics
    /// If `out` is not of the size that [`QuantRows`] gives a row of `x.len()` values.
    pub fn quantize_row(&self, x: &[f32], mut out: QuantRowMut<'_>) {
        let int16 = std::mem::take(&mut out.int16);
        if let (Some(to_int16), false) = (self.qmatmul.to_int16, int16.is_empty()) {
            assert_eq!(int16.len(), Precision::Int16.words(x.len()), "words of {} values", x.len());
            // SAFETY: the table is that of an available level.
            unsafe { to_int16(x, int16) };
        }
        if !out.q.is_empty() {
            let k = x.len().next_multiple_of(256);
            assert_eq!((out.q.len(), out.d.len(), out.ds.len()), (k, k / 32, k / 16), "a row of {} values", x.len());
            // SAFETY: as above.
            unsafe { (self.qmatmul.quantize)(x, out) }
        }
    }

    /// Quantises one row of activations to two 8-bit terms, rows of [`QuantRows`] whose sum it is: what
    /// [`Kernels::quantize_row`] makes of it, and what that leaves out, in steps of 1/256 of its own. Some 15 bits in
    /// all. Every level gives the same bits.
    ///
    /// # Panics
    /// As [`Kernels::quantize_row`], for either term.
    pub fn quantize_row_int8x2(&self, x: &[f32], first: QuantRowMut<'_>, second: QuantRowMut<'_>) {
        let k = x.len().next_multiple_of(256);
        for out in [&first, &second] {
            assert_eq!((out.q.len(), out.d.len(), out.ds.len()), (k, k / 32, k / 16), "a row of {} values", x.len());
        }
        // SAFETY: the table is that of an available level.
        unsafe { (self.qmatmul.quantize_int8x2)(x, first, second) }
    }

    /// `y[m, n] = Σ_k w[n, k]·x[m, k]`; see [`crate::qmatmul`] for what is promised of the result. `scratch` is what the
    /// calling thread works in.
    ///
    /// # Panics
    /// If the shapes disagree: `w [n, k]`, `x.q` of m rows; `x.q` of k columns for quantised weights or `x.x` of m·k
    /// values for float ones; `y [m, n]`. If rows are not in the form that the weights take.
    pub fn matmul(&self, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch) {
        let (m, n, k) = (x.q.rows(), w.rows(), w.cols());
        assert_eq!((y.rows(), y.cols()), (m, n), "output of {m} rows of activations by {n} rows of weights");
        check_inputs(w, x, m);
        let product = &self.qmatmul.products[w.format() as usize];
        if m == 0 || n == 0 {
            return;
        }
        // SAFETY: the table is that of an available level.
        unsafe {
            match (x.q.way(), &product.gemm) {
                (Way::Written, _) => written::multiply::<1>(&product.written, w, x, y),
                (Way::Prompt, Gemm::Whole(multiply)) => multiply(w, x, 0, y),
                (Way::Prompt, Gemm::Panels(functions)) => gemm::multiply(functions, w, x, y),
                (Way::Prompt, Gemm::Int16(functions)) => {
                    let (x_words, stride) = x.q.int16();
                    assert!(!x_words.is_empty() && x.q.cols() == k, "activations as 13-bit integers");
                    let product = dense::Product { w, bias: &[], x: x_words, stride, store: Store::Set };
                    (functions.product)(&product, y, scratch);
                }
            }
        }
        scale(w, y);
    }

    /// As [`Kernels::matmul`] for written rows, where rows 2m and 2m + 1 of `x.q` are the two 8-bit terms of row m
    /// ([`Kernels::quantize_row_int8x2`]). Weights are unpacked, scaled and added up once for both terms.
    ///
    /// # Panics
    /// As [`Kernels::matmul`], with 2m rows in `x.q` for quantised weights; if they are prompt rows.
    pub fn matmul_int8x2(&self, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>) {
        let (m, n) = (y.rows(), w.rows());
        assert_eq!(y.cols(), n, "output of {n} rows of weights");
        assert_eq!(x.q.way(), Way::Written, "rows in two terms");
        check_inputs(w, x, m);
        if !w.format().is_float() {
            assert_eq!(x.q.rows(), 2 * m, "two terms of quantised activations");
        }
        if m > 0 && n > 0 {
            let product = &self.qmatmul.products[w.format() as usize];
            // SAFETY: the table is that of an available level.
            unsafe { written::multiply::<2>(&product.written_int8x2, w, x, y) };
            scale(w, y);
        }
    }

    /// Whether prompt rows meet weights of `format` as 13-bit integers, and the weights too: values are rounded to 1/8190
    /// of the largest of their 128.
    pub fn multiplies_int16(&self, format: Format) -> bool {
        matches!(self.qmatmul.products[format as usize].gemm, Gemm::Int16(_))
    }

    /// Whether this level multiplies activations in bf16: [`Kernels::matmul_bf16`].
    pub fn has_bf16(&self) -> bool {
        self.qmatmul.products.iter().any(|product| product.gemm_bf16.is_some())
    }

    /// As [`Kernels::matmul`] for prompt rows, but activations that meet quantised weights are rounded to bf16 instead of
    /// 8-bit blocks, and so are the weights: an error of 2⁻⁹ of each value, where 8-bit blocks have one of 2⁻⁸ of the
    /// block's largest.
    ///
    /// # Panics
    /// As [`Kernels::matmul`]; if they are written rows, or the level has no such products ([`Kernels::has_bf16`]).
    pub fn matmul_bf16(&self, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch) {
        assert_eq!(x.q.way(), Way::Prompt, "rows in bf16");
        if w.format().is_float() {
            return self.matmul(w, x, y, scratch);
        }
        let (m, n) = (x.q.rows(), w.rows());
        assert_eq!((y.rows(), y.cols()), (m, n), "output of {m} rows of activations by {n} rows of weights");
        check_inputs(w, x, m);
        let functions =
            self.qmatmul.products[w.format() as usize].gemm_bf16.as_ref().expect("a level with bf16 products");
        if m > 0 && n > 0 {
            // SAFETY: the table is that of an available level.
            unsafe { gemm::multiply(functions, w, x, y) };
            scale(w, y);
        }
    }
}

/// Multiplies the products of a matrix with its scale.
fn scale(w: Matrix<'_>, y: &mut Tile<'_>) {
    if w.scale() != 1.0 {
        for r in 0..y.rows() {
            y.row_mut(r).iter_mut().for_each(|y| *y *= w.scale());
        }
    }
}

/// Panics unless the m rows of `x` are there in the form that these weights take.
fn check_inputs(w: Matrix<'_>, x: Inputs<'_>, m: usize) {
    let k = w.cols();
    if w.format().is_float() {
        assert_eq!(x.x.len(), m * k, "f32 activations [{m}, {k}]");
    } else {
        assert!(x.q.cols() == k && x.q.forms().quants, "quantised activations of {k} values");
    }
}

#[cfg(test)]
mod tests;
