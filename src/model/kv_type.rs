//! How keys and values are stored (`MODEL.md` §11): their type, and the layout of a page of them.

use super::Config;
use half::f16;
use kernels::attention::{KV_BLOCK, KvBlock, PAGE};

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

/// How a page lies in memory: `[2 (keys, values), n_head_kv, 64, head_dim]`, keys normalised and rotated.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageShape {
    /// KV heads.
    pub heads: usize,
    /// Values of a row of one head.
    pub head_dim: usize,
    /// Units of storage of such a row.
    pub row_units: usize,
    unit_bytes: usize,
}

impl PageShape {
    /// That of a model's pages.
    pub fn new(config: &Config, kv: KvType) -> PageShape {
        let (row_units, unit_bytes) = kv.row(config.head_dim);
        PageShape { heads: config.n_head_kv, head_dim: config.head_dim, row_units, unit_bytes }
    }

    /// Units of storage of a page; sizes beyond the address space count as all of it.
    pub fn units(&self) -> usize {
        self.row_units.saturating_mul(self.heads).saturating_mul(2 * PAGE)
    }

    /// Bytes of a page; sizes beyond the address space count as all of it.
    pub fn bytes(&self) -> usize {
        self.units().saturating_mul(self.unit_bytes)
    }
}
