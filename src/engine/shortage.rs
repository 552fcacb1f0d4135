//! Not enough memory: what was needed, what stands in the way, and what would fit.

use super::byte_size::ByteSize;
use super::plan::Expectation;
use crate::model::kv_type::KvType;
use crate::model::stream::{ExpertsKept, Streaming};
use crate::platform::machine::Limiter;
use std::fmt;

/// No layout that was asked for fits the memory there is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NotEnoughMemory {
    /// Bytes that the smallest layout that was asked for takes, weights included.
    pub needed: u64,
    /// Its positions.
    pub n_ctx: usize,
    /// Its storage of keys and values.
    pub kv: KvType,
    /// What stands in its way.
    pub limit: MemoryLimit,
    /// What fits the same memory.
    pub remedy: Remedy,
}

/// A layout of the context, and the memory of everything with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Positions there is room for.
    pub n_ctx: usize,
    /// Storage of keys and values.
    pub kv: KvType,
    /// Largest batch of tokens.
    pub n_batch: usize,
    /// Bytes of everything, weights included.
    pub total: u64,
    /// Bytes of the weights that are in memory at once.
    pub weights: u64,
    /// What is dropped after use and read again.
    pub streaming: Streaming,
}

/// A limit on memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MemoryLimit {
    /// The ceiling that the caller set on everything, in bytes.
    Ceiling(u64),
    /// What the system still gives: who limits it, and how many bytes that are.
    System(Limiter, u64),
    /// The system does not say what is free, and the caller set no ceiling.
    Unknown,
}

/// What can be done about a lack of memory.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Remedy {
    /// This layout fits.
    AskFor(Box<Layout>),
    /// None fits; this is the smallest one there is.
    SmallerModel(Box<Layout>),
    /// A ceiling of so many bytes, or another one, if that is what there is.
    SetCeiling(u64),
}

impl fmt::Display for Streaming {
    /// What to say behind the bytes of weights that are in memory at once; nothing when all are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Expected(self, None).fmt(f)
    }
}

/// What is streamed, with what is expected of it, where that was measured.
pub(super) struct Expected<'a>(pub &'a Streaming, pub Option<Expectation>);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expected(Streaming { bytes, experts, .. }, expectation) = self;
        match experts {
            None if *bytes == 0 => Ok(()),
            None => write!(f, " at once ({} of all are read again for every token)", ByteSize(*bytes)),
            Some(ExpertsKept { n, of, known, .. }) => {
                let percent = 100.0 * *n as f64 / (*of).max(1) as f64;
                let until = if *known { "" } else { "until it is known which are used most, " };
                let bytes = ByteSize(*bytes);
                write!(f, " at once (of the experts {percent:.0} % are kept; {until}a token reads about {bytes}")?;
                if let Some(Expectation { read_rate, tokens_per_second }) = expectation {
                    let rate = ByteSize(*read_rate);
                    write!(f, " from the disk, at {rate} a second: {tokens_per_second:.1} tokens a second expected")?;
                }
                write!(f, ")")
            }
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            MemoryLimit::Ceiling(bytes) => write!(f, "the ceiling is {}", ByteSize(bytes)),
            MemoryLimit::Unknown => f.write_str("this system does not say how much memory is free"),
            MemoryLimit::System(limiter, bytes) if limiter.counts_untouched() => {
                write!(f, "{limiter} leaves {}", ByteSize(bytes))
            }
            MemoryLimit::System(limiter, bytes) => write!(f, "{limiter} is {}", ByteSize(bytes)),
        }
    }
}

impl NotEnoughMemory {
    /// The whole sentence; `limit` and `remedy` say what those do in the caller's words.
    pub fn describe(&self, limit: &dyn fmt::Display, remedy: &dyn fmt::Display) -> String {
        let NotEnoughMemory { needed, n_ctx, kv, .. } = *self;
        if self.limit == MemoryLimit::Unknown {
            return format!(
                "{limit}, and the weights and a context of {n_ctx} tokens in {} take {}: {remedy}",
                kv.name(),
                ByteSize(needed)
            );
        }
        format!(
            "not enough memory: {} needed for the weights and a context of {n_ctx} tokens in {}, but {limit}; {remedy}",
            ByteSize(needed),
            kv.name()
        )
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::AskFor(layout) => {
                let Layout { n_ctx, kv, n_batch, total, streaming, .. } = **layout;
                let (kv, total) = (kv.name(), ByteSize(total));
                write!(
                    f,
                    "a context of {n_ctx} tokens in {kv} and batches of {n_batch} would fit, with {total}{streaming}"
                )
            }
            Remedy::SetCeiling(bytes) => write!(f, "set a ceiling on what may be taken, such as {}", ByteSize(*bytes)),
            Remedy::SmallerModel(layout) => {
                let Layout { total, weights, streaming, .. } = **layout;
                write!(
                    f,
                    "the smallest context needs {} with the weights' {}{streaming}: a smaller model or quantisation \
                     would fit",
                    ByteSize(total),
                    ByteSize(weights)
                )
            }
        }
    }
}

impl fmt::Display for NotEnoughMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&self.limit, &self.remedy))
    }
}

impl std::error::Error for NotEnoughMemory {}
