//! Every level against softmax attention in f64.

use super::{CONTEXT_CHUNK, KV_BLOCK, KvBlock, KvPages, KvRows, Mask, PAGE, Queries, Run, partial_len};
use crate::conformance::{Rng, assert_near, vector_levels};
use crate::{Kernels, Rows, Tile};
use bytemuck::Zeroable;
use half::f16;
use std::ops::Range;

/// The storages of keys and values.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    F32,
    F16,
    Q8_0,
    PagedF16,
    PagedQ8_0,
}

use Kind::*;

impl Kind {
    const ALL: [Kind; 5] = [F32, F16, Q8_0, PagedF16, PagedQ8_0];

    fn suits(self, head_dim: usize) -> bool {
        !matches!(self, Q8_0 | PagedQ8_0) || head_dim.is_multiple_of(KV_BLOCK)
    }
}

/// Keys or values in one of the storages, and as the numbers that are really stored.
struct Stored {
    exact: Vec<f32>,
    f16: Vec<f16>,
    q8_0: Vec<KvBlock>,
    pages: Vec<u32>,
    kind: Kind,
    d: usize,
}

/// The pages of a pool in which the run `run` has the rows of `data`, all else being `filler`: out of order, and never
/// the pool's first or last.
fn paged<T: Copy>(data: &[T], run: Run, filler: T) -> (Vec<T>, Vec<u32>) {
    let n = data.len().div_ceil(PAGE * run.row_len);
    let pages: Vec<u32> = (1..=n as u32).rev().collect();
    let mut pool = vec![filler; (n + 2) * run.page_len];
    for (page, rows) in pages.iter().zip(data.chunks(PAGE * run.row_len)) {
        pool[*page as usize * run.page_len + run.offset..][..rows.len()].copy_from_slice(rows);
    }
    (pool, pages)
}

impl Stored {
    fn new(seed: u64, n: usize, d: usize, scale: f32, kind: Kind) -> Self {
        let scalar = Kernels::select(Some(crate::Isa::Scalar)).unwrap();
        let exact = Rng(seed).values(n * d, scale);
        let mut stored = Stored { exact, f16: Vec::new(), q8_0: Vec::new(), pages: Vec::new(), kind, d };
        let exact = &mut stored.exact;
        match kind {
            F32 => {}
            F16 | PagedF16 => {
                stored.f16 = vec![f16::ZERO; n * d];
                scalar.f32_to_f16(exact, &mut stored.f16);
                scalar.f16_to_f32(&stored.f16, exact);
            }
            Q8_0 | PagedQ8_0 => {
                stored.q8_0 = vec![KvBlock::zeroed(); n * d / KV_BLOCK];
                scalar.quantize_kv(exact, &mut stored.q8_0);
                *exact = stored.q8_0.iter().flat_map(|b| b.qs.map(|q| f32::from(q) * b.d.to_f32())).collect();
            }
        }
        match kind {
            PagedF16 => (stored.f16, stored.pages) = paged(&stored.f16, stored.run(), f16::NAN),
            PagedQ8_0 => {
                let filler = KvBlock { d: f16::NAN, ..KvBlock::zeroed() };
                (stored.q8_0, stored.pages) = paged(&stored.q8_0, stored.run(), filler);
            }
            _ => {}
        }
        stored
    }

    fn run(&self) -> Run {
        let row_len = if self.kind == PagedF16 { self.d } else { self.d / KV_BLOCK };
        Run { page_len: 3 * PAGE * row_len + 5, offset: PAGE * row_len + 3, row_len }
    }

    fn rows(&self) -> KvRows<'_> {
        let n = self.exact.len() / self.d;
        match self.kind {
            F32 => KvRows::F32(Rows::new(&self.exact, n, self.d, self.d)),
            F16 => KvRows::F16(&self.f16),
            Q8_0 => KvRows::Q8_0(&self.q8_0),
            PagedF16 => KvRows::PagedF16(KvPages::new(&self.f16, &self.pages, self.run(), n)),
            PagedQ8_0 => KvRows::PagedQ8_0(KvPages::new(&self.q8_0, &self.pages, self.run(), n)),
        }
    }
}

/// Attention in f64, `[rows, d]`.
fn oracle(q: &Queries<'_>, k: &[f32], v: &[f32], mask: Mask, scale: f32) -> Vec<f64> {
    let d = q.head_dim();
    let mut out = vec![0.0; q.rows() * d];
    for (r, out) in out.chunks_exact_mut(d).enumerate() {
        let n = mask.visible(r / q.group(), k.len() / d);
        let dot = |k: &[f32]| -> f64 { q.row(r).iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
        let scores: Vec<f64> = k.chunks_exact(d).take(n).map(|k| dot(k) * f64::from(scale)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        for (s, v) in scores.iter().zip(v.chunks_exact(d)) {
            let weight = (s - max).exp() / sum;
            out.iter_mut().zip(v).for_each(|(o, v)| *o += weight * f64::from(*v));
        }
    }
    out
}

#[test]
fn attention_matches_f64_at_any_shape() {
    let shapes = [
        // tokens, group, head_dim, tokens before
        (1, 1, 1, 0),
        (1, 4, 256, 0),
        (2, 2, 16, 0),
        (3, 4, 32, 7),
        (8, 4, 64, 56),
        (9, 4, 256, 63),
        (9, 4, 128, 64),
        (17, 3, 24, 130),
        (33, 1, 72, 0),
        (65, 1, 20, 1),
        (5, 8, 64, 150),
    ];
    for (tokens, group, d, before) in shapes {
        let small = tokens * group * d < 4000;
        let large = [(F32, 30.0), (F16, 300.0)];
        for (kind, scale) in Kind::ALL.map(|kind| (kind, 1.0)).into_iter().chain(large) {
            if !kind.suits(d) || scale > 1.0 && !small {
                continue;
            }
            let n = before + tokens;
            let (k, v) = (Stored::new(1, n, d, scale, kind), Stored::new(2, n, d, 3.0, kind));
            let data = Rng(3).values(tokens * group * (2 * d), scale);
            let q = Queries::new(&data, tokens, group, d, 2 * d * group, 2 * d);
            for mask in [Mask::Causal { first: before as isize }, Mask::Full] {
                let expected = oracle(&q, &k.exact, &v.exact, mask, 0.0625);
                for kernels in vector_levels() {
                    let what =
                        format!("{} {tokens}x{group}x{d} after {before}, {kind:?} {scale} {mask:?}", kernels.isa());
                    let mut out = vec![f32::NAN; tokens * (group * d + 2)];
                    let mut tile = Tile::new(&mut out, group * d + 2);
                    let (q, k, v) = (&q, &k.rows(), &v.rows());
                    kernels.attend(q, k, v, mask, 0.0625, &mut tile.columns(1..group * d + 1), &mut Vec::new());
                    let mut got = Vec::new();
                    for row in out.chunks_exact(group * d + 2) {
                        assert!(row[0].is_nan() && row[group * d + 1].is_nan(), "{what}: wrote outside its columns");
                        got.extend_from_slice(&row[1..=group * d]);
                    }
                    // Large scores turn the rounding of a dot product into a factor of the weights.
                    assert_near(&what, &got, &expected, if scale > 1.0 { 3e-3 } else { 3e-6 });
                }
            }
        }
    }
}

#[test]
fn attention_in_chunks_of_the_context_is_the_same_attention() {
    for (tokens, group, d) in
        [(1, 4, 256), (1, 1, 16), (1, 3, 72), (1, 8, 64), (2, 4, 256), (4, 2, 32), (8, 4, 64), (1, 6, 128)]
    {
        for n in [1, 2, 17, 63, 512, 513, 1030].map(|n: usize| n.max(tokens)) {
            for kind in Kind::ALL {
                if n > 600 && d * tokens > 256 || !kind.suits(d) {
                    continue;
                }
                let (k, v) = (Stored::new(1, n, d, 2.0, kind), Stored::new(2, n, d, 3.0, kind));
                let data = Rng(3).values(tokens * group * d, 2.0);
                let q = Queries::new(&data, tokens, group, d, group * d, d);
                let first = (n - tokens) as isize;
                let expected = oracle(&q, &k.exact, &v.exact, Mask::Causal { first }, 0.125);
                for kernels in vector_levels() {
                    let chunks = n.div_ceil(CONTEXT_CHUNK);
                    let mut partials = vec![f32::NAN; chunks * partial_len(&q)];
                    for (c, partial) in partials.chunks_exact_mut(partial_len(&q)).enumerate() {
                        let at = c * CONTEXT_CHUNK;
                        let range = at..n.min(at + CONTEXT_CHUNK);
                        let (k, v) = (k.rows().slice(d, range.clone()), v.rows().slice(d, range));
                        let mask = Mask::Causal { first: first - at as isize };
                        kernels.attend_partial(&q, &k, &v, mask, 0.125, partial, &mut Vec::new());
                    }
                    let mut out = vec![f32::NAN; tokens * group * d];
                    let rows = Rows::new(&partials, chunks, partial_len(&q), partial_len(&q));
                    kernels.attend_merge(&rows, d, &mut Tile::new(&mut out, group * d));
                    let what = format!("{} {tokens}x{group}x{d} over {n}, {kind:?}", kernels.isa());
                    assert_near(&what, &out, &expected, 4e-6);
                }
            }
        }
    }
}

#[test]
fn a_row_of_zeros_takes_the_mean_and_one_of_nan_spoils_no_other() {
    let (tokens, group, d, n) = (12, 4, 64, 70);
    let (k, v) = (Stored::new(1, n, d, 1.0, F16), Stored::new(2, n, d, 1.0, F16));
    let mut data = Rng(3).values(tokens * group * d, 1.0);
    data[5 * d..6 * d].fill(0.0);
    for kernels in vector_levels() {
        for tokens in [2, tokens] {
            let run = |data: &[f32]| {
                let q = Queries::new(data, tokens, group, d, group * d, d);
                let mut out = vec![f32::NAN; tokens * group * d];
                let mut tile = Tile::new(&mut out, group * d);
                kernels.attend(&q, &k.rows(), &v.rows(), Mask::Full, 0.125, &mut tile, &mut Vec::new());
                let (mut partial, mut merged) = (vec![f32::NAN; partial_len(&q)], vec![f32::NAN; out.len()]);
                kernels.attend_partial(&q, &k.rows(), &v.rows(), Mask::Full, 0.125, &mut partial, &mut Vec::new());
                let rows = Rows::new(&partial, 1, partial_len(&q), partial_len(&q));
                kernels.attend_merge(&rows, d, &mut Tile::new(&mut merged, group * d));
                [out, merged]
            };
            let mut spoiled = data.clone();
            spoiled[3 * d + 1] = f32::NAN;
            for (out, spoiled) in run(&data).iter().zip(run(&spoiled)) {
                let mean: Vec<f64> = (0..d)
                    .map(|i| v.exact.iter().skip(i).step_by(d).map(|&x| f64::from(x)).sum::<f64>() / 70.0)
                    .collect();
                assert_near(kernels.isa().name(), &out[5 * d..6 * d], &mean, 1e-6);
                assert!(spoiled[3 * d..4 * d].iter().all(|x| x.is_nan()), "{}", kernels.isa());
                assert_eq!(spoiled[..3 * d], out[..3 * d], "{}", kernels.isa());
                assert_eq!(spoiled[4 * d..], out[4 * d..], "{}", kernels.isa());
            }
        }
    }
}

/// A sequence of calls over the tokens at `range`, `block` tokens each but for the last: what is past the last token of
/// a call is not in its keys, or is if `later`.
struct Calls<'a> {
    kernels: &'static Kernels,
    /// `[n, group, d]`
    q: &'a [f32],
    k: KvRows<'a>,
    v: KvRows<'a>,
    group: usize,
    d: usize,
    range: Range<usize>,
    block: usize,
    later: bool,
}

impl Calls<'_> {
    /// Calls `one(queries, keys, values, position of the first token, outputs)` for each; returns all outputs.
    fn run(&self, one: impl Fn(&Queries<'_>, &KvRows<'_>, &KvRows<'_>, usize, &mut Tile<'_>)) -> Vec<f32> {
        let (width, n) = (self.group * self.d, self.k.rows(self.d));
        let mut out = vec![f32::NAN; self.range.len() * width];
        for (i, out) in out.chunks_mut(self.block * width).enumerate() {
            let (first, tokens) = (self.range.start + i * self.block, out.len() / width);
            let q = Queries::new(&self.q[first * width..], tokens, self.group, self.d, width, self.d);
            let keys = 0..if self.later { n } else { first + tokens };
            let (k, v) = (self.k.slice(self.d, keys.clone()), self.v.slice(self.d, keys));
            one(&q, &k, &v, first, &mut Tile::new(out, width));
        }
        out
    }

    fn whole(&self) -> Vec<f32> {
        self.run(|q, k, v, first, out| {
            let mask = Mask::Causal { first: first as isize };
            self.kernels.attend(q, k, v, mask, 0.125, out, &mut Vec::new());
        })
    }

    fn in_chunks(&self) -> Vec<f32> {
        self.run(|q, k, v, first, out| {
            let (n, len) = (k.rows(self.d), partial_len(q));
            let chunks = n.div_ceil(CONTEXT_CHUNK);
            let mut partials = vec![f32::NAN; chunks * len];
            for (c, partial) in partials.chunks_exact_mut(len).enumerate() {
                let at = c * CONTEXT_CHUNK;
                let range = at..n.min(at + CONTEXT_CHUNK);
                let (k, v) = (k.slice(self.d, range.clone()), v.slice(self.d, range));
                let mask = Mask::Causal { first: first as isize - at as isize };
                self.kernels.attend_partial(q, &k, &v, mask, 0.125, partial, &mut Vec::new());
            }
            self.kernels.attend_merge(&Rows::new(&partials, chunks, len, len), self.d, out);
        })
    }
}

/// The levels whose kernels take several rows at once, which the reference does not, with the storages of cached keys:
/// those of a pair store the same numbers.
fn levels_and_kinds() -> impl Iterator<Item = (&'static Kernels, [Kind; 2])> {
    let levels = vector_levels().filter(|kernels| kernels.isa() != crate::Isa::Scalar);
    levels.flat_map(|kernels| [[F16, PagedF16], [Q8_0, PagedQ8_0]].map(|kinds| (kernels, kinds)))
}

#[test]
fn bits_of_a_token_of_a_prompt_depend_on_what_it_sees_alone() {
    for (group, d) in [(1, 64), (3, 32), (4, 32), (8, 40)] {
        let (n, range) = (140, 50..110);
        let q = Rng(3).values(n * group * d, 1.0);
        for (kernels, kinds) in levels_and_kinds() {
            let mut expected = None;
            for kind in kinds.into_iter().filter(|kind| kind.suits(d)) {
                let (k, v) = (Stored::new(1, n, d, 2.0, kind), Stored::new(2, n, d, 1.0, kind));
                for (block, later) in
                    [(60, false), (60, true), (1, false), (1, true), (7, true), (16, false), (40, true)]
                {
                    let (q, k, v, range) = (&q, k.rows(), v.rows(), range.clone());
                    let got = Calls { kernels, q, k, v, group, d, range, block, later }.whole();
                    let expected = expected.get_or_insert_with(|| got.clone());
                    assert!(got == *expected, "{} {group}x{d} {kind:?} by {block}, later: {later}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn bits_of_a_written_token_depend_on_what_it_sees_alone() {
    for (group, d) in [(1, 64), (3, 32), (4, 32), (6, 40)] {
        // Tokens on both sides of the end of a chunk.
        let (n, range) = (CONTEXT_CHUNK + 20, CONTEXT_CHUNK - 10..CONTEXT_CHUNK + 6);
        let q = Rng(3).values(n * group * d, 1.0);
        for (kernels, kinds) in levels_and_kinds() {
            let mut expected = None;
            for kind in kinds.into_iter().filter(|kind| kind.suits(d)) {
                let (k, v) = (Stored::new(1, n, d, 2.0, kind), Stored::new(2, n, d, 1.0, kind));
                for (block, later) in [(1, false), (1, true), (2, false), (5, true), (8, true), (16, false)] {
                    let (q, k, v, range) = (&q, k.rows(), v.rows(), range.clone());
                    let got = Calls { kernels, q, k, v, group, d, range, block, later }.in_chunks();
                    let expected = expected.get_or_insert_with(|| got.clone());
                    assert!(got == *expected, "{} {group}x{d} {kind:?} by {block}, later: {later}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn stored_8_bit_rows_are_the_same_at_every_level() {
    let mut x = Rng(1).values(40 * KV_BLOCK, 5.0);
    x[..KV_BLOCK].fill(0.0);
    x[KV_BLOCK..2 * KV_BLOCK].fill(-7.0);
    x[70] = 1e-30;
    let rows: Vec<Vec<KvBlock>> = vector_levels()
        .map(|kernels| {
            let mut out = vec![KvBlock::zeroed(); 40];
            kernels.quantize_kv(&x, &mut out);
            out
        })
        .collect();
    for (i, block) in rows[0].iter().enumerate() {
        for (q, x) in block.qs.iter().zip(&x[i * KV_BLOCK..]) {
            assert!((f32::from(*q) * block.d.to_f32() - x).abs() <= 0.57 * 5.0f32.max(x.abs()) / 127.0);
        }
        assert!(rows.iter().all(|r| r[i].qs == block.qs && r[i].d == block.d), "block {i}");
    }
}

#[test]
#[should_panic(expected = "page 3 of a pool of 3")]
fn a_page_outside_the_pool_is_refused() {
    KvPages::new(&[0; 3 * 2 * PAGE + 1], &[0, 3], Run { page_len: 2 * PAGE, offset: PAGE, row_len: 1 }, PAGE + 1);
}

#[test]
#[should_panic(expected = "65 rows in 1 pages")]
fn rows_past_the_last_page_are_refused() {
    KvPages::new(&[0; 2 * PAGE], &[0], Run { page_len: PAGE, offset: 0, row_len: 1 }, PAGE + 1);
}

#[test]
#[should_panic(expected = "rows of 2 from 1 of 128")]
fn a_run_past_the_end_of_its_page_is_refused() {
    KvPages::new(&[0; 4 * PAGE], &[0], Run { page_len: 2 * PAGE, offset: 1, row_len: 2 }, 1);
}
