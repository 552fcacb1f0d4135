//! Products of float matrices with many rows, and full attention made of such products: the work of a vision tower,
//! whose inputs have thousands of rows and whose weights are used whole for every input, and of batches of a language
//! model that meet weights in 16-bit floats ([`crate::qmatmul`]).
//!
//! Operands are rows of 32-bit *words*: one f32 value, or two 16-bit integers that one instruction multiplies and adds,
//! with a scale for every 128 values. One driver serves both, over what [`words::Words`] says of a word:
//! weights are decoded into a *panel* `[k words, N]` that stays in the cache while all rows of the input pass by, and a
//! block of rows times a few vectors of outputs is held in registers. Ragged sizes are padded with zeros inside the
//! panel, so head sizes and widths that fit no vector run at the speed of those that do.
//!
//! Promises: a value depends on its own row and column alone, in one fixed order, so no slicing among threads changes a
//! bit. NaN and infinity travel into the outputs they belong to.

mod attend;
mod entry;
#[cfg(target_arch = "x86_64")]
mod int16;
mod panels;
mod product;
#[cfg(test)]
mod tests;
mod words;
#[cfg(target_arch = "x86_64")]
mod x86_amx;
#[cfg(target_arch = "x86_64")]
mod x86_halves;
#[cfg(target_arch = "x86_64")]
mod x86_int16;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, Avx512Bf16, AvxVnni};
use crate::{Format, Isa, Kernels, Matrix, Rows, Tile, simd};
use entry::functions;
#[cfg(target_arch = "x86_64")]
use int16::Int16Words;
use words::F32Words;
#[cfg(target_arch = "x86_64")]
use x86_amx::SplitBf16Words;

/// What is multiplied; sums are f32 in either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// f32 values, one a word.
    F32,
    /// Values as 13-bit multiples of a scale, two a word: a scale, then the words of [`GROUP`] values, and so on.
    Int16,
    /// Values as the sum of two bf16 ones, `high + low`, which keeps 16 bits: the high halves of 32 values in 16 words,
    /// then their low halves.
    SplitBf16,
}

/// Values that share a scale.
const GROUP: usize = 128;

impl Precision {
    /// Words of a row of `cols` values; an odd last value stands with a zero.
    pub fn words(self, cols: usize) -> usize {
        match self {
            Precision::F32 => cols,
            Precision::Int16 => cols.div_ceil(2) + cols.div_ceil(GROUP),
            Precision::SplitBf16 => cols.next_multiple_of(32),
        }
    }

    /// Words of a scale, and of a group of words with its scale.
    const fn group(self) -> (usize, usize) {
        match self {
            Precision::F32 | Precision::SplitBf16 => (0, usize::MAX),
            Precision::Int16 => (1, 1 + GROUP / 2),
        }
    }
}

/// Rows `[rows, cols]` as words, made once and multiplied with many matrices.
pub struct DenseRows {
    words: Vec<u32>,
    rows: usize,
    cols: usize,
    precision: Precision,
}

impl DenseRows {
    /// No rows.
    pub fn new(precision: Precision) -> DenseRows {
        DenseRows { words: Vec::new(), rows: 0, cols: 1, precision }
    }

    /// Gives the buffer a shape, keeping its memory. Contents are unspecified afterwards.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        assert!(cols > 0, "rows of nothing");
        self.words.resize(rows * self.precision.words(cols), 0);
        (self.rows, self.cols) = (rows, cols);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Words of a row.
    pub fn row_words(&self) -> usize {
        self.precision.words(self.cols)
    }

    /// How the values are stored.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The words of all rows, [`DenseRows::row_words`] each: threads split this slice by rows.
    pub fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words
    }
}

/// What becomes of the old contents of an output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// They are replaced.
    Set,
    /// The product is added to them.
    Add,
}

/// Keys and values of one head, packed for [`Kernels::dense_attend`].
pub struct DenseHead {
    /// Panels of keys, `[keys / width, words of head_dim, width]`, zeros after the last key.
    keys: Vec<u32>,
    /// Panels of values, `[columns / width, words of the keys, width]`, zeros as well.
    values: Vec<u32>,
    n_keys: usize,
    head_dim: usize,
    precision: Precision,
}

impl DenseHead {
    /// Room for nothing.
    pub fn new(precision: Precision) -> DenseHead {
        DenseHead { keys: Vec::new(), values: Vec::new(), n_keys: 0, head_dim: 0, precision }
    }
}

/// Buffers a thread reuses between calls.
#[derive(Default)]
pub struct DenseScratch {
    panel: Vec<u32>,
    row: Vec<f32>,
    words: Vec<u32>,
    queries: Vec<u32>,
    scores: Vec<f32>,
    output: Vec<f32>,
    sums: Vec<f32>,
}

/// A product, shapes checked: `y[m, n] = Σ_k w[n, k]·x[m, k] + bias[n]`, or added to y.
pub(crate) struct Product<'a> {
    pub(crate) w: Matrix<'a>,
    /// Empty for zeros.
    pub(crate) bias: &'a [f32],
    /// `[m, words of k]`, rows `stride` words apart.
    pub(crate) x: &'a [u32],
    pub(crate) stride: usize,
    pub(crate) store: Store,
}

/// Writes a row of values as words; see [`Kernels::dense_row`].
///
/// # Safety
/// The CPU has the level the function belongs to.
pub(crate) type ToWords = unsafe fn(x: &[f32], words: &mut [u32]);

/// The functions of one precision at one level. They are `unsafe` because each needs the CPU features of its level.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) row: ToWords,
    pub(crate) product: unsafe fn(&Product<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch),
    pack: unsafe fn(k: Rows<'_>, v: Rows<'_>, first: usize, head: &mut DenseHead),
    attend: unsafe fn(q: Rows<'_>, head: &DenseHead, scale: f32, out: &mut Tile<'_>, scratch: &mut DenseScratch),
}

/// The functions of this family at one level.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    f32: Functions,
    /// What the CPU multiplies faster than f32.
    packed: Option<(Precision, Functions)>,
}

impl Table {
    pub(crate) fn of(isa: Isa) -> Table {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Table {
                f32: functions::<Avx2, F32Words>(),
                packed: Some((Precision::Int16, functions::<Avx2, Int16Words>())),
            },
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => Table {
                f32: functions::<Avx2, F32Words>(),
                packed: Some((Precision::Int16, functions::<AvxVnni, Int16Words>())),
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Table {
                f32: functions::<Avx512, F32Words>(),
                packed: Some((Precision::Int16, functions::<Avx512, Int16Words>())),
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Table {
                f32: functions::<Avx512, F32Words>(),
                packed: Some((Precision::SplitBf16, functions::<Avx512Bf16, SplitBf16Words>())),
            },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => {
                Table { f32: functions::<simd::Neon, F32Words>(), packed: None }
            }
            _ => Table { f32: functions::<simd::Portable, F32Words>(), packed: None },
        }
    }

    /// The functions for words of [`Precision::Int16`], where the level has them. One with tiles has those of the level
    /// below.
    pub(crate) fn int16(isa: Isa) -> Option<Functions> {
        let isa = if isa == Isa::Amx { Isa::Avx512Vnni } else { isa };
        Table::of(isa).packed.filter(|(precision, _)| *precision == Precision::Int16).map(|(_, functions)| functions)
    }

    fn of_precision(&self, precision: Precision) -> &Functions {
        match precision {
            Precision::F32 => &self.f32,
            _ => match &self.packed {
                Some((packed, functions)) if *packed == precision => functions,
                _ => panic!("{precision:?} is not of `dense_precision`"),
            },
        }
    }
}

// In every method below:
// SAFETY: a `Kernels` is only made for a level this CPU has (`Kernels::select`), and the packed functions only stand
// in its table where the CPU has their instructions; the shapes they rely on are asserted before the call.
impl Kernels {
    /// The fastest precision for weights of `format`: for 16-bit and quantised ones 13-bit integers or pairs of bf16,
    /// where the CPU multiplies them faster than f32. Both keep the embeddings of a vision tower within 1e-3 of those
    /// of f32 products.
    pub fn dense_precision(&self, format: Format) -> Precision {
        match &self.dense.packed {
            Some((packed, _)) if format != Format::F32 => *packed,
            _ => Precision::F32,
        }
    }

    /// Every precision there is at this level, for measurements and tests.
    pub fn dense_precisions(&self) -> impl Iterator<Item = Precision> {
        std::iter::once(Precision::F32).chain(self.dense.packed.map(|(precision, _)| precision))
    }

    /// Writes a row of values as words.
    ///
    /// # Panics
    /// If `words` has not the length of such a row.
    pub fn dense_row(&self, precision: Precision, x: &[f32], words: &mut [u32]) {
        assert_eq!(words.len(), precision.words(x.len()), "words of {} values", x.len());
        // SAFETY: see above.
        unsafe { (self.dense.of_precision(precision).row)(x, words) }
    }

    /// `y[m, n] = Σ_k w[n, k]·x[first + m, k] + bias[n]`, or that added to y: the rows of `x` from `first` on, as many
    /// as y has. An empty `bias` is zero.
    ///
    /// # Panics
    /// If the shapes disagree: `w [n, k]`, `bias [n]`, `x [≥ first + m, k]`, `y [m, n]`.
    pub fn dense_matmul(
        &self,
        w: Matrix<'_>,
        bias: &[f32],
        (x, first): (&DenseRows, usize),
        store: Store,
        y: &mut Tile<'_>,
        scratch: &mut DenseScratch,
    ) {
        let (m, n, k) = (y.rows(), w.rows(), w.cols());
        assert_eq!((y.cols(), x.cols()), (n, k), "output columns and input columns of [{n}, {k}]");
        assert!(bias.is_empty() || bias.len() == n, "{} biases of {n}", bias.len());
        assert!(first + m <= x.rows(), "rows {first}.. of {}", x.rows());
        let words = x.row_words();
        let x_words = &x.words[first * words..(first + m) * words];
        let product = Product { w, bias, x: x_words, stride: words, store };
        // SAFETY: see above.
        unsafe { (self.dense.of_precision(x.precision).product)(&product, y, scratch) }
    }

    /// Packs keys and values `first..` of a head that has `n_keys` in all, both `[n, head_dim]`. The part that begins
    /// at 0 comes first and empties the head; the others may follow in any order.
    ///
    /// # Panics
    /// If the shapes differ or are empty, the keys go beyond `n_keys`, or `first` is not a whole number of groups of
    /// 128.
    pub fn dense_pack(&self, k: Rows<'_>, v: Rows<'_>, (first, n_keys): (usize, usize), head: &mut DenseHead) {
        assert_eq!((k.rows(), k.cols()), (v.rows(), v.cols()), "keys and values");
        assert!(k.rows() > 0 && k.cols() > 0, "[{}, {}] keys", k.rows(), k.cols());
        assert!(first.is_multiple_of(GROUP) && first + k.rows() <= n_keys, "keys {first}.. of {n_keys}");
        if first == 0 {
            (head.n_keys, head.head_dim) = (n_keys, k.cols());
        }
        assert_eq!((head.n_keys, head.head_dim), (n_keys, k.cols()), "parts of one head");
        // SAFETY: see above.
        unsafe { (self.dense.of_precision(head.precision).pack)(k, v, first, head) }
    }

    /// Full attention of some queries to all keys of a head: `out[i] = Σ_j softmax_j(scale · q[i]·k[j]) · v[j]`.
    ///
    /// # Panics
    /// If `q [n, head_dim]`, `out [n, head_dim]` and the head disagree.
    pub fn dense_attend(
        &self,
        q: Rows<'_>,
        head: &DenseHead,
        scale: f32,
        out: &mut Tile<'_>,
        scratch: &mut DenseScratch,
    ) {
        assert_eq!((q.cols(), q.rows(), q.cols()), (head.head_dim, out.rows(), out.cols()), "queries, head, output");
        // SAFETY: see above.
        unsafe { (self.dense.of_precision(head.precision).attend)(q, head, scale, out, scratch) }
    }
}
