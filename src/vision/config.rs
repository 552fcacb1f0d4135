//! Hyper-parameters of a vision tower, read from the keys of an `mmproj` file, or of a text model's file with a tower
//! inside, and checked against each other.
//!
//! | field | GGUF key (`clip.vision.` …) | in a model's file (`qwen35.vision.` …) | Hugging Face name |
//! |---|---|---|---|
//! | `n_layer` | `block_count` | the same | `depth` |
//! | `n_embd` | `embedding_length` | the same | `hidden_size` |
//! | `n_ff` | `feed_forward_length` | the same, or as the tensors are | `intermediate_size` |
//! | `n_head` | `attention.head_count` | the same | `num_heads` |
//! | `n_out` | `projection_dim` | as the tensors are | `out_hidden_size` |
//! | `eps` | `attention.layer_norm_epsilon` | the same | 1e-6 |
//! | `area` | `image_min_pixels`, `image_max_pixels`, where present | `shortest_edge`, `longest_edge` | `size` of the image processor |

use super::names::other_spelling;
use super::preprocess::{CHANNELS, MERGE, PATCH, TEMPORAL};
use super::resize::{Area, TOKEN_PIXELS};
use super::weights::Error;
use crate::gguf::{Gguf, Note, Value};
use crate::model;
use crate::model::names::is_vision;

/// The architecture name of a vision file.
pub const ARCHITECTURE: &str = "clip";

/// The projector this program runs: the merger of Qwen3-VL and Qwen3.5.
pub const PROJECTOR: &str = "qwen3vl_merger";

/// Base of the rotary frequencies.
pub const ROPE_BASE: f64 = 10_000.0;

/// Prefix of the keys of a tower in a text model's file.
const INSIDE: &str = "qwen35.vision";

/// Sizes beyond this are a broken file.
const MAX_DIM: u64 = 1 << 20;

/// Hyper-parameters of a vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Blocks.
    pub n_layer: usize,
    /// Width of the residual stream, h.
    pub n_embd: usize,
    /// Inner width of the feed-forward.
    pub n_ff: usize,
    /// Attention heads.
    pub n_head: usize,
    /// Width of the output rows: the text model's `n_embd`.
    pub n_out: usize,
    /// ε of every norm.
    pub eps: f32,
    /// Bounds on the area of a picture.
    pub area: Area,
}

impl VisionConfig {
    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Values the merger takes together: four patches.
    pub fn merged(&self) -> usize {
        self.n_embd * MERGE * MERGE
    }

    /// Reads and checks the hyper-parameters.
    ///
    /// # Errors
    /// A file that is no vision file, nor a model's with a tower inside; another projector, a missing key, or a value this
    /// design does not have.
    pub fn from_gguf(gguf: &Gguf) -> Result<VisionConfig, Error> {
        Self::read(gguf, &mut Vec::new())
    }

    /// As [`VisionConfig::from_gguf`]; `notes` says what was ignored.
    pub(super) fn read(gguf: &Gguf, notes: &mut Vec<Note>) -> Result<VisionConfig, Error> {
        let architecture = gguf.string("general.architecture")?.unwrap_or_default();
        if is_inside(gguf) {
            return Self::inside(gguf, notes);
        }
        if architecture != ARCHITECTURE || gguf.boolean("clip.has_vision_encoder")? != Some(true) {
            return Err(Error::NotVision { architecture: architecture.to_owned() });
        }
        let projector = match gguf.string("clip.projector_type")? {
            Some(projector) => projector,
            None => gguf.string("clip.vision.projector_type")?.unwrap_or_default(),
        };
        if projector != PROJECTOR {
            return Err(Error::Projector { found: projector.to_owned() });
        }
        let keys = Keys { gguf, prefix: "clip.vision" };
        keys.expect("patch_size", PATCH)?;
        keys.expect("spatial_merge_size", MERGE)?;
        if gguf.boolean("clip.use_gelu")? == Some(false) || gguf.boolean("clip.use_silu")? == Some(true) {
            return Err(wrong("clip.use_gelu", "true (the activation of this projector)", "false"));
        }
        if gguf.bools(&keys.full("is_deepstack_layers"))?.is_some_and(|layers| layers.contains(&true)) {
            return Err(keys.deepstack("is_deepstack_layers"));
        }
        let (n_ff, n_out) = (keys.dim("feed_forward_length")?, keys.dim("projection_dim")?);
        keys.config(n_ff, n_out, ["image_min_pixels", "image_max_pixels"], notes)
    }

    /// Those of a tower in a text model's file, as Ollama's converter writes it.
    fn inside(gguf: &Gguf, notes: &mut Vec<Note>) -> Result<VisionConfig, Error> {
        let keys = Keys { gguf, prefix: INSIDE };
        for (key, value) in [
            ("patch_size", PATCH),
            ("spatial_merge_size", MERGE),
            ("temporal_patch_size", TEMPORAL),
            ("num_channels", CHANNELS),
        ] {
            if gguf.get(&keys.full(key)).is_some() {
                keys.expect(key, value)?;
            }
        }
        let base = gguf.float(&keys.full("rope.freq_base"))?;
        if base.is_some_and(|base| base != ROPE_BASE) {
            return Err(wrong(&keys.full("rope.freq_base"), ROPE_BASE, base.unwrap_or_default()));
        }
        if gguf.uints(&keys.full("deepstack_visual_indexes"))?.is_some_and(|layers| !layers.is_empty()) {
            return Err(keys.deepstack("deepstack_visual_indexes"));
        }
        let rows = |name: &str| -> Option<usize> {
            let tensor = gguf.tensor(name).or_else(|| gguf.tensor(&other_spelling(name)?.name))?;
            tensor.shape.first().copied().filter(|&n| n as u64 <= MAX_DIM)
        };
        let missing = |name: &str| model::Error::MissingTensor { name: name.into(), expected: vec![0, 0] };
        let n_ff = match gguf.get(&keys.full("feed_forward_length")) {
            Some(_) => keys.dim("feed_forward_length")?,
            None => rows("v.blk.0.ffn_up.weight").ok_or_else(|| missing("v.blk.0.ffn_up.weight"))?,
        };
        let n_out = rows("mm.2.weight").ok_or_else(|| missing("mm.2.weight"))?;
        keys.config(n_ff, n_out, ["shortest_edge", "longest_edge"], notes)
    }
}

/// Whether a file is a text model's with a vision tower inside.
pub fn is_inside(gguf: &Gguf) -> bool {
    gguf.string("general.architecture").is_ok_and(|name| name == Some("qwen35"))
        && gguf.get(&format!("{INSIDE}.block_count")).is_some()
        && gguf.tensors().any(|tensor| is_vision(tensor.name))
}

fn wrong(key: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Model(model::Error::Key { key: key.into(), expected: expected.to_string(), found: found.to_string() })
}

/// Reads keys below a prefix.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn dim(&self, key: &str) -> Result<usize, Error> {
        let key = self.full(key);
        match self.gguf.uint(&key)? {
            Some(value @ 1..=MAX_DIM) => Ok(value as usize),
            Some(value) => Err(wrong(&key, format!("1 to {MAX_DIM}"), value)),
            None => Err(Error::Model(model::Error::MissingKey { key })),
        }
    }

    fn expect(&self, key: &str, value: usize) -> Result<(), Error> {
        match self.dim(key)? {
            found if found == value => Ok(()),
            found => Err(wrong(&self.full(key), value, found)),
        }
    }

    fn deepstack(&self, key: &str) -> Error {
        wrong(&self.full(key), "no deep-stack layers (Qwen3.5 has none, Qwen3-VL does)", "at least one")
    }

    /// What the keys of both kinds of file have in common; `pixels` are those of the smallest and the largest area.
    fn config(
        &self,
        n_ff: usize,
        n_out: usize,
        pixels: [&str; 2],
        notes: &mut Vec<Note>,
    ) -> Result<VisionConfig, Error> {
        let n_embd = self.dim("embedding_length")?;
        let n_head = self.dim("attention.head_count")?;
        // Each half of a head's pairs turns with the row, the other with the column.
        if !n_embd.is_multiple_of(n_head * 4) {
            let expected = format!("a divisor of {n_embd} that leaves heads of a multiple of 4");
            return Err(wrong(&self.full("attention.head_count"), expected, n_head));
        }
        let eps = self.gguf.float(&self.full("attention.layer_norm_epsilon"))?.unwrap_or(1e-6);
        // As it will be used: the smallest numbers of a file are none.
        if !(eps as f32 > 0.0 && eps < 1.0) {
            return Err(wrong(&self.full("attention.layer_norm_epsilon"), "between 0 and 1", eps));
        }
        for (key, channels) in [("image_mean", "mean"), ("image_std", "deviation")] {
            let key = self.full(key);
            let values = match self.gguf.get(&key) {
                // Some writers leave the list empty.
                Some(Value::Array(array)) if array.is_empty() => None,
                _ => self.gguf.floats(&key)?,
            };
            if values.is_some_and(|values| values != [0.5; 3]) {
                return Err(wrong(&key, format!("a {channels} of 0.5 in every channel"), "something else"));
            }
        }
        let [min, max] = pixels.map(|key| {
            let key = self.full(key);
            match self.gguf.advice(&key, 1 << 32, notes)? as usize {
                // Not set.
                0 => None,
                area if area < TOKEN_PIXELS => {
                    let why = format!("found {area}, expected an area of {TOKEN_PIXELS} pixels or more");
                    notes.push(Note::key(&key, why));
                    None
                }
                area => Some(area),
            }
        });
        let max = max.unwrap_or(Area::IMAGE.max);
        Ok(VisionConfig {
            n_layer: self.dim("block_count")?,
            n_embd,
            n_ff,
            n_head,
            n_out,
            eps: eps as f32,
            area: Area { min: min.unwrap_or(Area::IMAGE.min).min(max), max },
        })
    }
}
