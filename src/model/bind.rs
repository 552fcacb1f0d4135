//! Looks a file's tensors up, checks them (name, type, shape), and keeps account of them: what nobody has asked for at the
//! end would have been left out of the answer, and is refused by its name.
//!
//! A matrix `NAME.weight` may have a scale beside it, `NAME.scale`, as those of NVFP4 do: one number, or one for each expert.
//! What is written of its input, `NAME.input_scale`, is for those who round inputs to four bits; here nobody does.

use super::Error;
use super::names::Spelling;
use crate::compute::weight::Weight;
use crate::gguf::{Gguf, Tensor};
use kernels::{Format, decode};
use std::cell::RefCell;
use std::collections::HashSet;

/// The tensors of a file by our names; `spelling` gives the other name of one of ours, where there is one.
pub struct Bind<'g, S> {
    gguf: &'g Gguf,
    /// Whether small tensors are decoded, rather than only looked for.
    read: bool,
    spelling: S,
    /// Names, as in the file, of what has been asked for.
    taken: RefCell<HashSet<&'g str>>,
}

/// A tensor, by whichever of its names.
#[derive(Clone, Copy)]
pub struct Found<'g> {
    /// The tensor.
    pub tensor: Tensor<'g>,
    /// See [`Spelling::lacks_one`].
    lacks_one: bool,
}

impl<'g, S: Fn(&str) -> Option<Spelling>> Bind<'g, S> {
    /// Nothing is taken yet. Without `read` tensors are checked by the file's directory alone: small ones stay empty.
    pub fn new(gguf: &'g Gguf, read: bool, spelling: S) -> Self {
        Bind { gguf, read, spelling, taken: RefCell::new(HashSet::new()) }
    }

    /// The tensor of a name, when the file has it.
    pub fn find(&self, name: &str) -> Option<Found<'g>> {
        if let Some(tensor) = self.gguf.tensor(name) {
            return Some(Found { tensor, lacks_one: false });
        }
        let Spelling { name, lacks_one } = (self.spelling)(name)?;
        self.gguf.tensor(&name).map(|tensor| Found { tensor, lacks_one })
    }

    /// Takes a tensor of the shape that the hyper-parameters ask for, and of a type there are kernels for.
    fn take(&self, name: &str, expected: &[usize]) -> Result<(Found<'g>, Format), Error> {
        let Some(found) = self.find(name) else {
            return Err(Error::MissingTensor { name: name.into(), expected: expected.to_vec() });
        };
        let Tensor { name, ty, shape, .. } = found.tensor;
        if *shape != *expected {
            return Err(Error::Shape { name: name.into(), expected: expected.to_vec(), found: shape.to_vec() });
        }
        match ty.format() {
            Some(format) => {
                self.taken.borrow_mut().insert(name);
                Ok((found, format))
            }
            None => Err(Error::TensorType { name: name.into(), found: ty.name().to_string() }),
        }
    }

    /// A matrix, which stays in the file.
    ///
    /// # Errors
    /// If it is missing, misshapen or of a type without kernels.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Weight, Error> {
        let (found, format) = self.take(name, &[rows, cols])?;
        let stored = self.gguf.stored(found.tensor.name).expect("found above");
        Ok(Weight::new(stored, format, rows, cols).scaled(self.scales(&found, 1)?[0]))
    }

    /// A matrix of floats, which stays in the file.
    ///
    /// # Errors
    /// As [`Bind::matrix`], and if it is quantised.
    pub fn floats(&self, name: &str, rows: usize, cols: usize) -> Result<Weight, Error> {
        let weight = self.matrix(name, rows, cols)?;
        if weight.format().is_float() {
            return Ok(weight);
        }
        Err(Error::TensorType {
            name: name.into(),
            found: format!("{}, which is too coarse for this one", weight.format()),
        })
    }

    /// As many matrices as there are, one behind the other in one tensor `[n, rows, cols]`.
    ///
    /// # Errors
    /// As [`Bind::matrix`].
    pub fn matrices(&self, name: &str, n: usize, rows: usize, cols: usize) -> Result<Vec<Weight>, Error> {
        let (found, format) = self.take(name, &[n, rows, cols])?;
        let stored = self.gguf.stored(found.tensor.name).expect("found above");
        let all = Weight::new(stored, format, n * rows, cols);
        let scales = self.scales(&found, n)?;
        Ok((0..n).map(|i| all.slice_rows(i * rows..(i + 1) * rows).scaled(scales[i])).collect())
    }

    /// The scales of the `n` matrices in a tensor: 1 where the file has none for it.
    fn scales(&self, found: &Found<'g>, n: usize) -> Result<Box<[f32]>, Error> {
        let ones = || vec![1.0; n].into();
        let Some(stem) = found.tensor.name.strip_suffix(".weight") else { return Ok(ones()) };
        if let Some(unused) = self.gguf.tensor(&format!("{stem}.input_scale")) {
            self.taken.borrow_mut().insert(unused.name);
        }
        let name = format!("{stem}.scale");
        if self.gguf.tensor(&name).is_none() {
            return Ok(ones());
        }
        let scales = self.values(&name, &[n])?;
        Ok(if self.read { scales } else { ones() })
    }

    /// A small tensor, decoded.
    ///
    /// # Errors
    /// As [`Bind::matrix`].
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Box<[f32]>, Error> {
        let (found, format) = self.take(name, shape)?;
        let scale = self.scales(&found, 1)?[0];
        let Found { tensor, lacks_one } = found;
        if !self.read {
            return Ok(Box::default());
        }
        let mut values = vec![0.0; tensor.len()];
        let row = shape.last().copied().unwrap_or(1);
        let row_bytes = format.row_bytes(row).expect("checked by the container");
        for (out, bytes) in values.chunks_mut(row).zip(tensor.bytes.chunks(row_bytes)) {
            decode::decode_row(format, bytes, out);
        }
        values.iter_mut().for_each(|value| *value *= scale);
        if lacks_one {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        Ok(values.into())
    }

    /// A vector, decoded.
    ///
    /// # Errors
    /// As [`Bind::matrix`].
    pub fn vector(&self, name: &str, len: usize) -> Result<Box<[f32]>, Error> {
        self.values(name, &[len])
    }

    /// Checks that of the tensors whose names `matter` none was left over.
    ///
    /// # Errors
    /// [`Error::Unused`] with the first that was.
    pub fn check_account(&self, matter: impl Fn(&str) -> bool) -> Result<(), Error> {
        let taken = self.taken.borrow();
        let mut left = self.gguf.tensors().filter(|tensor| matter(tensor.name) && !taken.contains(tensor.name));
        match left.next() {
            None => Ok(()),
            Some(first) => Err(Error::unused(first.name, left.count())),
        }
    }
}
