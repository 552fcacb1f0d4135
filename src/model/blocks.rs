//! Which of a file's blocks are the trunk, and whether one for drafting stands behind them.
//!
//! `block_count` counts the trunk and the blocks behind it, whose number is `nextn_predict_layers`; other writers count the
//! trunk alone. Files are cut and mended by hand, too, and then keep a key whose tensors are gone. So the tensors have the
//! last word: a block behind the trunk is one with the tensors that join it to the trunk.

use super::{Error, LayerKind, names};
use crate::gguf::{Gguf, Note};

/// How many blocks of a file are what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Blocks {
    /// Layers of the trunk.
    pub n_layer: usize,
    /// Blocks for drafting that are used: 0 or 1.
    pub n_mtp: usize,
}

impl Blocks {
    /// Counts the blocks of a file that says it has `n_block`; `kinds(n)` are the kinds of the first n, were they the trunk.
    ///
    /// # Errors
    /// If there are not even as many tensors as blocks, or a block that the key leaves out, and that is none for drafting.
    pub fn count(
        gguf: &Gguf,
        (count_key, n_block): (&str, usize),
        behind_key: &str,
        kinds: impl Fn(usize) -> Result<Vec<LayerKind>, Error>,
        notes: &mut Vec<Note>,
    ) -> Result<Blocks, Error> {
        let wrong = |expected| Err(Error::Key { key: count_key.to_owned(), expected, found: n_block.to_string() });
        if n_block > gguf.n_tensors() {
            return wrong(format!("fewer blocks than the {} tensors of the file", gguf.n_tensors()));
        }
        let n_behind = gguf.advice(behind_key, n_block as u64, notes).unwrap_or(0) as usize;
        let n_front = n_block - n_behind;
        let joined = |il: usize| names::joints(il).any(|(ours, _)| gguf.tensor(&ours).is_some());
        let blocks = gguf.tensors().filter_map(|tensor| names::split_block(tensor.name));
        if let Some((il, ending)) = blocks.into_iter().find(|&(il, _)| il >= n_block && !joined(il)) {
            return wrong(format!("more, as the file has the tensor blk.{il}.{}", ending.escape_debug()));
        }
        // As the keys say; counting the trunk alone; without a key for the block behind it.
        if let Some(&n_layer) = [n_front, n_block, n_block - 1].iter().find(|&&il| il > 0 && joined(il)) {
            return Ok(Blocks { n_layer, n_mtp: 1 });
        }
        let there = |il: usize, ending: &str| gguf.tensor(&format!("blk.{il}.{ending}")).is_some();
        if names::joints(0).any(|(_, other)| gguf.tensor(other).is_some()) {
            // The block has names of its own: the others are all of the trunk.
            let n_layer = if there(n_block - 1, "attn_norm.weight") { n_block } else { n_front };
            return Ok(Blocks { n_layer, n_mtp: 1 });
        }
        if n_behind == 0 {
            return Ok(Blocks { n_layer: n_block, n_mtp: 0 });
        }
        // The key speaks of blocks that are gone, or counts layers of the trunk.
        let of_trunk = |il: usize, kind| match kind {
            LayerKind::DeltaNet => there(il, "ssm_out.weight"),
            LayerKind::Attention => there(il, "attn_output.weight"),
        };
        let kinds = kinds(n_block).unwrap_or_default();
        let n_layer = (n_front..kinds.len()).find(|&il| !of_trunk(il, kinds[il])).unwrap_or(n_front.max(kinds.len()));
        let why = format!("there is no block for drafting behind the {n_layer} layers of the trunk");
        notes.push(Note::key(behind_key, why));
        Ok(Blocks { n_layer, n_mtp: 0 })
    }
}
