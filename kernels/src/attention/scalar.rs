//! The reference: one query row at a time, two passes over its scores, sums in f64.

use super::{Attention, KV_BLOCK, KvBlock, KvPages, KvRows, PAGE, Table};
use crate::{Rows, Tile};
use half::f16;

pub(super) const TABLE: Table = Table { attend, attend_partial, merge, quantize };

/// Value `i` of row `r`.
fn value(rows: &KvRows<'_>, head_dim: usize, r: usize, i: usize) -> f32 {
    match rows {
        KvRows::F32(rows) => rows.row(r)[i],
        KvRows::F16(data) => data[r * head_dim + i].to_f32_const(),
        KvRows::Q8_0(blocks) => quant(&blocks[r * (head_dim / KV_BLOCK) + i / KV_BLOCK], i),
        KvRows::PagedF16(pages) => unit(pages, r, i).to_f32_const(),
        KvRows::PagedQ8_0(pages) => quant(&unit(pages, r, i / KV_BLOCK), i),
    }
}

/// Value `i` of a row of which this is the block.
fn quant(block: &KvBlock, i: usize) -> f32 {
    block.d.to_f32_const() * f32::from(block.qs[i % KV_BLOCK])
}

/// Unit `i` of row `r`.
fn unit<T: Copy>(pages: &KvPages<'_, T>, r: usize, i: usize) -> T {
    let page = pages.pool.chunks_exact(pages.run.page_len).nth(pages.pages[r / PAGE] as usize).expect("a page");
    page[pages.run.offset..].chunks_exact(pages.run.row_len).nth(r % PAGE).expect("a row")[i]
}

/// Writes `Σ e^(s−m) v` of one row to `out`; returns `m` and `Σ e^(s−m)`.
fn row(call: &Attention<'_>, row: usize, out: &mut [f32]) -> (f32, f32) {
    let d = call.q.head_dim();
    let n = call.mask.visible(row / call.q.group(), call.n_keys);
    let score = |j: usize| -> f32 {
        let dot: f64 =
            call.q.row(row).iter().enumerate().map(|(i, q)| f64::from(*q) * f64::from(value(&call.k, d, j, i))).sum();
        (dot * f64::from(call.scale)) as f32
    };
    let scores: Vec<f32> = (0..n).map(score).collect();
    let max = scores.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f64> = scores.iter().map(|s| f64::from(s - max).exp()).collect();
    for (i, out) in out.iter_mut().enumerate() {
        *out = weights.iter().enumerate().map(|(j, w)| w * f64::from(value(&call.v, d, j, i))).sum::<f64>() as f32;
    }
    (max, weights.iter().sum::<f64>() as f32)
}

fn attend(call: &Attention<'_>, out: &mut Tile<'_>, _scratch: &mut Vec<f32>) {
    for token in 0..call.q.tokens() {
        for (head, out) in out.row_mut(token).chunks_exact_mut(call.q.head_dim()).enumerate() {
            let (_, sum) = row(call, token * call.q.group() + head, out);
            out.iter_mut().for_each(|o| *o /= sum);
        }
    }
}

fn attend_partial(call: &Attention<'_>, partial: &mut [f32], _scratch: &mut Vec<f32>) {
    for (r, partial) in partial.chunks_exact_mut(call.q.head_dim() + 2).enumerate() {
        let (head, values) = partial.split_at_mut(2);
        (head[0], head[1]) = row(call, r, values);
    }
}

fn merge(partials: &Rows<'_>, at: usize, out: &mut [f32]) {
    let partial = |chunk: usize| &partials.row(chunk)[at..][..out.len() + 2];
    let max = (0..partials.rows()).map(|c| partial(c)[0]).fold(f32::MIN, f32::max);
    let weight = |chunk: usize| f64::from(partial(chunk)[0] - max).exp();
    let sum: f64 = (0..partials.rows()).map(|c| weight(c) * f64::from(partial(c)[1])).sum();
    let value = |i: usize| (0..partials.rows()).map(|c| weight(c) * f64::from(partial(c)[2 + i])).sum::<f64>() / sum;
    let values: Vec<f32> = (0..out.len()).map(|i| value(i) as f32).collect();
    out.copy_from_slice(&values);
}

fn quantize(x: &[f32], out: &mut [KvBlock]) {
    for (x, block) in x.chunks_exact(KV_BLOCK).zip(out) {
        let d = x.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
        let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
        block.d = f16::from_f32_const(d);
        for (q, x) in block.qs.iter_mut().zip(x) {
            *q = (x * inverse).round_ties_even() as i8;
        }
    }
}
