//! Full attention over thousands of keys: scores and outputs are products of [`super::product`], with the softmax taken
//! block by block of keys between them.
//!
//! For a block of queries the running maximum `m`, the sum `l` and the unnormalised output `o` are carried from one
//! block of keys to the next (Milakov and Gimelshein 2018, arXiv:1805.02867):
//! `m' = max(m, max_j s_j)`, `p_j = 2^(s_j − m')`, `l' = l·2^(m − m') + Σ p_j`, `o' = o·2^(m − m') + Σ p_j v_j`.
//! Scores carry a factor log2 e, so that powers of two serve.

use super::lanes::{Lanes, Sums, exp2};
use super::{DenseHead, DenseScratch, GROUP};
use crate::{Rows, Tile};
use std::marker::PhantomData;

/// Keys of a block: its scores for [`QUERIES`] queries stay in the second-level cache.
const KEYS: usize = 256;

/// Queries that go through the keys together.
const QUERIES: usize = 60;

/// Number and width in vectors of the panels of values: the least padding, then the fewest panels.
fn value_vectors<L: Lanes>(head_dim: usize) -> (usize, usize) {
    let vectors = head_dim.div_ceil(L::N);
    let width = (1..=L::WIDEST).min_by_key(|&width| (vectors.next_multiple_of(width), usize::MAX - width));
    let width = width.expect("a panel has a vector");
    (vectors.div_ceil(width), width)
}

/// Packs keys and values `first..` of one head; see [`DenseHead`].
///
/// # Safety
/// The CPU has the level, and the shapes agree.
#[inline(always)]
pub(super) unsafe fn pack<L: Lanes>(k: Rows<'_>, v: Rows<'_>, first: usize, head: &mut DenseHead) {
    let head_dim = k.cols();
    let padded = head.n_keys.next_multiple_of(KEYS);
    let width = L::WIDE * L::N;
    let words = L::PRECISION.words(head_dim);
    let (panels, vectors) = value_vectors::<L>(head_dim);
    let value_width = vectors * L::N;
    let value_words = L::PRECISION.words(padded);
    if first == 0 {
        // Zeros stand for the keys and columns that there are not.
        head.keys.clear();
        head.keys.resize(padded * words, 0);
        head.values.clear();
        head.values.resize(panels * value_width * value_words, 0);
    }

    let mut row = vec![0; words];
    for j in 0..k.rows() {
        // SAFETY: the level as the caller.
        unsafe { L::to_words(k.row(j), &mut row) };
        let key = first + j;
        let panel = &mut head.keys[key / width * width * words..][..width * words];
        for (slot, word) in panel[key % width..].iter_mut().step_by(width).zip(&row) {
            *slot = *word;
        }
    }

    // A column of values is a row to the product: its keys share words, and scales.
    let mut column = [0.0; GROUP];
    let mut row = vec![0; L::PRECISION.words(GROUP)];
    for start in (0..v.rows()).step_by(GROUP) {
        let n = GROUP.min(v.rows() - start);
        column[n..].fill(0.0);
        for c in 0..head_dim {
            for (j, value) in column[..n].iter_mut().enumerate() {
                *value = v.row(start + j)[c];
            }
            // SAFETY: the level as the caller.
            unsafe { L::to_words(&column, &mut row) };
            let panel = &mut head.values[c / value_width * value_width * value_words..][..value_width * value_words];
            let at = L::PRECISION.words(first + start) * value_width + c % value_width;
            for (slot, word) in panel[at..].iter_mut().step_by(value_width).zip(&row) {
                *slot = *word;
            }
        }
    }
}

/// The attention of [`super::Kernels::dense_attend`].
///
/// # Safety
/// The CPU has the level, and the shapes agree.
#[inline(always)]
pub(super) unsafe fn attend<L: Lanes>(
    q: Rows<'_>,
    head: &DenseHead,
    scale: f32,
    out: &mut Tile<'_>,
    scratch: &mut DenseScratch,
) {
    let factor = scale * std::f32::consts::LOG2_E;
    for first in (0..q.rows()).step_by(QUERIES) {
        let n = QUERIES.min(q.rows() - first);
        // SAFETY: as the caller.
        unsafe { attend_block::<L>(q.slice(first..first + n), head, factor, scratch) };
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
struct Scores<'a, L>(&'a mut [f32], PhantomData<L>);

impl<L: Lanes> Sums<L::V> for Scores<'_, L> {
    #[inline(always)]
    unsafe fn take(&mut self, i: usize, j: usize, sum: L::V) {
        // SAFETY: the level as the caller; a whole vector of the slice.
        unsafe { L::store(self.0[i * KEYS + j * L::N..][..L::N].as_mut_ptr(), sum) };
    }
}

/// Outputs that sums are added to, rows so many values apart.
struct Outputs<'a, L>(&'a mut [f32], usize, PhantomData<L>);

impl<L: Lanes> Sums<L::V> for Outputs<'_, L> {
    #[inline(always)]
    unsafe fn take(&mut self, i: usize, j: usize, sum: L::V) {
        let out = &mut self.0[i * self.1 + j * L::N..][..L::N];
        // SAFETY: the level as the caller; a whole vector of the slice.
        unsafe { L::store(out.as_mut_ptr(), L::add(sum, L::load(out.as_ptr()))) };
    }
}

/// Leaves the unnormalised outputs `[queries, padded head_dim]` in `scratch.output` and the sums in `scratch.sums`.
#[inline(always)]
unsafe fn attend_block<L: Lanes>(q: Rows<'_>, head: &DenseHead, factor: f32, scratch: &mut DenseScratch) {
    let (n, head_dim) = (q.rows(), head.head_dim);
    let q_words = L::PRECISION.words(head_dim);
    let p_words = L::PRECISION.words(KEYS);
    let key_width = L::WIDE * L::N;
    let (panels, vectors) = value_vectors::<L>(head_dim);
    let width = vectors * L::N;
    let all_words = L::PRECISION.words(head.n_keys.next_multiple_of(KEYS));

    let DenseScratch { row, words, queries, scores, output, sums, .. } = scratch;
    queries.resize(n * q_words, 0);
    row.resize(head_dim, 0.0);
    for i in 0..n {
        for (scaled, value) in row.iter_mut().zip(q.row(i)) {
            *scaled = value * factor;
        }
        // SAFETY: the level as the caller.
        unsafe { L::to_words(row, &mut queries[i * q_words..][..q_words]) };
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
        // SAFETY: the level as the caller.
        unsafe {
            for start in (0..seen).step_by(key_width) {
                let panel = &head.keys[(first + start) * q_words..][..key_width * q_words];
                let mut out = Scores::<L>(&mut scores[start..], PhantomData);
                L::rows_by_vectors((queries, q_words, q_words), n, panel, L::WIDE, &mut out);
            }
        }
        for i in 0..n {
            let scores = &mut scores[i * KEYS..][..KEYS];
            scores[seen..].fill(f32::NEG_INFINITY);
            // SAFETY: the level as the caller.
            let (maximum, sum) = unsafe { softmax_part::<L>(scores, maxima[i]) };
            let keep = (maxima[i] - maximum).exp2();
            maxima[i] = maximum;
            sums[i] = sums[i] * keep + sum;
            if keep != 1.0 {
                output[i * panels * width..][..panels * width].iter_mut().for_each(|value| *value *= keep);
            }
            // SAFETY: the level as the caller.
            unsafe { L::to_words(scores, &mut words[i * p_words..][..p_words]) };
        }
        let start = L::PRECISION.words(first);
        let depth = L::PRECISION.words(seen);
        for panel in 0..panels {
            let values = &head.values[(panel * all_words + start) * width..][..depth * width];
            // SAFETY: the level as the caller.
            unsafe {
                let mut out = Outputs::<L>(&mut output[panel * width..], panels * width, PhantomData);
                L::rows_by_vectors((words, p_words, depth), n, values, vectors, &mut out);
            }
        }
    }
}

/// Turns scores into `2^(score − maximum)`, for the maximum of them and of `maximum`; returns it and their sum.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn softmax_part<L: Lanes>(scores: &mut [f32], maximum: f32) -> (f32, f32) {
    // SAFETY: the level as the caller; `chunks_exact` gives whole vectors, and `KEYS` is a whole number of them.
    unsafe {
        let mut best = L::splat(maximum);
        for chunk in scores.chunks_exact(L::N) {
            best = L::max(best, L::load(chunk.as_ptr()));
        }
        let mut lanes = [0.0; 16];
        L::store(lanes.as_mut_ptr(), best);
        let best = lanes[..L::N].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (shift, mut sum) = (L::splat(best), L::splat(0.0));
        for chunk in scores.chunks_exact_mut(L::N) {
            let p = exp2::<L>(L::sub(L::load(chunk.as_ptr()), shift));
            sum = L::add(sum, p);
            L::store(chunk.as_mut_ptr(), p);
        }
        L::store(lanes.as_mut_ptr(), sum);
        (best, lanes[..L::N].iter().sum())
    }
}
