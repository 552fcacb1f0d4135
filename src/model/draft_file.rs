//! A block for drafting in a file of its own, as some publish it: the block's tensors, and again embedding, final norm and head of
//! the model that it belongs to, whose own are used.

use super::names::split_block;
use super::weights::Mtp;
use super::{Config, Error};
use crate::gguf::{Gguf, Tensor};
use kernels::activations::Forms;

/// A file that has a block for a model.
pub struct DraftFile<'g> {
    gguf: &'g Gguf,
    /// The number that its tensors have.
    il: usize,
}

impl<'g> DraftFile<'g> {
    /// Checks that the file has a whole block for the model of `trunk`, whose hyper-parameters are `config`, by its directory: no
    /// weight is read.
    ///
    /// # Errors
    /// [`Error`], about the file of the block: another architecture, width or vocabulary; a tensor that is missing, misshapen or
    /// of an unsupported type.
    pub fn new(gguf: &'g Gguf, trunk: &Gguf, config: &Config) -> Result<DraftFile<'g>, Error> {
        let architecture = gguf.string("general.architecture")?.unwrap_or_default();
        if trunk.string("general.architecture")? != Some(architecture) {
            return Err(Error::Architecture { found: architecture.to_owned() });
        }
        let tokens = "tokenizer.ggml.tokens";
        if let (Some(found), Some(expected)) = (gguf.strings(tokens)?, trunk.strings(tokens)?)
            && !found.clone().eq(expected.clone())
        {
            let expected = format!("the {} tokens of the model", expected.len());
            let found = format!("{} tokens, and not the same", found.len());
            return Err(Error::Key { key: tokens.to_owned(), expected, found });
        }
        if let (Some(found), Some(expected)) = (gguf.tensor("token_embd.weight"), trunk.tensor("token_embd.weight"))
            && found.shape != expected.shape
        {
            let (expected, found) = (expected.shape.to_vec(), found.shape.to_vec());
            return Err(Error::Shape { name: "token_embd.weight".to_owned(), expected, found });
        }
        let joint = |tensor: Tensor<'_>| match split_block(tensor.name) {
            Some((il, "nextn.eh_proj.weight")) => Some(il),
            _ => None,
        };
        let il = gguf.tensors().find_map(joint).unwrap_or(config.n_layer());
        let file = DraftFile { gguf, il };
        Mtp::find(gguf, config, il, false)?;
        Ok(file)
    }

    /// The tensors of the block.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'g>> {
        let il = self.il;
        let is_of_block =
            move |name: &str| name.starts_with("mtp.") || split_block(name).is_some_and(|(of, _)| of == il);
        self.gguf.tensors().filter(move |tensor| is_of_block(tensor.name))
    }

    /// The forms that its weights ask for activations to be brought into, and those that `others` ask for.
    pub fn forms(&self, others: Forms) -> Forms {
        let matrices = self.tensors().filter(|tensor| tensor.shape.len() == 2);
        let own = Forms::of(matrices.filter_map(|tensor| tensor.ty.format()));
        Forms { quants: own.quants || others.quants, int16: own.int16 || others.int16 }
    }

    /// The block.
    ///
    /// # Errors
    /// As [`DraftFile::new`].
    pub fn block(&self, config: &Config) -> Result<Mtp, Error> {
        Mtp::find(self.gguf, config, self.il, true)
    }
}
