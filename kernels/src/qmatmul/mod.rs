//! The product of a weight matrix, in any storage format, with rows of activations:
//! `y[m, n] = Σ_k w[n, k]·x[m, k]`.
//!
//! Weights stay as they lie in the file. Quantised formats multiply the 8-bit activations of [`QuantRows`]; the float
//! formats multiply the f32 activations, or, more than [`GEMV_COLUMNS`] rows of them and 16-bit floats, their 13-bit words,
//! where the level multiplies those faster: [`crate::dense`].
//!
//! Promises, for every level:
//! - A value `y[m, n]` is computed by one fixed sequence of operations that depends on weight row n and activation row m
//!   alone. How rows are sliced among threads does not change a bit.
//! - For up to [`GEMV_COLUMNS`] activation rows the sequence is the same for any number of them; above it is another,
//!   so a product of one row and the same row within a larger batch may differ by rounding.
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
mod entry;
mod formats;
mod gemm;
mod gemv;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod simd;

pub use crate::activations::GEMV_COLUMNS;
use crate::activations::{Order, QuantRowMut, QuantRows, quantize_portable, quantize_two_terms_portable};
use crate::dense::{self, DenseScratch, Precision, Store, ToWords};
use crate::{Format, Isa, Kernels, Matrix, Tile};
use entry::{Gemm, Multiply, Product, Quantize, QuantizeTwoTerms};
use std::cell::RefCell;

pub(crate) use entry::entry_points;

/// Activation rows `[m, k]` in all forms. Which one is read depends on the weights: [`crate::activations::Forms::of`].
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// f32 values, `[m, k]`: read with float weights only, may be empty otherwise.
    pub x: &'a [f32],
    /// 8-bit values, read with quantised weights, and words, read with 16-bit floats. Its row count is m in any case, and its
    /// order what [`QuantRows`] gives so many rows.
    pub q: &'a QuantRows,
}

/// The functions of this family at one level.
pub(crate) struct Table {
    quantize: Quantize,
    quantize_two_terms: QuantizeTwoTerms,
    /// Makes words of values, at levels that multiply them.
    to_words: Option<ToWords>,
    /// By format, in the order of [`Format::ALL`].
    products: Vec<Product>,
}

impl Table {
    pub(crate) fn of(isa: Isa) -> Table {
        type Level = (Quantize, QuantizeTwoTerms, fn(Format) -> Product);
        let scalar: Level = (quantize_portable, quantize_two_terms_portable, scalar::product);
        let (quantize, quantize_two_terms, product): Level = match isa {
            Isa::Scalar => scalar,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (avx2::entry::quantize, avx2::entry::quantize_two_terms, avx2::entry::product),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => {
                (avx2::entry_vnni::quantize, avx2::entry_vnni::quantize_two_terms, avx2::entry_vnni::product)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni if crate::isa::bf16_products_are_fast() => {
                (avx512::entry::quantize, avx512::entry::quantize_two_terms, bf16::product)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => (avx512::entry::quantize, avx512::entry::quantize_two_terms, avx512::entry::product),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => (avx512::entry::quantize, avx512::entry::quantize_two_terms, amx::product),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => (neon::entry::quantize, neon::entry::quantize_two_terms, neon::entry::product),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => {
                (neon::entry_dotprod::quantize, neon::entry_dotprod::quantize_two_terms, neon::entry_dotprod::product)
            }
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm => {
                (neon::entry_i8mm::quantize, neon::entry_i8mm::quantize_two_terms, neon::entry_i8mm::product)
            }
            _ => scalar,
        };
        let words = dense::Table::int16(isa);
        let product = |format| match (format, words) {
            (Format::F16 | Format::BF16, Some(words)) => Product { gemm: Gemm::Words(words), ..product(format) },
            _ => product(format),
        };
        let products = Format::ALL.iter().map(|&format| product(format)).collect();
        Table { quantize, quantize_two_terms, to_words: words.map(|words| words.row), products }
    }
}

impl Kernels {
    /// Brings one row of activations into the forms that `out` has room for; see [`crate::activations`]. Every level gives the
    /// same bits; words are only written at levels that multiply them.
    ///
    /// # Panics
    /// If `out` is not of the size that [`QuantRows`] gives a row of `x.len()` values.
    pub fn quantize_row(&self, x: &[f32], mut out: QuantRowMut<'_>) {
        let words = std::mem::take(&mut out.words);
        if let (Some(to_words), false) = (self.qmatmul.to_words, words.is_empty()) {
            assert_eq!(words.len(), Precision::Int16.words(x.len()), "words of {} values", x.len());
            // SAFETY: the table is that of an available level.
            unsafe { to_words(x, words) };
        }
        if !out.q.is_empty() {
            let k = x.len().next_multiple_of(256);
            assert_eq!((out.q.len(), out.d.len(), out.ds.len()), (k, k / 32, k / 16), "a row of {} values", x.len());
            // SAFETY: as above.
            unsafe { (self.qmatmul.quantize)(x, out) }
        }
    }

    /// Quantises one row of activations to two terms, rows of [`QuantRows`] whose sum it is: what
    /// [`Kernels::quantize_row`] makes of it, and what that leaves out, in steps of 1/256 of its own. Some 15 bits in
    /// all. Every level gives the same bits.
    ///
    /// # Panics
    /// As [`Kernels::quantize_row`], for either term.
    pub fn quantize_row_in_two_terms(&self, x: &[f32], first: QuantRowMut<'_>, second: QuantRowMut<'_>) {
        let k = x.len().next_multiple_of(256);
        for out in [&first, &second] {
            assert_eq!((out.q.len(), out.d.len(), out.ds.len()), (k, k / 32, k / 16), "a row of {} values", x.len());
        }
        // SAFETY: the table is that of an available level.
        unsafe { (self.qmatmul.quantize_two_terms)(x, first, second) }
    }

    /// `y[m, n] = Σ_k w[n, k]·x[m, k]`; see [`crate::qmatmul`] for what is promised of the result.
    ///
    /// # Panics
    /// If the shapes disagree: `w [n, k]`, `x.q` of m rows; `x.q` of k columns for quantised weights or `x.x` of m·k
    /// values for float ones; `y [m, n]`. If rows are not in the form that the weights take.
    pub fn matmul(&self, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>) {
        let (m, n, k) = (x.q.rows(), w.rows(), w.cols());
        assert_eq!((y.rows(), y.cols()), (m, n), "output of {m} rows of activations by {n} rows of weights");
        check_inputs(w, x, m);
        let lanes = w.format().is_float() || (x.q.order() == Order::Lanes) == (m <= GEMV_COLUMNS);
        assert!(lanes, "the order of {m} rows");
        let product = &self.qmatmul.products[w.format() as usize];
        if m == 0 || n == 0 {
            return;
        }
        // SAFETY: the table is that of an available level.
        unsafe {
            match (m, &product.gemm) {
                (..=GEMV_COLUMNS, _) => few(m, &product.gemv)(w, x, y),
                (_, Gemm::Whole(multiply)) => multiply(w, x, y),
                (_, Gemm::Panels(parts)) => gemm::multiply(parts, w, x, y),
                (_, Gemm::Words(functions)) => {
                    let (words, stride) = x.q.words();
                    assert!(!words.is_empty() && x.q.cols() == k, "activations in words");
                    let product = dense::Product { w, bias: &[], x: words, stride, store: Store::Set };
                    SCRATCH.with_borrow_mut(|scratch| (functions.product)(&product, y, scratch));
                }
            }
        }
    }

    /// As [`Kernels::matmul`] for up to [`GEMV_COLUMNS`] activation rows, where rows 2m and 2m + 1 of `x.q` are the two terms
    /// of row m ([`Kernels::quantize_row_in_two_terms`]). Weights are unpacked, scaled and added up once for both terms.
    ///
    /// # Panics
    /// As [`Kernels::matmul`], with 2m rows in `x.q` for quantised weights; if there are more rows.
    pub fn matmul_two_terms(&self, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>) {
        let (m, n) = (y.rows(), w.rows());
        assert!(m <= GEMV_COLUMNS, "{m} rows in two terms");
        assert_eq!(y.cols(), n, "output of {n} rows of weights");
        check_inputs(w, x, m);
        if !w.format().is_float() {
            assert_eq!(x.q.rows(), 2 * m, "two terms of quantised activations");
            assert_eq!(x.q.order(), Order::Lanes, "the order of {m} rows in two terms");
        }
        if m > 0 && n > 0 {
            let product = &self.qmatmul.products[w.format() as usize];
            // SAFETY: the table is that of an available level.
            unsafe { few(m, &product.two_terms)(w, x, y) };
        }
    }

    /// Whether more than [`GEMV_COLUMNS`] activation rows meet weights of `format` as 13-bit words, and the weights too:
    /// values are rounded to 1/8190 of the largest of their 128.
    pub fn multiplies_words(&self, format: Format) -> bool {
        matches!(self.qmatmul.products[format as usize].gemm, Gemm::Words(_))
    }

    /// Whether this level multiplies activations in bf16: [`Kernels::matmul_bf16`].
    pub fn has_bf16(&self) -> bool {
        self.qmatmul.products.iter().any(|product| product.fine.is_some())
    }

    /// As [`Kernels::matmul`], but activations that meet quantised weights are rounded to bf16 instead of 8-bit blocks, and
    /// so are the weights: an error of 2⁻⁹ of each value, where 8-bit blocks have one of 2⁻⁸ of the block's largest.
    ///
    /// # Panics
    /// As [`Kernels::matmul`]; if the level has no such products ([`Kernels::has_bf16`]).
    pub fn matmul_bf16(&self, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>) {
        if w.format().is_float() {
            return self.matmul(w, x, y);
        }
        let (m, n) = (x.q.rows(), w.rows());
        assert_eq!((y.rows(), y.cols()), (m, n), "output of {m} rows of activations by {n} rows of weights");
        check_inputs(w, x, m);
        let parts = self.qmatmul.products[w.format() as usize].fine.as_ref().expect("a level with bf16 products");
        if m > 0 && n > 0 {
            // SAFETY: the table is that of an available level.
            unsafe { gemm::multiply(parts, w, x, y) };
        }
    }
}

thread_local! {
    /// The panel of [`Gemm::Words`].
    static SCRATCH: RefCell<DenseScratch> = RefCell::default();
}

/// Panics unless the m rows of `x` are there in the form that few rows of these weights take.
fn check_inputs(w: Matrix<'_>, x: Inputs<'_>, m: usize) {
    let k = w.cols();
    if w.format().is_float() {
        assert_eq!(x.x.len(), m * k, "f32 activations [{m}, {k}]");
    } else {
        assert!(x.q.cols() == k && x.q.forms().quants, "quantised activations of {k} values");
    }
}

/// The function for `m` activation rows, at most [`GEMV_COLUMNS`].
fn few(m: usize, gemv: &[Multiply; 3]) -> Multiply {
    gemv[m.saturating_sub(1).min(2)]
}

#[cfg(test)]
mod tests;
