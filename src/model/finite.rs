//! Where values that are no numbers come from: NaN and infinity spread from one weight to everything behind it.

use super::weights::Model;
use super::{Config, LayerKind};
use crate::gguf::Gguf;
use kernels::decode;
use std::fmt;

/// Whether all values are numbers.
pub fn is_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// The part of a model behind which values that are no numbers first appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The input itself: a row of the embedding, or of the vision tower.
    Input,
    /// A layer of the trunk.
    Layer(usize, LayerKind),
    /// The final norm and the head.
    Head,
}

/// Values that are no numbers: where they first appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotFinite {
    /// The token behind which they appear, counted from the start of the context.
    pub token: usize,
    /// The part of the model.
    pub place: Place,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Input => write!(f, "in the input")?,
            Place::Layer(il, LayerKind::DeltaNet) => write!(f, "behind layer {il} (DeltaNet)")?,
            Place::Layer(il, LayerKind::Attention) => write!(f, "behind layer {il} (attention)")?,
            Place::Head => write!(f, "behind the head")?,
        }
        write!(f, " at token {}", self.token)
    }
}

impl NotFinite {
    /// The place of the first row of `x [n, n_embd]`, the input of layer `il` behind `token` tokens, that is no number;
    /// `None` when all are.
    pub(crate) fn in_input(config: &Config, il: usize, x: &[f32], token: usize) -> Option<NotFinite> {
        let row = x.chunks(config.n_embd).position(|row| !is_finite(row))?;
        let place = il.checked_sub(1).map_or(Place::Input, |il| Place::Layer(il, config.layers[il]));
        Some(NotFinite { token: token + row, place })
    }

    /// The first tensor of the place that holds such a value itself: its name and the row of the value. `None` when
    /// none does, as when finite weights overflow.
    pub fn tensor<'g>(&self, gguf: &'g Gguf, model: &Model) -> Option<(&'g str, usize)> {
        let block = match self.place {
            Place::Layer(il, _) => format!("blk.{il}."),
            Place::Input | Place::Head => String::new(),
        };
        let of_place = |name: &str| match self.place {
            Place::Input => name == "token_embd.weight",
            Place::Layer(..) => name.starts_with(&block),
            Place::Head if gguf.tensor("output.weight").is_some() => {
                ["output_norm.weight", "output.weight"].contains(&name)
            }
            Place::Head => ["output_norm.weight", "token_embd.weight"].contains(&name),
        };
        let mut row_values = vec![0.0; model.config.n_embd];
        for tensor in gguf.tensors().filter(|tensor| of_place(tensor.name)) {
            let (Some(format), Some(&cols)) = (tensor.ty.format(), tensor.shape.last()) else { continue };
            let Some(row_bytes) = format.row_bytes(cols).filter(|&bytes| bytes > 0) else { continue };
            row_values.resize(cols, 0.0);
            let mut rows = tensor.bytes.chunks_exact(row_bytes);
            let damaged = rows.position(|row| {
                decode::decode_row(format, row, &mut row_values);
                !is_finite(&row_values)
            });
            if let Some(row) = damaged {
                return Some((tensor.name, row));
            }
        }
        None
    }
}
