//! Feed-forwards that do not stay in memory: where all the weights are more than the memory plan allows, those of some
//! layers are dropped once they have been used, and read from the file again for the next batch.
//!
//! Where the system is not sure to drop pages, they are read into memory of their own instead ([`super::ffn_slots`]), and so
//! are experts everywhere: which of them are used is known only when they are.
//!
//! The set is fixed and as small as will do. Left to itself the system drops what was not used for the longest time, which
//! in a pass over all layers is always what comes next: it would then read everything again for every token.

use crate::gguf::Stored;
use crate::platform::file_bytes::DROPS_PAGES;
use std::str::FromStr;

/// How dense feed-forwards are streamed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamWay {
    /// As pages of the mapped file, which are dropped after use.
    Map,
    /// By positional reads into memory for two layers.
    Read,
}

impl Default for StreamWay {
    /// The mapped file where the system is sure to drop pages.
    fn default() -> StreamWay {
        if DROPS_PAGES { StreamWay::Map } else { StreamWay::Read }
    }
}

impl FromStr for StreamWay {
    type Err = String;

    fn from_str(name: &str) -> Result<StreamWay, String> {
        match name {
            "map" => Ok(StreamWay::Map),
            "read" => Ok(StreamWay::Read),
            _ => Err("expected map or read".to_owned()),
        }
    }
}

/// Experts that are in memory, where not all are: those of each layer that are used most. All others are read into slots
/// when they are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpertsKept {
    /// How many are kept, in all layers.
    pub n: usize,
    /// How many there are, in all layers.
    pub of: usize,
    /// Bytes of the slots: of those that are kept, and of those that come and go.
    pub bytes: u64,
    /// Whether it is known from before which are used most.
    pub known: bool,
}

impl ExpertsKept {
    /// How many are kept in a layer: in all the same number, or one more.
    pub fn kept_in(&self, il: usize, n_layer: usize) -> usize {
        (il + 1) * self.n / n_layer - il * self.n / n_layer
    }
}

/// Which feed-forwards are streamed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Streaming {
    /// How many layers' of a dense model. One of them is in memory at a time, or two where they are read: the next is read
    /// ahead while the layers between compute.
    pub layers: usize,
    /// How those are streamed.
    pub way: StreamWay,
    /// Of a sparse model, which experts stay; `None` where all do.
    pub experts: Option<ExpertsKept>,
    /// Bytes of the layers: what is read again for every batch. Of experts, what a written token is expected to read.
    pub bytes: u64,
    /// Whether they leave the system's page cache too, because that is what is short; else the system keeps the pages as
    /// long as it has room, and reading them again costs little.
    pub uncached: bool,
}

/// The layers, of `n_layer`, whose feed-forwards are streamed when those of `n` are: evenly spaced, ascending.
pub fn spread(n_layer: usize, n: usize) -> impl Iterator<Item = usize> {
    (0..n_layer).filter(move |il| (il + 1) * n / n_layer > il * n / n_layer)
}

/// Names that the weights of a layer's feed-forward may have: dense ones, and those of experts.
pub fn feed_forward(il: usize) -> impl Iterator<Item = String> {
    // As files have them in order.
    let dense = ["ffn_down", "ffn_gate", "ffn_up"];
    let experts = ["ffn_down_exps", "ffn_gate_exps", "ffn_gate_up_exps", "ffn_up_exps"];
    dense.into_iter().chain(experts).map(move |name| format!("blk.{il}.{name}.weight"))
}

/// Streams the feed-forwards of a bound model.
pub struct Stream {
    /// The weights of each streamed layer, as files have them in order; ascending.
    layers: Vec<(usize, Vec<Stored>)>,
    uncached: bool,
}

impl Stream {
    /// What `streaming` says of `n_layer` layers, of which `weights` tells the feed-forward, as files have it in order;
    /// `None` when nothing is streamed.
    pub(super) fn new(n_layer: usize, weights: impl Fn(usize) -> Vec<Stored>, streaming: &Streaming) -> Option<Stream> {
        let layers: Vec<_> = spread(n_layer, streaming.layers).map(|il| (il, weights(il))).collect();
        layers.iter().flat_map(|(_, weights)| weights).for_each(Stored::advise_transient);
        (!layers.is_empty()).then_some(Stream { layers, uncached: streaming.uncached })
    }

    /// Called when layer `il` has been computed: drops its feed-forward if it is one of those, and reads the next ahead.
    pub(super) fn used(&self, il: usize) {
        let Ok(i) = self.layers.binary_search_by_key(&il, |(il, _)| *il) else { return };
        for weight in &self.layers[i].1 {
            weight.evict();
            if self.uncached {
                weight.uncache();
            }
        }
        let (_, next) = &self.layers[(i + 1) % self.layers.len()];
        next.iter().for_each(Stored::prefetch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streamed_layers_are_as_many_as_asked_for_and_far_apart() {
        for n_layer in 1..40 {
            for n in 0..=n_layer {
                let layers: Vec<usize> = spread(n_layer, n).collect();
                assert_eq!(layers.len(), n);
                assert!(layers.iter().all(|&il| il < n_layer));
                assert!(layers.windows(2).all(|w| (n_layer / n..=n_layer.div_ceil(n)).contains(&(w[1] - w[0]))));
            }
        }
    }
}
