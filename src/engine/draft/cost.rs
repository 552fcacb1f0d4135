//! What the block takes beside the trunk by the bytes of its weights: where nothing is measured yet, and where nothing can be,
//! for what a prompt is shown to it is a part of the pass that reads the prompt.

use super::shortlist::Shortlist;
use crate::compute::weight::Weight;
use crate::model::Model;
use crate::model::weights::{FeedForward, Mixer};

/// Parts of a pass.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cost {
    /// A draft step, of a pass of one row.
    pub step: f64,
    /// What showing all rows of a prompt to the block adds to the pass that reads them.
    pub showing: f64,
}

impl Cost {
    /// That of a model's block, `None` if it has none.
    pub fn of(model: &Model) -> Option<Cost> {
        let block = model.mtp.as_ref()?;
        let bytes = |weights: &[&Weight]| weights.iter().map(|w| w.stored().len()).sum::<usize>() as f64;
        let n_used = model.config.experts.map_or(0, |experts| experts.n_used);
        let ffn = |ffn: &FeedForward| ffn.bytes_per_row(n_used) as f64;
        let Mixer::Attention(mixer) = &block.layer.mixer else { return None };
        let remembered = bytes(&[&block.eh_proj, &mixer.attn_k, &mixer.attn_v]);
        let layer = remembered + bytes(&[&mixer.attn_q, &mixer.attn_output]) + ffn(&block.layer.ffn);
        let head = (model.output.matrix().row_bytes() * Shortlist::new(model.n_vocab).n_core()) as f64;
        // Rows that nobody reads are spared the last feed-forward of the trunk, unless they are shown.
        let shown = remembered + model.layers.last().map_or(0.0, |layer| ffn(&layer.ffn));
        let token = model.bytes_per_token() as f64;
        let layers = token - bytes(&[&model.output]);
        Some(Cost { step: (layer + head) / token, showing: shown / layers.max(1.0) })
    }
}
