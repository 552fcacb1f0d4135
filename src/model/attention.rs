//! A gated attention layer's mixer (`MODEL.md` §6) and its KV cache (§11).

use super::Config;
use super::forward::Pass;
use super::weights::Attention;
use crate::compute::batch::products;
use crate::compute::team::{Grid, Part, Team};
use crate::platform::machine::touch;
use half::f16;
use kernels::attention::{CONTEXT_CHUNK, KV_BLOCK, KvBlock, KvRows, Mask, Queries, partial_len};
use kernels::{Kernels, Rows, Tile};
use std::cell::RefCell;
use std::ops::Range;

/// Batches up to this many tokens share out the context over the threads; larger ones share out the tokens.
const FEW_TOKENS: usize = 8;

/// Tokens of a large batch that one work item handles: the more, the less often keys and values are widened.
const TOKEN_BLOCK: usize = 32;

/// How keys and values are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// 8-bit blocks of 32 with a scale: half the memory, some accuracy.
    Q8_0,
}

impl KvType {
    /// The name in arguments and reports.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F16 => "f16",
            KvType::Q8_0 => "q8_0",
        }
    }

    /// Whether heads of `head_dim` values can be stored so: 8-bit ones are stored in whole blocks.
    pub fn suits(self, head_dim: usize) -> bool {
        self == KvType::F16 || head_dim.is_multiple_of(KV_BLOCK)
    }

    /// As [`KvType::suits`], with the reason.
    ///
    /// # Errors
    /// When they do not suit.
    pub fn check(self, head_dim: usize) -> Result<(), HeadSize> {
        if self.suits(head_dim) { Ok(()) } else { Err(HeadSize { kv: self, head_dim }) }
    }

    /// Bytes of one key (or value) row of one head.
    pub fn row_bytes(self, head_dim: usize) -> usize {
        match self {
            KvType::F16 => 2 * head_dim,
            KvType::Q8_0 => head_dim / KV_BLOCK * size_of::<KvBlock>(),
        }
    }
}

/// Heads whose keys and values cannot be stored in whole blocks.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("keys and values in {} need heads of whole blocks of {KV_BLOCK} values; this model's are of {head_dim}", kv.name())]
pub struct HeadSize {
    /// How they were to be stored.
    pub kv: KvType,
    /// Values of a head.
    pub head_dim: usize,
}

impl std::str::FromStr for KvType {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "f16" => Ok(KvType::F16),
            "q8_0" => Ok(KvType::Q8_0),
            _ => Err(format!("unknown KV cache type {s:?}; known: f16, q8_0")),
        }
    }
}

/// Keys (normalised and rotated) and values of all positions so far. Pages that were never written take no memory.
pub struct KvCache {
    k: Store,
    v: Store,
    n_ctx: usize,
    head_dim: usize,
}

/// Rows `[n_head_kv, n_ctx, head_dim]`.
enum Store {
    F16(Vec<f16>),
    Q8_0(Vec<KvBlock>),
}

impl KvCache {
    /// An empty cache for `n_ctx` positions.
    ///
    /// # Panics
    /// If `kv` is 8-bit and the head size is not a multiple of 32.
    pub fn new(config: &Config, n_ctx: usize, kv: KvType) -> KvCache {
        let (rows, head_dim) = (config.n_head_kv * n_ctx, config.head_dim);
        let store = || match kv {
            KvType::F16 => Store::F16(bytemuck::zeroed_vec(rows * head_dim)),
            KvType::Q8_0 => {
                assert!(head_dim.is_multiple_of(KV_BLOCK), "heads of {head_dim} in blocks of {KV_BLOCK}");
                Store::Q8_0(bytemuck::zeroed_vec(rows * (head_dim / KV_BLOCK)))
            }
        };
        KvCache { k: store(), v: store(), n_ctx, head_dim }
    }

    /// Makes the system give the memory of all positions now.
    pub fn touch(&mut self) {
        for store in [&mut self.k, &mut self.v] {
            match store {
                Store::F16(data) => touch(data),
                Store::Q8_0(data) => touch(data),
            }
        }
    }

    /// Keys and values of one head at the positions in `range`.
    fn rows<'a>(&'a self, head: usize, range: Range<usize>) -> (KvRows<'a>, KvRows<'a>) {
        let range = head * self.n_ctx + range.start..head * self.n_ctx + range.end;
        let rows = |store: &'a Store| match store {
            Store::F16(data) => KvRows::F16(data).slice(self.head_dim, range.clone()),
            Store::Q8_0(data) => KvRows::Q8_0(data).slice(self.head_dim, range.clone()),
        };
        (rows(&self.k), rows(&self.v))
    }

    /// Stores the keys and values `[n, n_head_kv·head_dim]` of positions `n_past..`.
    fn append(&mut self, kernels: &Kernels, kv_dim: usize, n_past: usize, k: &[f32], v: &[f32]) {
        let (n_ctx, head_dim) = (self.n_ctx, self.head_dim);
        for (store, data) in [(&mut self.k, k), (&mut self.v, v)] {
            for (i, row) in data.chunks(kv_dim).enumerate() {
                for (head, x) in row.chunks(head_dim).enumerate() {
                    let at = head * n_ctx + n_past + i;
                    match store {
                        Store::F16(data) => kernels.f32_to_f16(x, &mut data[at * head_dim..][..head_dim]),
                        Store::Q8_0(data) => {
                            let n = head_dim / KV_BLOCK;
                            kernels.quantize_kv(x, &mut data[at * n..][..n]);
                        }
                    }
                }
            }
        }
    }
}

/// Computes the mixer of the normalised rows `pass.h` into `pass.out`, appending to the cache.
pub(super) fn forward(w: &Attention, cache: &mut KvCache, pass: &mut Pass<'_>) {
    let Pass { compute, config, n, n_past, h, core, proj, angles, partials, out, .. } = pass;
    let (kernels, config, n, n_past) = (compute.kernels, *config, *n, *n_past);
    let (head_dim, kv_dim, query_dim) = (config.head_dim, config.kv_dim(), config.query_dim());
    let (q, rest) = proj.split_at_mut(n * query_dim);
    let (k, rest) = rest.split_at_mut(n * kv_dim);
    let v = &mut rest[..n * kv_dim];
    products(
        compute,
        h,
        Part::Products,
        [(w.attn_q.matrix(), &mut *q), (w.attn_k.matrix(), &mut *k), (w.attn_v.matrix(), &mut *v)],
    );

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
    core.reshape(n, config.n_head * head_dim);
    let attend = Attend { q, cache, kernels, config, n, n_past };
    compute.team.enter(Part::Attention);
    if n <= FEW_TOKENS {
        attend.few(&mut compute.team, partials, &mut core.x);
    } else {
        attend.many(&mut compute.team, &mut core.x);
    }
    compute.team.enter(Part::Other);
    core.fill(compute, |i, o| {
        let heads = q[i * query_dim..].chunks(2 * head_dim);
        for (o, head) in o.chunks_mut(head_dim).zip(heads) {
            kernels.sigmoid_mul(o, &head[head_dim..]);
        }
    });
    products(compute, core, Part::Products, [(w.attn_output.matrix(), &mut **out)]);
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
        team.grids(&mut [grid], |_, tokens, cols, mut out| {
            let head = cols.start / width;
            let (k, v) = self.cache.rows(head, 0..self.n_past + tokens.end);
            let mask = Mask::Causal { first: (self.n_past + tokens.start) as isize };
            let q = self.queries(head, tokens);
            with_scratch(|scratch| self.kernels.attend(&q, &k, &v, mask, self.scale(), &mut out, scratch));
        });
    }

    /// One token or a few: work items are chunks of the context of one KV head, joined afterwards.
    fn few(&self, team: &mut Team, partials: &mut Vec<f32>, out: &mut [f32]) {
        let n_keys = self.n_past + self.n;
        let n_chunk = n_keys.div_ceil(CONTEXT_CHUNK);
        let unit = partial_len(&self.queries(0, 0..self.n));
        partials.resize(self.config.n_head_kv * n_chunk * unit, 0.0);
        team.split(partials, unit, |i, partial| {
            let (head, chunk) = (i / n_chunk, i % n_chunk);
            let start = chunk * CONTEXT_CHUNK;
            let (k, v) = self.cache.rows(head, start..n_keys.min(start + CONTEXT_CHUNK));
            let mask = Mask::Causal { first: self.n_past as isize - start as isize };
            let q = self.queries(head, 0..self.n);
            with_scratch(|scratch| self.kernels.attend_partial(&q, &k, &v, mask, self.scale(), partial, scratch));
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

/// Runs `f` with this thread's working memory for attention.
fn with_scratch<R>(f: impl FnOnce(&mut Vec<f32>) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) });
    SCRATCH.with_borrow_mut(f)
}
