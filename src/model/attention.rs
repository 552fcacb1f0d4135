//! A gated attention layer's mixer (`MODEL.md` §6).

use super::Config;
use super::cache::KvCache;
use super::pass::{FEW_TOKENS, LayerPass};
use super::weights::Attention;
use crate::compute::batch::{Exactness, products};
use crate::compute::team::{Grid, Phase, Team};
use kernels::attention::{CONTEXT_CHUNK, Mask, Queries, partial_len};
use kernels::{Kernels, Rows, Tile};
use std::ops::Range;

/// Tokens of a large batch that one work item handles: the more, the less often keys and values are widened.
const TOKEN_BLOCK: usize = 32;

/// Computes the mixer of the normalised rows `pass.h` into `pass.out`, appending to the cache.
pub(super) fn forward(w: &Attention, cache: &mut KvCache, pass: &mut LayerPass<'_>) {
    let LayerPass { compute, config, rows, n, n_past, h, core, proj, angles, partials, out, .. } = pass;
    let (kernels, config, n, n_past) = (compute.kernels, *config, *n, *n_past);
    let (head_dim, kv_dim, query_dim) = (config.head_dim, config.kv_dim(), config.query_dim());
    let (q, rest) = proj.split_at_mut(n * query_dim);
    let (k, rest) = rest.split_at_mut(n * kv_dim);
    let v = &mut rest[..n * kv_dim];
    let projections = [(&w.attn_q, &mut *q), (&w.attn_k, &mut *k), (&w.attn_v, &mut *v)];
    let projections = projections.map(|(w, y)| (w.matrix(), Exactness::Plain, y));
    products(compute, h, Phase::Products, projections);

    compute.team.split2((&mut *q, query_dim), (&mut *k, kv_dim), |i, q, k| {
        let (cos, sin) = angles[i * config.rope.n_rot..][..config.rope.n_rot].split_at(config.rope.n_rot / 2);
        // A head is its query, then its gate; the gate stays as it is.
        for head in q.chunks_mut(2 * head_dim) {
            let query = &mut head[..head_dim];
            kernels.rms_norm_in_place(query, &w.attn_q_norm, config.rms_eps);
            kernels.rope(query, cos, sin);
        }
        for key in k.chunks_mut(head_dim) {
            kernels.rms_norm_in_place(key, &w.attn_k_norm, config.rms_eps);
            kernels.rope(key, cos, sin);
        }
    });
    cache.append(kernels, kv_dim, n_past, k, v);

    let q = &*q;
    core.reshape(*rows, config.n_head * head_dim);
    let attend = Attend { q, cache, kernels, config, n, n_past };
    compute.team.enter(Phase::Attention);
    if n <= FEW_TOKENS {
        attend.few(&mut compute.team, partials, &mut core.x);
    } else {
        attend.many(&mut compute.team, &mut core.x);
    }
    compute.team.enter(Phase::Other);
    core.fill(compute, |i, o| {
        let heads = q[i * query_dim..].chunks(2 * head_dim);
        for (o, head) in o.chunks_mut(head_dim).zip(heads) {
            kernels.sigmoid_mul(o, &head[head_dim..]);
        }
    });
    products(compute, core, Phase::Products, [(w.attn_output.matrix(), Exactness::Plain, &mut **out)]);
}

/// Attention of a batch whose keys and values are in the cache.
struct Attend<'a> {
    /// Queries and gates `[n, n_head·2·head_dim]`.
    q: &'a [f32],
    cache: &'a KvCache,
    kernels: &'static Kernels,
    config: &'a Config,
    n: usize,
    n_past: usize,
}

impl Attend<'_> {
    /// A large batch: work items are blocks of tokens of one KV head.
    fn many(&self, team: &mut Team, out: &mut [f32]) {
        let width = self.config.group() * self.config.head_dim;
        let grid = Grid::new(out, self.config.n_head * self.config.head_dim, TOKEN_BLOCK, width);
        team.grids_with(&mut [grid], |arena, _, tokens, cols, mut out| {
            let head = cols.start / width;
            let (k, v) = self.cache.rows(head, 0..self.n_past + tokens.end);
            let mask = Mask::Causal { first: (self.n_past + tokens.start) as isize };
            let q = self.queries(head, tokens);
            self.kernels.attend(&q, &k, &v, mask, self.scale(), &mut out, &mut arena.values);
        });
    }

    /// One token or a few: work items are chunks of the context of one KV head, joined afterwards.
    fn few(&self, team: &mut Team, partials: &mut [f32], out: &mut [f32]) {
        let n_keys = self.n_past + self.n;
        let n_chunk = n_keys.div_ceil(CONTEXT_CHUNK);
        let unit = partial_len(&self.queries(0, 0..self.n));
        let partials = &mut partials[..self.config.n_head_kv * n_chunk * unit];
        team.split_with(partials, unit, |arena, i, partial| {
            let (head, chunk) = (i / n_chunk, i % n_chunk);
            let start = chunk * CONTEXT_CHUNK;
            let (k, v) = self.cache.rows(head, start..n_keys.min(start + CONTEXT_CHUNK));
            let mask = Mask::Causal { first: self.n_past as isize - start as isize };
            let q = self.queries(head, 0..self.n);
            self.kernels.attend_partial(&q, &k, &v, mask, self.scale(), partial, &mut arena.values);
        });
        let head_dim = self.config.head_dim;
        let width = self.config.group() * head_dim;
        let mut out = Tile::new(out, self.config.n_head * head_dim);
        for (head, partials) in partials.chunks(n_chunk * unit).enumerate() {
            let rows = Rows::new(partials, n_chunk, unit, unit);
            self.kernels.attend_merge(&rows, head_dim, &mut out.columns(head * width..(head + 1) * width));
        }
    }

    /// The queries of `tokens` that share KV head `head`.
    fn queries(&self, head: usize, tokens: Range<usize>) -> Queries<'_> {
        let (dim, group, stride) = (self.config.head_dim, self.config.group(), self.config.query_dim());
        let first = tokens.start * stride + head * group * 2 * dim;
        Queries::new(&self.q[first..], tokens.len(), group, dim, stride, 2 * dim)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.config.head_dim as f32).sqrt()
    }
}

/// Values of an arena that the kernels take at most, of any level, for `n` tokens and `group` query heads to a key.
pub(super) fn arena_len(group: usize, head_dim: usize, n: usize) -> usize {
    /// Rows of queries that a kernel takes together.
    const PANEL: usize = 32;
    /// Keys of a block.
    const KEYS: usize = 64;
    let rows = |n: usize| group.saturating_mul(n).checked_next_multiple_of(PANEL).unwrap_or(usize::MAX);
    // Queries, sums of values, largest scores and their sums, with padding; keys and values.
    let of_rows = |rows: usize| rows.saturating_mul(2 * head_dim + 2 * PANEL);
    let of_keys = 2 * KEYS * (head_dim + PANEL);
    // Few tokens keep the scores of a whole chunk.
    let few = rows(n.min(FEW_TOKENS));
    let few = of_rows(few).saturating_add(few.saturating_mul(CONTEXT_CHUNK));
    of_rows(rows(n.min(TOKEN_BLOCK))).max(few).saturating_add(of_keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use kernels::Isa;
    use kernels::attention::KvRows;

    #[test]
    fn the_kernels_take_no_more_of_an_arena_than_is_planned() {
        for isa in Isa::available() {
            let kernels = Kernels::select(Some(isa)).unwrap();
            for head_dim in [16, 40, 128, 256] {
                let keys = vec![f16::ONE; (CONTEXT_CHUNK + TOKEN_BLOCK) * head_dim];
                let (k, v) = (KvRows::F16(&keys), KvRows::F16(&keys));
                for group in [1, 3, 4, 8] {
                    for n in [1, 2, 5, FEW_TOKENS, TOKEN_BLOCK] {
                        let data = vec![1.0; n * group * head_dim];
                        let q = Queries::new(&data, n, group, head_dim, group * head_dim, head_dim);
                        let mask = Mask::Causal { first: CONTEXT_CHUNK as isize };
                        let mut scratch = Vec::new();
                        if n <= FEW_TOKENS {
                            let (k, v) = (k.slice(head_dim, 0..CONTEXT_CHUNK), v.slice(head_dim, 0..CONTEXT_CHUNK));
                            let mut partial = vec![0.0; partial_len(&q)];
                            kernels.attend_partial(&q, &k, &v, mask, 1.0, &mut partial, &mut scratch);
                        } else {
                            let mut out = vec![0.0; n * group * head_dim];
                            let mut out = Tile::new(&mut out, group * head_dim);
                            kernels.attend(&q, &k, &v, mask, 1.0, &mut out, &mut scratch);
                        }
                        let planned = arena_len(group, head_dim, n);
                        assert!(
                            scratch.len() <= planned,
                            "{isa}, {n}, {group}, {head_dim}: {} of {planned}",
                            scratch.len()
                        );
                    }
                }
            }
        }
    }
}
