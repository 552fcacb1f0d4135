//! The vision tower's tensors: each looked up once, checked (name, type, shape), and from then on known by its field.
//! Matrices stay in the mapped file; vectors, the patch embedding and the position table are decoded.

use super::config::{PROJECTOR, VisionConfig};
use super::preprocess::{PATCH_VALUES, TEMPORAL};
use crate::gguf::{self, Gguf, Tensor};
use crate::model;
use kernels::{Format, Matrix, decode};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What can be wrong with a vision file, alone or beside a text model.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Model(#[from] model::Error),
    #[error(
        "architecture {architecture:?} is no vision tower: expected a file with architecture \"clip\" and a vision \
         encoder, such as mmproj-F16.gguf"
    )]
    NotVision { architecture: String },
    #[error("projector {found:?} is not supported: expected {PROJECTOR:?}, the vision tower of Qwen3.5")]
    Projector { found: String },
    #[error(
        "the vision tower makes rows of {found} values (clip.vision.projection_dim) and the text model takes \
         {expected} (embedding_length): they belong to different models"
    )]
    WrongModel { found: usize, expected: usize },
    #[error("tensor v.position_embd.weight: {found} rows: expected a square number")]
    PositionTable { found: usize },
}

impl From<gguf::Error> for Error {
    fn from(error: gguf::Error) -> Self {
        Error::Model(error.into())
    }
}

/// A linear layer `y = w·x + b`.
pub struct Linear<'g> {
    /// `[outputs, inputs]`.
    pub weight: Matrix<'g>,
    /// `[outputs]`.
    pub bias: Box<[f32]>,
}

/// A layer norm's scale and shift.
pub struct Norm {
    /// Scale.
    pub weight: Box<[f32]>,
    /// Shift.
    pub bias: Box<[f32]>,
}

/// One block: `x += attn_out(attend(attn_qkv(ln1 x))); x += ffn_down(gelu(ffn_up(ln2 x)))`.
pub struct Block<'g> {
    /// Norm before attention.
    pub ln1: Norm,
    /// Queries, keys, values, one after the other: `[3·n_embd, n_embd]`.
    pub attn_qkv: Linear<'g>,
    /// `[n_embd, n_embd]`.
    pub attn_out: Linear<'g>,
    /// Norm before the feed-forward.
    pub ln2: Norm,
    /// `[n_ff, n_embd]`.
    pub ffn_up: Linear<'g>,
    /// `[n_embd, n_ff]`.
    pub ffn_down: Linear<'g>,
}

/// A vision tower ready to run.
pub struct VisionModel<'g> {
    /// Hyper-parameters.
    pub config: VisionConfig,
    /// Patch embedding of a picture, whose frame fills both temporal slots: the sum of the two kernels,
    /// `[n_embd, 3, 16, 16]`.
    still: Box<[f32]>,
    /// Patch embedding of a pair of frames, `[n_embd, 2, 3, 16, 16]`.
    pair: Box<[f32]>,
    /// `[n_embd]`.
    pub patch_bias: Box<[f32]>,
    /// Learned positions of a square grid, `[side, side, n_embd]`.
    pub position_embd: Box<[f32]>,
    /// Side of that grid.
    pub position_side: usize,
    /// The blocks.
    pub blocks: Vec<Block<'g>>,
    /// The merger's norm, over single patches.
    pub post_ln: Norm,
    /// `[4·n_embd, 4·n_embd]`.
    pub mm_0: Linear<'g>,
    /// `[n_out, 4·n_embd]`.
    pub mm_2: Linear<'g>,
    /// Tells this tower from others: a hash over its keys' values that matter, its tensors' names, shapes, types and the
    /// start of each one's data.
    pub fingerprint: [u8; 32],
}

impl<'g> VisionModel<'g> {
    /// Finds and checks every weight.
    ///
    /// # Errors
    /// What [`VisionConfig::from_gguf`] finds, or the first tensor that is missing, misshapen or of an unsupported type.
    pub fn bind(gguf: &'g Gguf) -> Result<VisionModel<'g>, Error> {
        let config = VisionConfig::from_gguf(gguf)?;
        let bind = Bind { gguf };
        let (h, ff, merged) = (config.n_embd, config.n_ff, config.merged());
        let slots = [
            bind.values("v.patch_embd.weight", &[h, 3, 16, 16])?,
            bind.values("v.patch_embd.weight.1", &[h, 3, 16, 16])?,
        ];
        let still = slots[0].iter().zip(&slots[1]).map(|(a, b)| a + b).collect();
        let mut pair = Vec::with_capacity(TEMPORAL * slots[0].len());
        for (a, b) in slots[0].chunks_exact(PATCH_VALUES).zip(slots[1].chunks_exact(PATCH_VALUES)) {
            pair.extend_from_slice(a);
            pair.extend_from_slice(b);
        }

        let rows = gguf.tensor("v.position_embd.weight").map_or(48 * 48, |t| t.shape[0]);
        let position_side = rows.isqrt();
        if position_side * position_side != rows {
            return Err(Error::PositionTable { found: rows });
        }
        let blocks = (0..config.n_layer)
            .map(|i| {
                let name = |part: &str| format!("v.blk.{i}.{part}");
                Ok(Block {
                    ln1: bind.norm(&name("ln1"), h)?,
                    attn_qkv: bind.linear(&name("attn_qkv"), 3 * h, h)?,
                    attn_out: bind.linear(&name("attn_out"), h, h)?,
                    ln2: bind.norm(&name("ln2"), h)?,
                    ffn_up: bind.linear(&name("ffn_up"), ff, h)?,
                    ffn_down: bind.linear(&name("ffn_down"), h, ff)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(VisionModel {
            still,
            pair: pair.into(),
            patch_bias: bind.values("v.patch_embd.bias", &[h])?,
            position_embd: bind.values("v.position_embd.weight", &[rows, h])?,
            position_side,
            blocks,
            post_ln: bind.norm("v.post_ln", h)?,
            mm_0: bind.linear("mm.0", merged, merged)?,
            mm_2: bind.linear("mm.2", config.n_out, merged)?,
            fingerprint: fingerprint(gguf, &config),
            config,
        })
    }

    /// The patch embedding for rows of `frames` frames: 1 for a picture, 2 for a clip.
    pub fn patch_embd(&self, frames: usize) -> Matrix<'_> {
        let values = if frames == 1 { &self.still } else { &self.pair };
        Matrix::new(Format::F32, self.config.n_embd, frames * PATCH_VALUES, bytemuck::cast_slice(values))
    }

    /// Checks that the rows this tower makes are rows the text model takes.
    ///
    /// # Errors
    /// [`Error::WrongModel`].
    pub fn check_text_model(&self, n_embd: usize) -> Result<(), Error> {
        match self.config.n_out {
            n_out if n_out == n_embd => Ok(()),
            found => Err(Error::WrongModel { found, expected: n_embd }),
        }
    }
}

/// Bytes of the weights that binding decodes: everything but the matrices of blocks and merger; the patch embedding in two
/// forms, and the values these are made from.
pub fn copies(gguf: &Gguf) -> u64 {
    let matrix = |name: &str| {
        name.ends_with(".weight")
            && (name.starts_with("mm.") || ["attn_", "ffn_"].iter().any(|part| name.contains(part)))
    };
    let times = |name: &str| if name.starts_with("v.patch_embd.weight") { 3 } else { 1 };
    let decoded = gguf.tensors().filter(|t| !matrix(t.name));
    decoded.map(|t| times(t.name) * 4 * t.len() as u64).sum()
}

/// See [`VisionModel::fingerprint`].
fn fingerprint(gguf: &Gguf, config: &VisionConfig) -> [u8; 32] {
    const START: usize = 4096;
    let mut hash = Sha256::new();
    hash.update(format!("{config:?}"));
    for tensor in gguf.tensors() {
        hash.update(format!("{} {} {:?}", tensor.name, tensor.ty, tensor.shape));
        hash.update(&tensor.bytes[..tensor.bytes.len().min(START)]);
    }
    hash.finalize().into()
}

/// Looks tensors up and checks them.
struct Bind<'g> {
    gguf: &'g Gguf,
}

impl<'g> Bind<'g> {
    fn tensor(&self, name: &str, expected: &[usize]) -> Result<(Tensor<'g>, Format), model::Error> {
        let Some(tensor) = self.gguf.tensor(name) else {
            return Err(model::Error::MissingTensor { name: name.into(), expected: expected.to_vec() });
        };
        if tensor.shape != expected {
            let (expected, found) = (expected.to_vec(), tensor.shape.to_vec());
            return Err(model::Error::Shape { name: name.into(), expected, found });
        }
        match tensor.ty.format() {
            Some(format) => Ok((tensor, format)),
            None => Err(model::Error::TensorType { name: name.into(), found: tensor.ty.name().to_string() }),
        }
    }

    fn linear(&self, name: &str, rows: usize, cols: usize) -> Result<Linear<'g>, Error> {
        let (tensor, format) = self.tensor(&format!("{name}.weight"), &[rows, cols])?;
        let bias = self.values(&format!("{name}.bias"), &[rows])?;
        Ok(Linear { weight: Matrix::new(format, rows, cols, tensor.bytes), bias })
    }

    fn norm(&self, name: &str, n: usize) -> Result<Norm, Error> {
        let weight = self.values(&format!("{name}.weight"), &[n])?;
        Ok(Norm { weight, bias: self.values(&format!("{name}.bias"), &[n])? })
    }

    /// A tensor, decoded.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Box<[f32]>, Error> {
        let (tensor, format) = self.tensor(name, shape)?;
        let mut values = vec![0.0; tensor.len()];
        decode::decode_row(format, tensor.bytes, &mut values);
        Ok(values.into())
    }
}

/// The vision file that belongs to a model file by its name: one whose name starts with `mmproj` in the same directory.
/// Of several, the one that shares the longest part of its name with the model's, then the smallest type: 16-bit before
/// 8-bit before 32-bit.
pub fn find_beside(model: &Path) -> Option<PathBuf> {
    let directory = match model.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let words = |path: &Path| -> Vec<String> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        stem.split(['-', '_', '.']).map(str::to_owned).collect()
    };
    let model_words = words(model);
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")))
        .filter_map(|path| {
            let own = words(&path);
            let is_mmproj = own.iter().any(|word| word == "mmproj");
            let size = |word: &String| word.ends_with('b') && word.starts_with(|c: char| c.is_ascii_digit());
            // A file that names another size belongs to another model.
            let other_size = own.iter().any(|word| size(word) && !model_words.contains(word));
            let shared = own.iter().filter(|word| model_words.contains(word)).count();
            let kinds = ["f16", "bf16", "q8", "f32"];
            let kind = kinds.iter().position(|kind| own.iter().any(|word| word == kind)).unwrap_or(kinds.len());
            (is_mmproj && !other_size).then_some((usize::MAX - shared, kind, path))
        })
        .collect();
    found.sort();
    found.into_iter().next().map(|(_, _, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vision_file_beside_a_model_is_found_by_its_name() {
        let dir = std::env::temp_dir().join(format!("qwen-edge-find-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let found = |model: &str| {
            find_beside(&dir.join(model)).map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(found("Qwen3.5-0.8B-Q4_K_M.gguf"), None);
        for name in ["mmproj-F32.gguf", "mmproj-F16.gguf", "mmproj-Qwen3.5-4B-F16.gguf", "Qwen3.5-0.8B-Q4_K_M.gguf"] {
            std::fs::write(dir.join(name), b"").unwrap();
        }
        assert_eq!(found("Qwen3.5-0.8B-Q4_K_M.gguf").as_deref(), Some("mmproj-F16.gguf"));
        assert_eq!(found("Qwen3.5-4B-Q8_0.gguf").as_deref(), Some("mmproj-Qwen3.5-4B-F16.gguf"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
