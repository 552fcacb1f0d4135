//! Storage of keys and values: which bytes a cached row is.

use crate::Rows;
use half::f16;
use std::ops::Range;

/// Values of a [`KvBlock`].
pub const KV_BLOCK: usize = 32;

/// 32 values as GGUF's Q8_0 stores them: `x[i] = d · qs[i]`.
#[derive(Clone, Copy, Debug, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C)]
pub struct KvBlock {
    /// Scale.
    pub d: f16,
    /// Quants, `-127..=127`.
    pub qs: [i8; KV_BLOCK],
}

const _: () = assert!(size_of::<KvBlock>() == 34);

/// Positions of a page of keys and values.
pub const PAGE: usize = 64;

/// Keys, or values, of one KV head at consecutive positions: `[n, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum KvRows<'a> {
    /// f32 rows of any stride, used where they lie.
    F32(Rows<'a>),
    /// Half precision, rows back to back.
    F16(&'a [f16]),
    /// 8-bit blocks, rows back to back. `head_dim` must be a multiple of [`KV_BLOCK`].
    Q8_0(&'a [KvBlock]),
    /// Half precision in pages.
    PagedF16(KvPages<'a, f16>),
    /// 8-bit blocks in pages. `head_dim` must be a multiple of [`KV_BLOCK`].
    PagedQ8_0(KvPages<'a, KvBlock>),
}

/// Rows of one KV head in pages of a pool, [`PAGE`] rows to a page: row `r` lies in the page `pages[r / PAGE]`. A part of
/// a context is best cut out by [`KvRows::slice`], which knows what comes after it.
#[derive(Clone, Copy, Debug)]
pub struct KvPages<'a, T> {
    pub(super) pool: &'a [T],
    /// Those of the rows, then perhaps of rows after them, which may be asked for ahead.
    pub(super) pages: &'a [u32],
    pub(super) run: Run,
    rows: usize,
}

/// Where the rows of one head, keys or values, lie inside every page: `[PAGE, row_len]`, rows back to back. In units of
/// storage, values or blocks.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Units of a page; page p begins at unit `p · page_len` of the pool.
    pub page_len: usize,
    /// Where in a page the first row begins.
    pub offset: usize,
    /// Units of a row: `head_dim` values, or `head_dim / KV_BLOCK` blocks.
    pub row_len: usize,
}

impl<'a, T> KvPages<'a, T> {
    /// The first `rows` rows of the run `run` in `pages`, in their order.
    ///
    /// # Panics
    /// If a run does not lie inside its page, or a page not inside the pool, or there are too few pages.
    pub fn new(pool: &'a [T], pages: &'a [u32], run: Run, rows: usize) -> Self {
        let Run { page_len, offset, row_len } = run;
        let end = row_len.checked_mul(PAGE).and_then(|n| n.checked_add(offset));
        assert!(row_len > 0 && end.is_some_and(|end| end <= page_len), "rows of {row_len} from {offset} of {page_len}");
        let pages = pages.get(..rows.div_ceil(PAGE)).unwrap_or_else(|| panic!("{rows} rows in {} pages", pages.len()));
        let last = pages.iter().max().map_or(0, |&p| p as usize + 1);
        assert!(last <= pool.len() / page_len, "page {} of a pool of {}", last - 1, pool.len() / page_len);
        KvPages { pool, pages, run, rows }
    }

    /// The rows in `range` alone, which begin at a page.
    fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start.is_multiple_of(PAGE), "rows from {} on, in pages of {PAGE}", range.start);
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let pages = &self.pages[range.start / PAGE..];
        KvPages { pages, rows: range.len(), ..*self }
    }

    /// Where row `r` begins in the pool.
    #[inline(always)]
    fn start(&self, r: usize) -> usize {
        let Run { page_len, offset, row_len } = self.run;
        self.pages[r / PAGE] as usize * page_len + offset + r % PAGE * row_len
    }
}

/// Some consecutive rows of one page, or of rows that are not in pages: back to back in any case.
#[derive(Clone, Copy)]
pub(super) struct Span<'a, T> {
    pub data: &'a [T],
    /// Units of a row.
    pub row_len: usize,
    /// Units from a row to the one that has its place in the next span.
    pub ahead: isize,
}

/// [`Span`] of any storage.
#[derive(Clone, Copy)]
pub(super) enum AnySpan<'a> {
    F32(Rows<'a>),
    F16(Span<'a, f16>),
    Q8_0(Span<'a, KvBlock>),
}

impl<'a> KvRows<'a> {
    /// Number of rows of `head_dim` values.
    ///
    /// # Panics
    /// If the storage is not a whole number of such rows.
    pub fn rows(&self, head_dim: usize) -> usize {
        let whole = |len: usize, per_row: usize| {
            assert!(per_row > 0 && len.is_multiple_of(per_row), "{len} units in rows of {per_row}");
            len / per_row
        };
        match self {
            KvRows::F32(rows) => {
                assert_eq!(rows.cols(), head_dim, "values in a row");
                rows.rows()
            }
            KvRows::F16(data) => whole(data.len(), head_dim),
            KvRows::Q8_0(blocks) => whole(blocks.len(), blocks_of(head_dim)),
            KvRows::PagedF16(pages) => {
                assert_eq!(pages.run.row_len, head_dim, "values in a row");
                pages.rows
            }
            KvRows::PagedQ8_0(pages) => {
                assert_eq!(pages.run.row_len, blocks_of(head_dim), "blocks in a row");
                pages.rows
            }
        }
    }

    /// The rows in `range` alone; of rows in pages, it must begin at a page.
    ///
    /// # Panics
    /// If they are not all there.
    pub fn slice(&self, head_dim: usize, range: Range<usize>) -> KvRows<'a> {
        match self {
            KvRows::F32(rows) => KvRows::F32(rows.slice(range)),
            KvRows::F16(data) => KvRows::F16(&data[range.start * head_dim..range.end * head_dim]),
            KvRows::Q8_0(blocks) => {
                let n = head_dim / KV_BLOCK;
                KvRows::Q8_0(&blocks[range.start * n..range.end * n])
            }
            KvRows::PagedF16(pages) => KvRows::PagedF16(pages.slice(range)),
            KvRows::PagedQ8_0(pages) => KvRows::PagedQ8_0(pages.slice(range)),
        }
    }

    /// Rows `first..first + n` of `head_dim` values, of one page; `step` rows on begins the next span.
    #[inline(always)]
    pub(super) fn span(&self, head_dim: usize, first: usize, n: usize, step: usize) -> AnySpan<'a> {
        debug_assert!(n > 0 && n <= step && PAGE.is_multiple_of(step) && first.is_multiple_of(step));
        match self {
            KvRows::F32(rows) => AnySpan::F32(rows.slice(first..first + n)),
            KvRows::F16(data) => AnySpan::F16(Span::packed(data, head_dim, first, n, step)),
            KvRows::Q8_0(data) => AnySpan::Q8_0(Span::packed(data, head_dim / KV_BLOCK, first, n, step)),
            KvRows::PagedF16(pages) => AnySpan::F16(Span::paged(pages, head_dim, first, n, step)),
            KvRows::PagedQ8_0(pages) => AnySpan::Q8_0(Span::paged(pages, head_dim / KV_BLOCK, first, n, step)),
        }
    }
}

/// Blocks of a row of `head_dim` values.
fn blocks_of(head_dim: usize) -> usize {
    assert!(head_dim.is_multiple_of(KV_BLOCK), "rows of {head_dim} values in blocks of {KV_BLOCK}");
    head_dim / KV_BLOCK
}

impl<'a, T> Span<'a, T> {
    #[inline(always)]
    fn packed(data: &'a [T], row_len: usize, first: usize, n: usize, step: usize) -> Self {
        Span { data: &data[first * row_len..][..n * row_len], row_len, ahead: (step * row_len) as isize }
    }

    #[inline(always)]
    fn paged(pages: &KvPages<'a, T>, row_len: usize, first: usize, n: usize, step: usize) -> Self {
        let (start, next) = (pages.start(first), first + step);
        // After the last page there is nothing to bring closer.
        let ahead = if next / PAGE < pages.pages.len() { pages.start(next) as isize - start as isize } else { 0 };
        Span { data: &pages.pool[start..][..n * row_len], row_len, ahead }
    }

    /// Row `r`.
    #[inline(always)]
    pub fn row(self, r: usize) -> &'a [T] {
        &self.data[r * self.row_len..][..self.row_len]
    }
}
