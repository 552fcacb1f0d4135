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

/// Keys, or values, of one KV head at consecutive positions: `[n, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum KvRows<'a> {
    /// f32 rows of any stride, used where they lie: the vision tower keeps no cache.
    F32(Rows<'a>),
    /// Half precision, rows back to back.
    F16(&'a [f16]),
    /// 8-bit blocks, rows back to back. `head_dim` must be a multiple of [`KV_BLOCK`].
    Q8_0(&'a [KvBlock]),
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
            KvRows::Q8_0(blocks) => {
                assert!(head_dim.is_multiple_of(KV_BLOCK), "rows of {head_dim} values in blocks of {KV_BLOCK}");
                whole(blocks.len(), head_dim / KV_BLOCK)
            }
        }
    }

    /// The rows in `range` alone.
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
        }
    }
}
