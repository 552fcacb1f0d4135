//! Hyper-parameters of a vision tower, read from the keys of an `mmproj` file and checked against each other.
//!
//! | field | GGUF key (`clip.vision.` …) | Hugging Face name |
//! |---|---|---|
//! | `n_layer` | `block_count` | `depth` |
//! | `n_embd` | `embedding_length` | `hidden_size` |
//! | `n_ff` | `feed_forward_length` | `intermediate_size` |
//! | `n_head` | `attention.head_count` | `num_heads` |
//! | `n_out` | `projection_dim` | `out_hidden_size` |
//! | `eps` | `attention.layer_norm_epsilon` | 1e-6 |
//! | `area` | `image_min_pixels`, `image_max_pixels`, where present | `size` of the image processor |

use super::preprocess::{MERGE, PATCH};
use super::resize::Area;
use super::weights::Error;
use crate::gguf::Gguf;
use crate::model;

/// The architecture name of a vision file.
pub const ARCHITECTURE: &str = "clip";

/// The projector this program runs: the merger of Qwen3-VL and Qwen3.5.
pub const PROJECTOR: &str = "qwen3vl_merger";

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
    /// A file that is no vision file or has another projector, a missing key, or a value this design does not have.
    pub fn from_gguf(gguf: &Gguf) -> Result<VisionConfig, Error> {
        let architecture = gguf.string("general.architecture")?.unwrap_or_default();
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
        let keys = Keys { gguf };
        keys.expect("clip.vision.patch_size", PATCH)?;
        keys.expect("clip.vision.spatial_merge_size", MERGE)?;
        if gguf.boolean("clip.use_gelu")? == Some(false) || gguf.boolean("clip.use_silu")? == Some(true) {
            return Err(wrong("clip.use_gelu", "true (the activation of this projector)", "false"));
        }
        if gguf.bools("clip.vision.is_deepstack_layers")?.is_some_and(|layers| layers.contains(&true)) {
            let expected = "no deep-stack layers (Qwen3.5 has none, Qwen3-VL does)";
            return Err(wrong("clip.vision.is_deepstack_layers", expected, "at least one"));
        }

        let n_embd = keys.dim("clip.vision.embedding_length")?;
        let n_head = keys.dim("clip.vision.attention.head_count")?;
        // Each half of a head's pairs turns with the row, the other with the column.
        if !n_embd.is_multiple_of(n_head * 4) {
            let expected = format!("a divisor of {n_embd} that leaves heads of a multiple of 4");
            return Err(wrong("clip.vision.attention.head_count", expected, n_head));
        }
        let eps = gguf.float("clip.vision.attention.layer_norm_epsilon")?.unwrap_or(1e-6);
        if !(eps > 0.0 && eps < 1.0) {
            return Err(wrong("clip.vision.attention.layer_norm_epsilon", "between 0 and 1", eps));
        }
        for (key, channels) in [("clip.vision.image_mean", "mean"), ("clip.vision.image_std", "deviation")] {
            if gguf.floats(key)?.is_some_and(|values| values != [0.5; 3]) {
                return Err(wrong(key, format!("a {channels} of 0.5 in every channel"), "something else"));
            }
        }
        let pixels = |key: &str, default: usize| -> Result<usize, Error> {
            Ok(gguf.uint(key)?.filter(|&v| v > 0).map_or(default, |v| v.min(1 << 32) as usize))
        };
        let max = pixels("clip.vision.image_max_pixels", Area::IMAGE.max)?;
        let min = pixels("clip.vision.image_min_pixels", Area::IMAGE.min)?.min(max);
        Ok(VisionConfig {
            n_layer: keys.dim("clip.vision.block_count")?,
            n_embd,
            n_ff: keys.dim("clip.vision.feed_forward_length")?,
            n_head,
            n_out: keys.dim("clip.vision.projection_dim")?,
            eps: eps as f32,
            area: Area { min, max },
        })
    }
}

fn wrong(key: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Model(model::Error::Key { key: key.into(), expected: expected.to_string(), found: found.to_string() })
}

struct Keys<'a> {
    gguf: &'a Gguf,
}

impl Keys<'_> {
    fn dim(&self, key: &str) -> Result<usize, Error> {
        match self.gguf.uint(key)? {
            Some(value @ 1..=MAX_DIM) => Ok(value as usize),
            Some(value) => Err(wrong(key, format!("1 to {MAX_DIM}"), value)),
            None => Err(Error::Model(model::Error::MissingKey { key: key.into() })),
        }
    }

    fn expect(&self, key: &str, value: usize) -> Result<(), Error> {
        match self.dim(key)? {
            found if found == value => Ok(()),
            found => Err(wrong(key, value, found)),
        }
    }
}
