//! Softmax attention of the query heads that share one KV head: whole, for many tokens at once, and in parts over the
//! context, for few.
//!
//! A call sees one KV head. Query head `a` of the `group` of heads that share it and token `i` make row
//! `i · group + a`; all rows read each key and value once together.

mod kv;
mod scalar;
#[cfg(test)]
mod tests;
mod vector;

use crate::{Kernels, Rows, Tile, simd};
pub use kv::{KV_BLOCK, KvBlock, KvPages, KvRows, PAGE, Run};

/// Positions of the context that one partial result covers. Fixed, so that results do not depend on how many threads
/// share the work.
pub const CONTEXT_CHUNK: usize = 512;

/// Query vectors: for each of `tokens` tokens, the `group` heads that share a KV head, `head_dim` values each.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    data: &'a [f32],
    tokens: usize,
    group: usize,
    head_dim: usize,
    token_stride: usize,
    head_stride: usize,
}

impl<'a> Queries<'a> {
    /// Head `a` of token `t` is the `head_dim` values at `data[t · token_stride + a · head_stride]`.
    ///
    /// # Panics
    /// If the last of them would reach past the end of `data`, or there is no head or no dimension.
    pub fn new(
        data: &'a [f32],
        tokens: usize,
        group: usize,
        head_dim: usize,
        token_stride: usize,
        head_stride: usize,
    ) -> Self {
        assert!(group > 0 && head_dim > 0, "{group} heads of {head_dim}");
        let queries = Queries { data, tokens, group, head_dim, token_stride, head_stride };
        if tokens > 0 {
            let last = (tokens - 1)
                .checked_mul(token_stride)
                .zip((group - 1).checked_mul(head_stride))
                .and_then(|(t, a)| t.checked_add(a)?.checked_add(head_dim));
            assert!(last.is_some_and(|end| end <= data.len()), "{tokens} tokens, {} values", data.len());
        }
        queries
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Query heads of a token.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Values of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Rows in all, `tokens · group`.
    pub fn rows(&self) -> usize {
        self.tokens * self.group
    }

    /// Row `token · group + head`.
    fn row(&self, row: usize) -> &'a [f32] {
        let (token, head) = (row / self.group, row % self.group);
        &self.data[token * self.token_stride + head * self.head_stride..][..self.head_dim]
    }
}

/// Which keys a token sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// All of them.
    Full,
    /// Token `i` of the call stands at row `first + i` of the keys and sees that row and those before it. `first` may
    /// be negative when the keys of the call begin later than the token: then it may see none.
    Causal {
        /// Row of the first token.
        first: isize,
    },
}

impl Mask {
    /// How many of `n` keys token `i` sees.
    fn visible(self, token: usize, n: usize) -> usize {
        match self {
            Mask::Full => n,
            Mask::Causal { first } => usize::try_from(first + token as isize + 1).unwrap_or(0).min(n),
        }
    }
}

/// Everything one call of a kernel needs but its output; shapes agree.
#[derive(Clone, Copy)]
struct Attention<'a> {
    q: Queries<'a>,
    k: KvRows<'a>,
    v: KvRows<'a>,
    n_keys: usize,
    mask: Mask,
    scale: f32,
}

/// The functions of this family at one level, `unsafe` for the CPU features they need; shapes as asserted below.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    attend: unsafe fn(&Attention<'_>, out: &mut Tile<'_>, scratch: &mut Vec<f32>),
    attend_partial: unsafe fn(&Attention<'_>, partial: &mut [f32], scratch: &mut Vec<f32>),
    /// One row: its partial results are the `out.len() + 2` values from `at` on, in every row of `partials`.
    merge: unsafe fn(partials: &Rows<'_>, at: usize, out: &mut [f32]),
    quantize: unsafe fn(x: &[f32], out: &mut [KvBlock]),
}

simd::levels::tables! {
    attend(call: &Attention<'_>, out: &mut Tile<'_>, scratch: &mut Vec<f32>);
    attend_partial(call: &Attention<'_>, partial: &mut [f32], scratch: &mut Vec<f32>);
    merge(partials: &Rows<'_>, at: usize, out: &mut [f32]);
    quantize(x: &[f32], out: &mut [KvBlock]);
}

/// Values of the partial result of one chunk: `[rows, head_dim + 2]`.
pub fn partial_len(q: &Queries<'_>) -> usize {
    q.rows() * (q.head_dim() + 2)
}

impl Kernels {
    /// `out = softmax(scale · Q Kᵀ, masked) V` for a block of tokens and the query heads that share one KV head.
    ///
    /// `out [tokens, group · head_dim]`, heads side by side. Meant for 8 tokens or more in a call (16 to 64 read the
    /// keys least often); right for any number. `scratch` grows to what is needed: keep one per thread.
    ///
    /// A token's result does not depend on which tokens share its call, nor on keys that it does not see if their
    /// values are finite: keys are taken in blocks counted from the first one.
    ///
    /// # Panics
    /// If a shape disagrees, or a token would see no key or one that is not there.
    #[allow(clippy::too_many_arguments)]
    pub fn attend(
        &self,
        q: &Queries<'_>,
        k: &KvRows<'_>,
        v: &KvRows<'_>,
        mask: Mask,
        scale: f32,
        out: &mut Tile<'_>,
        scratch: &mut Vec<f32>,
    ) {
        assert_eq!((out.rows(), out.cols()), (q.tokens, q.group * q.head_dim), "outputs");
        let call = Attention::new(q, k, v, mask, scale);
        if q.tokens == 0 {
            return;
        }
        assert!(mask.visible(0, call.n_keys) > 0, "the first token sees no key");
        if let Mask::Causal { first } = mask {
            let last = first + q.tokens as isize;
            assert!(last <= call.n_keys as isize, "{} keys, the last token stands at {}", call.n_keys, last - 1);
        }
        // SAFETY: this table was made for a level this CPU has (`Kernels::select`).
        unsafe { (self.attention.attend)(&call, out, scratch) }
    }

    /// Attention over one chunk of the context, to be joined by [`Kernels::attend_merge`]: lets threads share the
    /// context of one token, or of the few tokens of a draft under verification.
    ///
    /// `partial` is [`partial_len`] values, `[rows, head_dim + 2]`: the largest score `m`, `Σ e^(s−m)`, and
    /// `Σ e^(s−m) v` over the chunk. A row that sees none of its keys has `m = f32::MIN` and zeros.
    ///
    /// A row's result does not depend on which rows share its call, nor on keys that it does not see if their values
    /// are finite. It is not to the bit that of [`Kernels::attend`].
    ///
    /// # Panics
    /// If a shape disagrees.
    #[allow(clippy::too_many_arguments)]
    pub fn attend_partial(
        &self,
        q: &Queries<'_>,
        k: &KvRows<'_>,
        v: &KvRows<'_>,
        mask: Mask,
        scale: f32,
        partial: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        assert_eq!(partial.len(), partial_len(q), "partial result");
        let call = Attention::new(q, k, v, mask, scale);
        // SAFETY: this table was made for a level this CPU has (`Kernels::select`).
        unsafe { (self.attention.attend_partial)(&call, partial, scratch) }
    }

    /// Joins the partial results of all chunks of a context, in their order: `out [tokens, group · head_dim]`.
    /// `partials`: a row for each chunk, [`partial_len`] values.
    ///
    /// # Panics
    /// If a shape disagrees or there is no chunk.
    pub fn attend_merge(&self, partials: &Rows<'_>, head_dim: usize, out: &mut Tile<'_>) {
        let group = out.cols() / head_dim;
        assert!(partials.rows() > 0, "no chunk");
        assert_eq!(out.cols(), group * head_dim, "outputs of heads of {head_dim}");
        assert_eq!(partials.cols(), out.rows() * group * (head_dim + 2), "partial result");
        for token in 0..out.rows() {
            for (head, out) in out.row_mut(token).chunks_exact_mut(head_dim).enumerate() {
                let at = (token * group + head) * (head_dim + 2);
                // SAFETY: this table was made for a level this CPU has (`Kernels::select`).
                unsafe { (self.attention.merge)(partials, at, out) }
            }
        }
    }

    /// Stores a row of keys or values in 8-bit blocks: `d = max|x| / 127` over 32 values, quants rounded to nearest
    /// with the exact d, then d as f16.
    ///
    /// # Panics
    /// If `x` is not [`KV_BLOCK`] values a block.
    pub fn quantize_kv(&self, x: &[f32], out: &mut [KvBlock]) {
        assert_eq!(x.len(), out.len() * KV_BLOCK);
        // SAFETY: this table was made for a level this CPU has (`Kernels::select`).
        unsafe { (self.attention.quantize)(x, out) }
    }
}

impl<'a> Attention<'a> {
    fn new(q: &Queries<'a>, k: &KvRows<'a>, v: &KvRows<'a>, mask: Mask, scale: f32) -> Self {
        let n_keys = k.rows(q.head_dim);
        assert_eq!(v.rows(q.head_dim), n_keys, "values for {n_keys} keys");
        Attention { q: *q, k: *k, v: *v, n_keys, mask, scale }
    }
}
