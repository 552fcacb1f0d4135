//! The KV cache of an attention layer (`MODEL.md` §11): keys and values of all positions so far, and how they are stored.

use super::Config;
use crate::platform::machine::commit_memory;
use half::f16;
use kernels::Kernels;
use kernels::attention::{KV_BLOCK, KvBlock, KvRows};
use std::ops::Range;

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

    /// Stored units of one key (or value) row of one head, values or blocks, and the bytes of each.
    fn row(self, head_dim: usize) -> (usize, usize) {
        match self {
            KvType::F16 => (head_dim, size_of::<f16>()),
            KvType::Q8_0 => (head_dim / KV_BLOCK, size_of::<KvBlock>()),
        }
    }
}

/// Heads whose keys and values cannot be stored in whole blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[error("keys and values in {} need heads of whole blocks of {KV_BLOCK} values; this model's are of {head_dim}", kv.name())]
pub struct HeadSize {
    /// How they were to be stored.
    pub kv: KvType,
    /// Values of a head.
    pub head_dim: usize,
}

/// A name that no storage of keys and values has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown KV cache type {name:?}; known: f16, q8_0")]
#[non_exhaustive]
pub struct UnknownKvType {
    /// The name.
    pub name: String,
}

impl std::str::FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "f16" => Ok(KvType::F16),
            "q8_0" => Ok(KvType::Q8_0),
            _ => Err(UnknownKvType { name: s.to_owned() }),
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

/// The lengths of a [`KvCache`].
struct KvShape {
    /// Units of the keys, and as many of the values; those beyond the address space count as all of it.
    units: usize,
    unit_bytes: usize,
}

impl KvShape {
    fn new(config: &Config, n_ctx: usize, kv: KvType) -> KvShape {
        let (units, unit_bytes) = kv.row(config.head_dim);
        KvShape { units: units.saturating_mul(config.n_head_kv).saturating_mul(n_ctx), unit_bytes }
    }
}

impl KvCache {
    /// An empty cache for `n_ctx` positions.
    ///
    /// # Panics
    /// If `kv` is 8-bit and the head size is not a multiple of 32.
    pub fn new(config: &Config, n_ctx: usize, kv: KvType) -> KvCache {
        let (KvShape { units, .. }, head_dim) = (KvShape::new(config, n_ctx, kv), config.head_dim);
        assert!(kv.suits(head_dim), "heads of {head_dim} in blocks of {KV_BLOCK}");
        let store = || match kv {
            KvType::F16 => Store::F16(bytemuck::zeroed_vec(units)),
            KvType::Q8_0 => Store::Q8_0(bytemuck::zeroed_vec(units)),
        };
        KvCache { k: store(), v: store(), n_ctx, head_dim }
    }

    /// Bytes of [`KvCache::new`], when all positions are taken; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config, n_ctx: usize, kv: KvType) -> usize {
        let KvShape { units, unit_bytes } = KvShape::new(config, n_ctx, kv);
        units.saturating_mul(2 * unit_bytes)
    }

    /// Makes the system give the memory of all positions now.
    pub fn commit_memory(&mut self) {
        for store in [&mut self.k, &mut self.v] {
            match store {
                Store::F16(data) => commit_memory(data),
                Store::Q8_0(data) => commit_memory(data),
            }
        }
    }

    /// Keys and values of one head at the positions in `range`.
    pub(super) fn rows<'a>(&'a self, head: usize, range: Range<usize>) -> (KvRows<'a>, KvRows<'a>) {
        let range = head * self.n_ctx + range.start..head * self.n_ctx + range.end;
        let rows = |store: &'a Store| match store {
            Store::F16(data) => KvRows::F16(data).slice(self.head_dim, range.clone()),
            Store::Q8_0(data) => KvRows::Q8_0(data).slice(self.head_dim, range.clone()),
        };
        (rows(&self.k), rows(&self.v))
    }

    /// Stores the keys and values `[n, n_head_kv·head_dim]` of positions `n_past..`.
    pub(super) fn append(&mut self, kernels: &Kernels, kv_dim: usize, n_past: usize, k: &[f32], v: &[f32]) {
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
