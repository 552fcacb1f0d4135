//! Full attention over thousands of keys: scores and outputs are products of [`super::product`], with the softmax taken
//! block by block of keys between them.
//!
//! For a block of queries the running maximum `m`, the sum `l` and the unnormalised output `o` are carried from one
//! block of keys to the next (Milakov and Gimelshein 2018, arXiv:1805.02867):
//! `m' = max(m, max_j s_j)`, `p_j = 2^(s_j − m')`, `l' = l·2^(m − m') + Σ p_j`, `o' = o·2^(m − m') + Σ p_j v_j`.
//! Scores carry a factor log2 e, so that powers of two serve.

use super::panels::Panels;
use super::words::{Sums, Words};
use super::{DenseHead, DenseScratch, GROUP};
use crate::simd::{Simd, math};
use crate::{Rows, Tile};

/// Keys of a block: its scores for [`QUERIES`] queries stay in the second-level cache.
const KEYS: usize = 256;

/// Queries that go through the keys together.
const QUERIES: usize = 60;

/// Number and width in vectors of the panels of values: the least padding, then the fewest panels.
fn value_vectors<S: Panels>(head_dim: usize) -> (usize, usize) {
    let vectors = head_dim.div_ceil(S::LANES);
    let width = (1..=S::WIDEST).min_by_key(|&width| (vectors.next_multiple_of(width), usize::MAX - width));
    let width = width.expect("a panel has a vector");
    (vectors.div_ceil(width), width)
}

/// Packs keys and values `first..` of one head, whose shapes agree; see [`DenseHead`].
#[inline(always)]
pub(super) fn pack<S: Panels, W: Words<S>>(s: S, k: Rows<'_>, v: Rows<'_>, first: usize, head: &mut DenseHead) {
    let head_dim = k.cols();
    let padded = head.n_keys.next_multiple_of(KEYS);
    let width = S::WIDE * S::LANES;
    let words = W::PRECISION.words(head_dim);
    let (panels, vectors) = value_vectors::<S>(head_dim);
    let value_width = vectors * S::LANES;
    let value_words = W::PRECISION.words(padded);
    if first == 0 {
        // Zeros stand for the keys and columns that there are not.
        head.keys.clear();
        head.keys.resize(padded * words, 0);
        head.values.clear();
        head.values.resize(panels * value_width * value_words, 0);
    }

    let mut row = vec![0; words];
    for j in 0..k.rows() {
        W::to_words(s, k.row(j), &mut row);
        let key = first + j;
        let panel = &mut head.keys[key / width * width * words..][..width * words];
        for (slot, word) in panel[key % width..].iter_mut().step_by(width).zip(&row) {
            *slot = *word;
        }
    }

    // A column of values is a row to the product: its keys share words, and scales.
    let mut column = [0.0; GROUP];
    let mut row = vec![0; W::PRECISION.words(GROUP)];
    for start in (0..v.rows()).step_by(GROUP) {
        let n = GROUP.min(v.rows() - start);
        column[n..].fill(0.0);
        for c in 0..head_dim {
            for (j, value) in column[..n].iter_mut().enumerate() {
                *value = v.row(start + j)[c];
            }
            W::to_words(s, &column, &mut row);
            let panel = &mut head.values[c / value_width * value_width * value_words..][..value_width * value_words];
            let at = W::PRECISION.words(first + start) * value_width + c % value_width;
            for (slot, word) in panel[at..].iter_mut().step_by(value_width).zip(&row) {
                *slot = *word;
            }
        }
    }
}

/// The attention of [`super::Kernels::dense_attend`], whose shapes agree.
#[inline(always)]
pub(super) fn attend<S: Panels, W: Words<S>>(
    s: S,
    q: Rows<'_>,
    head: &DenseHead,
    scale: f32,
    out: &mut Tile<'_>,
    scratch: &mut DenseScratch,
) {
    let factor = scale * std::f32::consts::LOG2_E;
    for first in (0..q.rows()).step_by(QUERIES) {
        let n = QUERIES.min(q.rows() - first);
        attend_block::<S, W>(s, q.slice(first..first + n), head, factor, scratch);
        let width = scratch.output.len() / n;
        for i in 0..n {
            let inverse = 1.0 / scratch.sums[i];
            for (value, sum) in out.row_mut(first + i).iter_mut().zip(&scratch.output[i * width..]) {
                *value = sum * inverse;
            }
        }
    }
}

/// Scores of some keys, in rows of [`KEYS`].
struct Scores<'a>(&'a mut [f32]);

impl<S: Simd> Sums<S> for Scores<'_> {
    #[inline(always)]
    fn take(&mut self, s: S, i: usize, j: usize, sum: S::F32) {
        s.store(sum, &mut self.0[i * KEYS + j * S::LANES..]);
    }
}

/// Outputs that sums are added to, rows so many values apart.
struct Outputs<'a>(&'a mut [f32], usize);

impl<S: Simd> Sums<S> for Outputs<'_> {
    #[inline(always)]
    fn take(&mut self, s: S, i: usize, j: usize, sum: S::F32) {
        let out = &mut self.0[i * self.1 + j * S::LANES..][..S::LANES];
        s.store(s.add(sum, s.load(out)), out);
    }
}

/// Leaves the unnormalised outputs `[queries, padded head_dim]` in `scratch.output` and the sums in `scratch.sums`.
#[inline(always)]
fn attend_block<S: Panels, W: Words<S>>(s: S, q: Rows<'_>, head: &DenseHead, factor: f32, scratch: &mut DenseScratch) {
    let (n, head_dim) = (q.rows(), head.head_dim);
    let q_words = W::PRECISION.words(head_dim);
    let p_words = W::PRECISION.words(KEYS);
    let key_width = S::WIDE * S::LANES;
    let (panels, vectors) = value_vectors::<S>(head_dim);
    let width = vectors * S::LANES;
    let all_words = W::PRECISION.words(head.n_keys.next_multiple_of(KEYS));

    let DenseScratch { row, words, queries, scores, output, sums, .. } = scratch;
    queries.resize(n * q_words, 0);
    row.resize(head_dim, 0.0);
    for i in 0..n {
        for (scaled, value) in row.iter_mut().zip(q.row(i)) {
            *scaled = value * factor;
        }
        W::to_words(s, row, &mut queries[i * q_words..][..q_words]);
    }
    scores.resize(n * KEYS, 0.0);
    words.resize(n * p_words, 0);
    output.clear();
    output.resize(n * panels * width, 0.0);
    sums.clear();
    sums.resize(n, 0.0);
    let mut maxima = [f32::NEG_INFINITY; QUERIES];

    for first in (0..head.n_keys).step_by(KEYS) {
        let seen = KEYS.min(head.n_keys - first);
        for start in (0..seen).step_by(key_width) {
            let panel = &head.keys[(first + start) * q_words..][..key_width * q_words];
            let mut out = Scores(&mut scores[start..]);
            W::rows_by_vectors(s, (queries, q_words, q_words), n, panel, S::WIDE, &mut out);
        }
        for i in 0..n {
            let scores = &mut scores[i * KEYS..][..KEYS];
            scores[seen..].fill(f32::NEG_INFINITY);
            let (maximum, sum) = softmax_block(s, scores, maxima[i]);
            let keep = (maxima[i] - maximum).exp2();
            maxima[i] = maximum;
            sums[i] = sums[i] * keep + sum;
            if keep != 1.0 {
                output[i * panels * width..][..panels * width].iter_mut().for_each(|value| *value *= keep);
            }
            W::to_words(s, scores, &mut words[i * p_words..][..p_words]);
        }
        let start = W::PRECISION.words(first);
        let depth = W::PRECISION.words(seen);
        for panel in 0..panels {
            let values = &head.values[(panel * all_words + start) * width..][..depth * width];
            let mut out = Outputs(&mut output[panel * width..], panels * width);
            W::rows_by_vectors(s, (words, p_words, depth), n, values, vectors, &mut out);
        }
    }
}

/// Turns scores into `2^(score − maximum)`, for the maximum of them and of `maximum`; returns it and their sum. They
/// are a whole number of vectors.
#[inline(always)]
fn softmax_block<S: Simd>(s: S, scores: &mut [f32], maximum: f32) -> (f32, f32) {
    let mut best = s.splat(maximum);
    for chunk in scores.chunks_exact(S::LANES) {
        best = s.max(best, s.load(chunk));
    }
    let mut lanes = [0.0; 16];
    s.store(best, &mut lanes);
    let best = lanes[..S::LANES].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (shift, mut sum) = (s.splat(best), s.splat(0.0));
    for chunk in scores.chunks_exact_mut(S::LANES) {
        let p = math::exp2(s, s.sub(s.load(chunk), shift));
        sum = s.add(sum, p);
        s.store(p, chunk);
    }
    s.store(sum, &mut lanes);
    (best, lanes[..S::LANES].iter().sum())
}
