//! Memory that looking at pictures and clips takes, as the plan asks for it.

use super::config::VisionConfig;
use super::eyes::DEFAULT_IMAGE_TOKENS;
use super::preprocess::TEMPORAL;
use super::resize::{Area, TOKEN_PIXELS};
use super::tower;
use crate::engine::plan::{Looking, VisionMemory};

/// A vision tower, and what is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct VisionLoad<'a> {
    /// Hyper-parameters.
    pub config: &'a VisionConfig,
    /// Bytes of its file.
    pub weights: u64,
    /// Bytes of the weights that are decoded when they are bound.
    pub copies: u64,
    /// Most tokens of a picture that the caller asked for; `None` leaves it to the plan.
    pub image_tokens: Option<usize>,
    /// Pictures and clips whose rows are kept.
    pub n_input: usize,
    /// Whether a clip is among them.
    pub clips: bool,
}

impl Looking for VisionLoad<'_> {
    /// What pictures take that may fill half of a context of `n_ctx` tokens.
    fn memory(&self, n_ctx: usize, threads: usize) -> VisionMemory {
        let half = (n_ctx / 2).max(1);
        let image_tokens = self.image_tokens.unwrap_or_else(|| DEFAULT_IMAGE_TOKENS.min(half));
        let clip_tokens = if self.clips { half.min(Area::VIDEO.max / TOKEN_PIXELS / TEMPORAL) } else { 0 };
        let work = |tokens, frames| tower::bytes(self.config, tokens, frames, threads);
        let kept = image_tokens.max(clip_tokens) * self.n_input * 4 * self.config.n_out;
        let image = work(image_tokens, 1);
        let clip = if self.clips { work(clip_tokens, TEMPORAL) } else { 0 };
        let buffers = image.max(clip).saturating_add(kept as u64);
        VisionMemory { weights: self.weights, copies: self.copies, buffers, image_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published tower of the 0.8B model.
    const TOWER: VisionConfig =
        VisionConfig { n_layer: 12, n_embd: 768, n_ff: 3072, n_head: 12, n_out: 1024, eps: 1e-6, area: Area::IMAGE };

    #[test]
    fn pictures_are_as_large_as_half_a_context_holds_or_as_was_asked() {
        let load = VisionLoad {
            config: &TOWER,
            weights: 200_000_000,
            copies: 12_000_000,
            image_tokens: None,
            n_input: 1,
            clips: false,
        };
        let roomy = load.memory(262_144, 2);
        assert_eq!((roomy.image_tokens, roomy.weights, roomy.copies), (DEFAULT_IMAGE_TOKENS, 200_000_000, 12_000_000));
        assert_eq!(roomy.total(), 212_000_000 + roomy.buffers);
        let short = load.memory(512, 2);
        assert!(short.image_tokens == 256 && short.buffers < roomy.buffers);
        // What was asked for does not shrink.
        let asked = VisionLoad { image_tokens: Some(16_384), ..load }.memory(512, 2);
        assert!(asked.image_tokens == 16_384 && asked.buffers > 4 * roomy.buffers);
        // A clip is all its frames.
        assert!(VisionLoad { clips: true, ..load }.memory(262_144, 2).buffers > 2 * roomy.buffers);
    }
}
