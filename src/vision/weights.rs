//! The vision tower's tensors: each looked up once, checked (name, type, shape), and from then on known by its field.
//! Matrices stay in the mapped file; vectors, the patch embedding and the position table are decoded.
//!
//! They lie in a file of their own (`mmproj`), or in the text model's. Two of them are cut in two ways:
//!
//! | `mmproj` | Ollama's converter |
//! |---|---|
//! | `v.patch_embd.weight`, `.weight.1`: `[h, 3, 16, 16]` for each of two frames | `v.patch_embed.weight [h·3, 2, 16, 16]` |
//! | `v.blk.N.attn_qkv` `[3·h, h]` | `v.blk.N.attn_q`, `attn_k`, `attn_v` |

use super::config::{self, PROJECTOR, VisionConfig};
use super::names::other_spelling;
use super::preprocess::{CHANNELS, PATCH, PATCH_VALUES, TEMPORAL};
use crate::compute::weight::Weight;
use crate::gguf::{self, Gguf, Note, Tensor};
use crate::model;
use crate::model::bind::Bind;
use crate::model::names::{Spelling, is_vision};
use kernels::{Format, Matrix};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What can be wrong with a vision file, alone or beside a text model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
pub struct Linear {
    /// `[outputs, inputs]`.
    pub weight: Weight,
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

/// One block: `x += attn_out(attend(attn_q|k|v(ln1 x))); x += ffn_down(gelu(ffn_up(ln2 x)))`.
pub struct Block {
    /// Norm before attention.
    pub ln1: Norm,
    /// Queries `[n_embd, n_embd]`.
    pub attn_q: Linear,
    /// Keys `[n_embd, n_embd]`.
    pub attn_k: Linear,
    /// Values `[n_embd, n_embd]`.
    pub attn_v: Linear,
    /// `[n_embd, n_embd]`.
    pub attn_out: Linear,
    /// Norm before the feed-forward.
    pub ln2: Norm,
    /// `[n_ff, n_embd]`.
    pub ffn_up: Linear,
    /// `[n_embd, n_ff]`.
    pub ffn_down: Linear,
}

/// A vision tower ready to run.
pub struct VisionModel {
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
    pub blocks: Vec<Block>,
    /// The merger's norm, over single patches.
    pub post_ln: Norm,
    /// `[4·n_embd, 4·n_embd]`.
    pub mm_0: Linear,
    /// `[n_out, 4·n_embd]`.
    pub mm_2: Linear,
    /// Tells this tower from others: a hash over its keys' values that matter, its tensors' names, shapes, types and the
    /// start of each one's data.
    pub fingerprint: [u8; 32],
    /// Keys that were ignored.
    pub notes: Vec<Note>,
}

impl VisionModel {
    /// Finds and checks every weight, in a vision file or in a text model's with a tower inside.
    ///
    /// # Errors
    /// What [`VisionConfig::from_gguf`] finds; the first tensor that is missing, misshapen or of an unsupported type; one of
    /// a tower that is none of these, and would have been left out.
    pub fn bind(gguf: &Gguf) -> Result<VisionModel, Error> {
        VisionModel::find(gguf, true)
    }

    /// Whether every weight is there, by the directory of the file, and goes with a text model of width `n_embd`. No weight
    /// is read; beside the hyper-parameters stands which keys were ignored.
    ///
    /// # Errors
    /// As [`VisionModel::bind`] and [`VisionModel::check_text_model`].
    pub fn check(gguf: &Gguf, n_embd: usize) -> Result<(VisionConfig, Vec<Note>), Error> {
        let model = VisionModel::find(gguf, false)?;
        model.check_text_model(n_embd)?;
        Ok((model.config, model.notes))
    }

    fn find(gguf: &Gguf, read: bool) -> Result<VisionModel, Error> {
        let mut notes = Vec::new();
        let config = VisionConfig::read(gguf, &mut notes)?;
        let tower = Tower { bind: Bind::new(gguf, read, other_spelling), h: config.n_embd };
        let bind = &tower.bind;
        let (h, ff, merged) = (config.n_embd, config.n_ff, config.merged());
        let pair = tower.patch_embedding()?;
        let mut still = Vec::with_capacity(pair.len() / TEMPORAL);
        for frames in pair.chunks_exact(TEMPORAL * PATCH_VALUES) {
            let (a, b) = frames.split_at(PATCH_VALUES);
            still.extend(a.iter().zip(b).map(|(a, b)| a + b));
        }

        let table = "v.position_embd.weight";
        let rows = bind.find(table).and_then(|found| found.tensor.shape.first().copied()).unwrap_or(48 * 48);
        let position_side = rows.isqrt();
        if position_side * position_side != rows {
            return Err(Error::PositionTable { found: rows });
        }
        let blocks = (0..config.n_layer)
            .map(|i| {
                let name = |part: &str| format!("v.blk.{i}.{part}");
                let ln1 = tower.norm(&name("ln1"))?;
                let [attn_q, attn_k, attn_v] = tower.queries_keys_values(i)?;
                Ok(Block {
                    ln1,
                    attn_q,
                    attn_k,
                    attn_v,
                    attn_out: tower.linear(&name("attn_out"), h, h)?,
                    ln2: tower.norm(&name("ln2"))?,
                    ffn_up: tower.linear(&name("ffn_up"), ff, h)?,
                    ffn_down: tower.linear(&name("ffn_down"), h, ff)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        let model = VisionModel {
            still: still.into(),
            pair: pair.into(),
            patch_bias: bind.vector("v.patch_embd.bias", h)?,
            position_embd: bind.values(table, &[rows, h])?,
            position_side,
            blocks,
            post_ln: tower.norm("v.post_ln")?,
            mm_0: tower.linear("mm.0", merged, merged)?,
            mm_2: tower.linear("mm.2", config.n_out, merged)?,
            fingerprint: if read { fingerprint(gguf, &config) } else { [0; 32] },
            notes,
            config,
        };
        // Beside it may lie the text model, or the encoder of sounds of another kind of model.
        let inside = config::is_inside(gguf);
        let of_sounds = |name: &str| ["a.", "mm.a."].iter().any(|prefix| name.starts_with(prefix));
        bind.check_account(|name| if inside { is_vision(name) } else { !of_sounds(name) })?;
        Ok(model)
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

/// The tensors of the tower in a file.
pub fn tensors(gguf: &Gguf) -> impl Iterator<Item = Tensor<'_>> {
    gguf.tensors().filter(|tensor| is_vision(tensor.name))
}

/// Bytes of the weights that binding decodes: everything but the matrices of blocks and merger; the patch embedding in two
/// forms, and the values these are made from.
pub fn copies(gguf: &Gguf) -> u64 {
    let table = |name: &str| ["v.position_embd.", "v.pos_embed."].iter().any(|part| name.starts_with(part));
    let patches = |name: &str| name.starts_with("v.patch_emb") && name.contains(".weight");
    let times = |name: &str| if patches(name) { 3 } else { 1 };
    let decoded = tensors(gguf).filter(|t| t.shape.len() != 2 || table(t.name));
    decoded.map(|t| times(t.name) * 4 * t.len() as u64).sum()
}

/// See [`VisionModel::fingerprint`].
fn fingerprint(gguf: &Gguf, config: &VisionConfig) -> [u8; 32] {
    const START: usize = 4096;
    let mut hash = Sha256::new();
    hash.update(format!("{config:?}"));
    for tensor in tensors(gguf) {
        hash.update(format!("{} {} {:?}", tensor.name, tensor.ty, tensor.shape));
        hash.update(&tensor.bytes[..tensor.bytes.len().min(START)]);
    }
    hash.finalize().into()
}

/// The tensors of a tower of width `h`.
struct Tower<'g, S> {
    bind: Bind<'g, S>,
    h: usize,
}

impl<S: Fn(&str) -> Option<Spelling>> Tower<'_, S> {
    fn linear(&self, name: &str, rows: usize, cols: usize) -> Result<Linear, Error> {
        let weight = self.bind.matrix(&format!("{name}.weight"), rows, cols)?;
        if weight.scale() != 1.0 {
            return Err(model::Error::unused(&format!("{name}.scale"), 0).into());
        }
        Ok(Linear { weight, bias: self.bind.vector(&format!("{name}.bias"), rows)? })
    }

    fn norm(&self, name: &str) -> Result<Norm, Error> {
        let weight = self.bind.vector(&format!("{name}.weight"), self.h)?;
        Ok(Norm { weight, bias: self.bind.vector(&format!("{name}.bias"), self.h)? })
    }

    /// The projections of block `i`, whether or not they are one matrix.
    fn queries_keys_values(&self, i: usize) -> Result<[Linear; 3], Error> {
        let (h, name) = (self.h, |part: &str| format!("v.blk.{i}.{part}"));
        if self.bind.find(&name("attn_qkv.weight")).is_none() && self.bind.find(&name("attn_q.weight")).is_some() {
            let part = |part: &str| self.linear(&name(part), h, h);
            return Ok([part("attn_q")?, part("attn_k")?, part("attn_v")?]);
        }
        let Linear { weight, bias } = self.linear(&name("attn_qkv"), 3 * h, h)?;
        Ok([0, 1, 2].map(|i| {
            let rows = i * h..(i + 1) * h;
            let bias = bias.get(rows.clone()).unwrap_or_default().into();
            Linear { weight: weight.slice_rows(rows), bias }
        }))
    }

    /// The patch embedding of a pair of frames, `[h, 2, 3, 16, 16]`, whether or not it is one tensor.
    fn patch_embedding(&self) -> Result<Vec<f32>, Error> {
        const PLANE: usize = PATCH * PATCH;
        let (h, name) = (self.h, "v.patch_embd.weight");
        if self.bind.find(name).is_some_and(|found| found.tensor.shape.first() == Some(&(h * CHANNELS))) {
            let joined = self.bind.values(name, &[h * CHANNELS, TEMPORAL, PATCH, PATCH])?;
            let mut pair = Vec::with_capacity(joined.len());
            for channels in joined.chunks_exact(CHANNELS * TEMPORAL * PLANE) {
                for frame in 0..TEMPORAL {
                    let planes = channels.chunks_exact(TEMPORAL * PLANE);
                    pair.extend(planes.flat_map(|plane| &plane[frame * PLANE..][..PLANE]));
                }
            }
            return Ok(pair);
        }
        let shape = [h, CHANNELS, PATCH, PATCH];
        let first = self.bind.values(name, &shape)?;
        let second = self.bind.values("v.patch_embd.weight.1", &shape)?;
        let mut pair = Vec::with_capacity(first.len() + second.len());
        for (a, b) in first.chunks_exact(PATCH_VALUES).zip(second.chunks_exact(PATCH_VALUES)) {
            pair.extend_from_slice(a);
            pair.extend_from_slice(b);
        }
        Ok(pair)
    }
}

/// The vision files that may belong to a model file by their names: those of its directory with the word `mmproj` in it,
/// the likeliest first. That is one that names no other size, then one that shares the longest part of its name with the
/// model's, then the smallest type: 16-bit before 8-bit before 32-bit.
pub fn find_beside(model: &Path) -> Vec<PathBuf> {
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
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && path.is_file())
        .filter_map(|path| {
            let own = words(&path);
            let is_mmproj = own.iter().any(|word| word == "mmproj");
            let size = |word: &String| word.ends_with('b') && word.starts_with(|c: char| c.is_ascii_digit());
            // A file that names another size belongs to another model, unless its name is wrong.
            let other_size = own.iter().any(|word| size(word) && !model_words.contains(word));
            let shared = own.iter().filter(|word| model_words.contains(word)).count();
            let kinds = ["f16", "bf16", "q8", "f32"];
            let kind = kinds.iter().position(|kind| own.iter().any(|word| word == kind)).unwrap_or(kinds.len());
            is_mmproj.then_some((other_size, usize::MAX - shared, kind, path))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(.., path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vision_files_beside_a_model_are_found_by_their_names() {
        let dir = std::env::temp_dir().join(format!("qwen-edge-find-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let found = |model: &str| -> Vec<String> {
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            find_beside(&dir.join(model)).into_iter().map(name).collect()
        };
        assert!(found("Qwen3.5-0.8B-Q4_K_M.gguf").is_empty());
        for name in ["mmproj-F32.gguf", "mmproj-F16.gguf", "mmproj-Qwen3.5-4B-F16.gguf", "Qwen3.5-0.8B-Q4_K_M.gguf"] {
            std::fs::write(dir.join(name), b"").unwrap();
        }
        std::fs::create_dir_all(dir.join("mmproj.gguf")).unwrap();
        let (half, full, other) = ("mmproj-F16.gguf", "mmproj-F32.gguf", "mmproj-Qwen3.5-4B-F16.gguf");
        assert_eq!(found("Qwen3.5-0.8B-Q4_K_M.gguf"), [half, full, other]);
        assert_eq!(found("Qwen3.5-4B-Q8_0.gguf"), [other, half, full]);
        assert!(find_beside(&dir.join("none/model.gguf")).is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
