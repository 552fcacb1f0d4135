//! A gated attention layer's mixer (`MODEL.md` §6).

use super::Config;
use super::pages::{PagePool, PageTable};
use super::pass::LayerPass;
use super::weights::Attention;
use crate::compute::arena::Arena;
use crate::compute::batch::{Exactness, products};
use crate::compute::team::{Phase, Team};
use kernels::attention::{CONTEXT_CHUNK, Mask, Queries, partial_len};
use kernels::{Kernels, Rows, Tile, Way};
use std::ops::Range;

/// Tokens of a prompt that one work item handles: the more, the less often keys and values are widened.
const TOKEN_BLOCK: usize = 32;

/// Written tokens of one sequence that one work item handles at most.
const WRITTEN_BLOCK: usize = 16;

/// Computes the mixer of the normalised rows `pass.h` into `pass.out`. `tables` has the pages of each span's sequence, with
/// room for its rows, whose keys and values are written there.
pub(super) fn forward(w: &Attention, pool: &mut PagePool, tables: &[&PageTable], pass: &mut LayerPass<'_>) {
    let LayerPass { compute, config, counts, spans, h, core, proj, angles, partials, out, .. } = pass;
    let (kernels, config, n) = (compute.kernels, *config, counts.total());
    let (head_dim, kv_dim, query_dim) = (config.head_dim, config.kv_dim(), config.query_dim());
    let (q, rest) = proj.split_at_mut(n * query_dim);
    let (k, rest) = rest.split_at_mut(n * kv_dim);
    let v = &mut rest[..n * kv_dim];
    let projections = [(&w.attn_q, &mut *q), (&w.attn_k, &mut *k), (&w.attn_v, &mut *v)];
    let projections = projections.map(|(w, y)| (w.matrix(), Exactness::Plain, y));
    products(compute, h, Phase::Products, projections);

    compute.team.split2((&mut *q, query_dim), (&mut *k, kv_dim), |i, q, k| {
        let angles = &angles[i * config.rope.n_rot..];
        let (cos, sin) = angles[..config.rope.n_rot].split_at(config.rope.n_rot / 2);
        // A head is its query, then its gate; the gate stays as it is.
        for head in q.chunks_mut(2 * head_dim) {
            let query = &mut head[..head_dim];
            kernels.rms_norm_in_place(query, &w.attn_q_norm, config.rms_eps);
            kernels.rope(query, cos, sin);
        }
        finish_keys(w, kernels, config, angles, k);
    });
    for (span, table) in spans.iter().zip(tables) {
        let rows = span.values(kv_dim);
        pool.write(kernels, table, span.n_past, &k[rows.clone()], &v[rows]);
    }

    let q = &*q;
    core.reshape(*counts, config.n_head * head_dim);
    compute.team.enter(Phase::Attention);
    let attends = spans.iter().zip(tables).map(|(span, table)| {
        let q = &q[span.values(query_dim)];
        Attend { q, pool, table, kernels, config, n: span.n, n_past: span.n_past }
    });
    let attends: Vec<Attend<'_>> = attends.collect();
    let mut rest = &mut core.x[..];
    let outputs = spans.iter().map(|span| {
        let (rows, behind) = std::mem::take(&mut rest).split_at_mut(span.n * config.n_head * head_dim);
        rest = behind;
        (span.way, rows)
    });
    attend(&mut compute.team, &attends, outputs.collect(), partials);
    compute.team.enter(Phase::Other);
    core.fill(compute, |i, o| {
        let heads = q[i * query_dim..].chunks(2 * head_dim);
        for (o, head) in o.chunks_mut(head_dim).zip(heads) {
            kernels.sigmoid_mul(o, &head[head_dim..]);
        }
    });
    products(compute, core, Phase::Products, [(w.attn_output.matrix(), Exactness::Plain, &mut **out)]);
}

/// Computes the keys and values of the normalised rows `pass.h` alone, all of them of one sequence whose pages are `table`, and
/// writes them there: what is left of the mixer for rows whose outputs nobody reads.
pub(super) fn remember(w: &Attention, pool: &mut PagePool, table: &PageTable, pass: &mut LayerPass<'_>) {
    let LayerPass { compute, config, counts, spans, h, proj, angles, .. } = pass;
    let (kernels, config, n) = (compute.kernels, *config, counts.total());
    let kv_dim = config.kv_dim();
    let (k, rest) = proj.split_at_mut(n * kv_dim);
    let v = &mut rest[..n * kv_dim];
    let projections = [(&w.attn_k, &mut *k), (&w.attn_v, &mut *v)];
    products(compute, h, Phase::Products, projections.map(|(w, y)| (w.matrix(), Exactness::Plain, y)));
    compute.team.split(k, kv_dim, |i, k| finish_keys(w, kernels, config, &angles[i * config.rope.n_rot..], k));
    pool.write(kernels, table, spans[0].n_past, k, v);
}

/// Norm and rotation of the keys of a row, by the angles that begin with its own.
fn finish_keys(w: &Attention, kernels: &Kernels, config: &Config, angles: &[f32], k: &mut [f32]) {
    let (cos, sin) = angles[..config.rope.n_rot].split_at(config.rope.n_rot / 2);
    for key in k.chunks_mut(config.head_dim) {
        kernels.rms_norm_in_place(key, &w.attn_k_norm, config.rms_eps);
        kernels.rope(key, cos, sin);
    }
}

/// The rows of one sequence in a batch, whose keys and values are in its pages.
struct Attend<'a> {
    /// Queries and gates `[n, n_head·2·head_dim]`.
    q: &'a [f32],
    pool: &'a PagePool,
    table: &'a PageTable,
    kernels: &'static Kernels,
    config: &'a Config,
    n: usize,
    n_past: usize,
}

/// Some tokens of one sequence.
#[derive(Clone)]
struct Tokens<'a> {
    of: &'a Attend<'a>,
    range: Range<usize>,
}

/// What one thread computes, for one KV head.
enum Item<'a> {
    /// A block of tokens of a prompt: the outputs of the head's group.
    Prompt(Tokens<'a>, usize, Tile<'a>),
    /// A chunk of the context of written tokens: its partial result.
    Written(Tokens<'a>, usize, usize, &'a mut [f32]),
}

/// Written tokens whose chunks are to be joined.
struct Join<'a> {
    tokens: Tokens<'a>,
    /// Outputs `[n, n_head·head_dim]`.
    out: Tile<'a>,
    n_chunk: usize,
    /// Values of its partial results.
    len: usize,
}

/// Attention of all rows, which are cut by blocks of tokens in prompts, and by chunks of the context where they are written.
/// `partials` holds the results of chunks: as many at a time as there is room for.
fn attend<'a>(team: &mut Team, attends: &'a [Attend<'a>], outputs: Vec<(Way, &'a mut [f32])>, partials: &mut [f32]) {
    let (mut prompts, mut joins) = (Vec::new(), Vec::new());
    for (attend, (way, out)) in attends.iter().zip(outputs) {
        let config = attend.config;
        let (width, group_width) = (config.n_head * config.head_dim, config.group() * config.head_dim);
        let out = Tile::new(out, width);
        match way {
            Way::Prompt => {
                for (range, cols, out) in out.into_blocks(TOKEN_BLOCK, group_width) {
                    prompts.push(Item::Prompt(Tokens { of: attend, range }, cols.start / group_width, out));
                }
            }
            Way::Written => {
                // A few tokens fit the buffer in any context, and more of them in a short one.
                let chunks = (attend.n_past + attend.n).div_ceil(CONTEXT_CHUNK);
                let unit = chunks * config.n_head * (config.head_dim + 2);
                let at_once = (partials.len() / unit).clamp(1, WRITTEN_BLOCK);
                for (range, _, out) in out.into_blocks(at_once, width) {
                    let tokens = Tokens { of: attend, range };
                    let n_chunk = tokens.n_keys().div_ceil(CONTEXT_CHUNK);
                    let len = n_chunk * config.n_head_kv * tokens.partial_len();
                    joins.push(Join { tokens, out, n_chunk, len });
                }
            }
        }
    }
    let mut joins = &mut joins[..];
    while !prompts.is_empty() || !joins.is_empty() {
        let mut items: Vec<Item<'_>> = std::mem::take(&mut prompts);
        let mut room = partials.len();
        let fits = |join: &&Join<'_>| {
            let fits = join.len <= room;
            room = room.saturating_sub(join.len);
            fits
        };
        let n = joins.iter().take_while(fits).count();
        let (now, later) = std::mem::take(&mut joins).split_at_mut(n);
        joins = later;
        assert!(!now.is_empty() || !items.is_empty(), "room for the chunks of one token");
        let mut rest = &mut partials[..];
        for join in &*now {
            let unit = join.tokens.partial_len();
            let own = rest.split_off_mut(..join.len).expect("counted above");
            for (i, partial) in own.chunks_mut(unit).enumerate() {
                items.push(Item::Written(join.tokens.clone(), i / join.n_chunk, i % join.n_chunk, partial));
            }
        }
        team.split_with(&mut items, 1, |arena, _, item| item[0].compute(arena));
        let mut rest = &*partials;
        for Join { tokens, out, n_chunk, len } in now {
            let own = rest.split_off(..*len).expect("counted above");
            tokens.join(own, *n_chunk, out);
        }
    }
}

impl Item<'_> {
    fn compute(&mut self, arena: &mut Arena) {
        match self {
            Item::Prompt(tokens, head, out) => {
                let Tokens { of, range } = &*tokens;
                let (k, v) = of.pool.rows(of.table, *head, 0..tokens.n_keys());
                let mask = Mask::Causal { first: (of.n_past + range.start) as isize };
                of.kernels.attend(&tokens.queries(*head), &k, &v, mask, of.scale(), out, &mut arena.values);
            }
            Item::Written(tokens, head, chunk, partial) => {
                let Tokens { of, range } = &*tokens;
                let start = *chunk * CONTEXT_CHUNK;
                let (k, v) = of.pool.rows(of.table, *head, start..tokens.n_keys().min(start + CONTEXT_CHUNK));
                let mask = Mask::Causal { first: (of.n_past + range.start) as isize - start as isize };
                let q = tokens.queries(*head);
                of.kernels.attend_partial(&q, &k, &v, mask, of.scale(), partial, &mut arena.values);
            }
        }
    }
}

impl Tokens<'_> {
    /// Positions that the last of them sees.
    fn n_keys(&self) -> usize {
        self.of.n_past + self.range.end
    }

    /// Values of the partial result of one head and chunk.
    fn partial_len(&self) -> usize {
        partial_len(&self.queries(0))
    }

    /// Their queries that share KV head `head`.
    fn queries(&self, head: usize) -> Queries<'_> {
        let config = self.of.config;
        let (dim, group, stride) = (config.head_dim, config.group(), config.query_dim());
        let first = self.range.start * stride + head * group * 2 * dim;
        Queries::new(&self.of.q[first..], self.range.len(), group, dim, stride, 2 * dim)
    }

    /// Joins the partial results `[n_head_kv, n_chunk, …]` of all chunks.
    fn join(&self, partials: &[f32], n_chunk: usize, out: &mut Tile<'_>) {
        let (unit, head_dim) = (self.partial_len(), self.of.config.head_dim);
        let width = self.of.config.group() * head_dim;
        for (head, partials) in partials.chunks(n_chunk * unit).enumerate() {
            let rows = Rows::new(partials, n_chunk, unit, unit);
            self.of.kernels.attend_merge(&rows, head_dim, &mut out.columns(head * width..(head + 1) * width));
        }
    }
}

impl Attend<'_> {
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
    // Of written tokens the scores of a whole chunk are kept.
    let written = rows(n.min(WRITTEN_BLOCK));
    let written = of_rows(written).saturating_add(written.saturating_mul(CONTEXT_CHUNK));
    of_rows(rows(n.min(TOKEN_BLOCK))).max(written).saturating_add(of_keys)
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
                    for n in [1, 2, 5, WRITTEN_BLOCK, TOKEN_BLOCK] {
                        let data = vec![1.0; n * group * head_dim];
                        let q = Queries::new(&data, n, group, head_dim, group * head_dim, head_dim);
                        let mask = Mask::Causal { first: CONTEXT_CHUNK as isize };
                        let mut scratch = Vec::new();
                        let mut out = vec![0.0; n * group * head_dim];
                        let mut out = Tile::new(&mut out, group * head_dim);
                        kernels.attend(&q, &k, &v, mask, 1.0, &mut out, &mut scratch);
                        let (k, v) = (k.slice(head_dim, 0..CONTEXT_CHUNK), v.slice(head_dim, 0..CONTEXT_CHUNK));
                        if n <= WRITTEN_BLOCK {
                            let mut partial = vec![0.0; partial_len(&q)];
                            kernels.attend_partial(&q, &k, &v, mask, 1.0, &mut partial, &mut scratch);
                        }
                        let (taken, planned) = (scratch.len(), arena_len(group, head_dim, n));
                        assert!(taken <= planned, "{isa}, {n}, {group}, {head_dim}: {taken} of {planned}");
                    }
                }
            }
        }
    }
}
