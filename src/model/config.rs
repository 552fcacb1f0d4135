//! Hyper-parameters of a `qwen35` or `qwen35moe` model, read from the file's keys and checked against each other.
//!
//! | field | GGUF key (`qwen35.` or `qwen35moe.` …) | Hugging Face name |
//! |---|---|---|
//! | `n_layer` | `block_count` less the blocks behind the trunk | `num_hidden_layers` |
//! | `n_mtp` | `nextn_predict_layers`, and the tensors that are there | `mtp_num_hidden_layers` |
//! | `n_ctx_train` | `context_length` | `max_position_embeddings` |
//! | `n_embd` | `embedding_length` | `hidden_size` |
//! | `n_ff` | `feed_forward_length`; with experts `expert_shared_feed_forward_length` | `intermediate_size`, `shared_expert_intermediate_size` |
//! | `experts` | `expert_count`, `expert_used_count`, `expert_feed_forward_length`, `expert_weights_scale` | `num_experts`, `num_experts_per_tok`, `moe_intermediate_size` |
//! | `n_head`, `n_head_kv` | `attention.head_count`, `attention.head_count_kv` | `num_attention_heads`, `num_key_value_heads` |
//! | `head_dim` | `attention.key_length` = `attention.value_length` | `head_dim` |
//! | `rms_eps` | `attention.layer_norm_rms_epsilon` | `rms_norm_eps` |
//! | `conv_kernel` | `ssm.conv_kernel` | `linear_conv_kernel_dim` |
//! | `head_k_dim` | `ssm.state_size` | `linear_key_head_dim` |
//! | `n_k_head` | `ssm.group_count` | `linear_num_key_heads` |
//! | `n_v_head` | `ssm.time_step_rank` | `linear_num_value_heads` |
//! | `head_v_dim` | `ssm.inner_size` / `n_v_head` | `linear_value_head_dim` |
//! | `value_heads` | `ssm.v_head_reordered` | |
//! | `layers` | zeros in `attention.head_count_kv`, else `attention.recurrent_layers`, else `full_attention_interval` | `layer_types` |
//! | `rope` | `rope.*` | `rope_parameters` |
//!
//! Ollama's converter writes some of these in its own way: `attention.head_count_kv` for each layer, three rope sections and
//! under three names, `block_count` of the trunk alone.

use super::blocks::Blocks;
use super::names::Role;
use super::{Error, FileKind};
use crate::gguf::{Gguf, Note, Value};
use kernels::activations::Forms;

/// The architectures this program runs: the dense one, and that with experts in its feed-forwards.
pub const ARCHITECTURES: [&str; 2] = [DENSE, SPARSE];

const DENSE: &str = "qwen35";
const SPARSE: &str = "qwen35moe";

/// Sizes beyond these are a broken file: they keep every product of two of them inside 64 bits with room to spare.
const MAX_DIM: u64 = 1 << 24;

/// The kind of a layer's token mixer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayerKind {
    /// Gated DeltaNet: a recurrent state of fixed size.
    DeltaNet,
    /// Gated softmax attention over a KV cache.
    Attention,
}

/// The order of value heads, which says whose key head each uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueHeads {
    /// Value head `p` uses key head `p % n_k_head`: llama.cpp's order, and Ollama's of Qwen3.5.
    Tiled,
    /// Those of a key head stand together, `p / (n_v_head / n_k_head)`: the order of the published checkpoints.
    Grouped,
}

/// The experts of a sparse feed-forward.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ExpertConfig {
    /// How many a layer has.
    pub n_expert: usize,
    /// How many of them a row is given to.
    pub n_used: usize,
    /// Inner width of each.
    pub n_ff: usize,
    /// What their weights are multiplied with once they add up to 1.
    pub scale: f32,
}

/// Hyper-parameters; every size is in values unless its name says otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// Kind of each trunk layer; its length is the trunk's depth.
    pub layers: Vec<LayerKind>,
    /// Multi-token-prediction blocks behind the trunk: 0 or 1.
    pub n_mtp: usize,
    /// Positions the model was trained on.
    pub n_ctx_train: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Inner width of the feed-forward; where there are experts, of the one that all rows share.
    pub n_ff: usize,
    /// The experts, of a sparse model.
    pub experts: Option<ExpertConfig>,
    /// Query heads of an attention layer.
    pub n_head: usize,
    /// Key/value heads of an attention layer; query head `a` uses KV head `a / (n_head / n_head_kv)`.
    pub n_head_kv: usize,
    /// Width of an attention head.
    pub head_dim: usize,
    /// ε of every norm.
    pub rms_eps: f32,
    /// Taps of the causal convolution.
    pub conv_kernel: usize,
    /// Query/key heads of a DeltaNet layer.
    pub n_k_head: usize,
    /// Value heads of a DeltaNet layer.
    pub n_v_head: usize,
    /// Which key head each value head uses.
    pub value_heads: ValueHeads,
    /// Width of a DeltaNet query or key head.
    pub head_k_dim: usize,
    /// Width of a DeltaNet value head.
    pub head_v_dim: usize,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// The forms of activations that the weights' formats ask for.
    pub forms: Forms,
    /// Keys that were ignored.
    pub notes: Vec<Note>,
}

/// Rotary position embedding of the attention layers.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Rotated values at the start of a head: pairs `(j, j + n_rot/2)`.
    pub n_rot: usize,
    /// Base of the frequency ladder.
    pub freq_base: f32,
    /// Pairs that follow the t, h and w positions: interleaved, pair `j` takes axis `j % 3` while sections last.
    pub sections: [usize; 3],
    /// YaRN context extension, when the file asks for it.
    pub yarn: Option<YarnConfig>,
}

/// YaRN scaling of the rotary frequencies (Peng et al., arXiv:2309.00071).
#[derive(Clone, Debug, PartialEq)]
pub struct YarnConfig {
    /// Context extension factor, > 1.
    pub factor: f32,
    /// Context the ladder was trained for.
    pub n_ctx_orig: usize,
    /// Rotations above which a frequency is kept.
    pub beta_fast: f32,
    /// Rotations below which a frequency is divided by `factor`.
    pub beta_slow: f32,
    /// Extra factor on the magnitude of cos and sin, beside `0.1 ln(factor) + 1`.
    pub attn_factor: f32,
}

impl YarnConfig {
    /// The published settings for a given factor over a context of `n_ctx_orig`.
    pub fn with_factor(factor: f32, n_ctx_orig: usize) -> Self {
        YarnConfig { factor, n_ctx_orig, beta_fast: 32.0, beta_slow: 1.0, attn_factor: 1.0 }
    }
}

impl Config {
    /// Reads and checks the hyper-parameters.
    ///
    /// # Errors
    /// Another architecture; a vocabulary without a model; a missing key; a value that contradicts another. Never guesses a value that changes the
    /// result.
    pub fn from_gguf(gguf: &Gguf) -> Result<Config, Error> {
        let kind = FileKind::of(gguf);
        if kind.describe().is_some() {
            return Err(Error::NotAModel(kind));
        }
        let architecture = gguf.string("general.architecture")?.unwrap_or_default();
        if !ARCHITECTURES.contains(&architecture) {
            return Err(Error::Architecture { found: architecture.to_owned() });
        }
        if gguf.n_tensors() == 0 {
            return Err(Error::NoTensors);
        }
        let keys = Keys { gguf, architecture };

        let mut notes = Vec::new();
        let (n_head_kv, by_heads) = keys.heads_of_keys_and_values()?;
        let layers = |n| keys.layers(n, by_heads.as_deref());
        let n_block = (&*keys.full("block_count"), keys.dim("block_count")?);
        let Blocks { n_layer, n_mtp } =
            Blocks::count(gguf, n_block, &keys.full("nextn_predict_layers"), layers, &mut notes)?;
        let layers = layers(n_layer)?;

        let n_embd = keys.dim("embedding_length")?;
        let n_head = keys.dim("attention.head_count")?;
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(keys.wrong("attention.head_count", format!("a multiple of {n_head_kv} KV heads"), n_head));
        }
        let head_dim = keys.dim("attention.key_length")?;
        let value_length = keys.dim("attention.value_length")?;
        if value_length != head_dim {
            return Err(keys.wrong("attention.value_length", format!("the key length {head_dim}"), value_length));
        }

        let n_k_head = keys.dim("ssm.group_count")?;
        let n_v_head = keys.dim("ssm.time_step_rank")?;
        if !n_v_head.is_multiple_of(n_k_head) {
            return Err(keys.wrong("ssm.time_step_rank", format!("a multiple of {n_k_head} key heads"), n_v_head));
        }
        let inner = keys.dim("ssm.inner_size")?;
        if !inner.is_multiple_of(n_v_head) {
            return Err(keys.wrong("ssm.inner_size", format!("a multiple of {n_v_head} value heads"), inner));
        }

        let rms_eps = keys.float("attention.layer_norm_rms_epsilon")?;
        let rms_eps = rms_eps.ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon"))?;
        if !(rms_eps > 0.0 && rms_eps < 1.0) {
            return Err(keys.wrong("attention.layer_norm_rms_epsilon", "a small positive number", rms_eps));
        }
        let is_sparse = architecture == SPARSE;
        let config = Config {
            layers,
            n_mtp,
            n_ctx_train: keys.dim("context_length")?,
            n_embd,
            n_ff: keys.dim(if is_sparse { "expert_shared_feed_forward_length" } else { "feed_forward_length" })?,
            experts: if is_sparse { Some(keys.experts()?) } else { None },
            n_head,
            n_head_kv,
            head_dim,
            rms_eps,
            conv_kernel: keys.dim("ssm.conv_kernel")?,
            n_k_head,
            n_v_head,
            value_heads: keys.value_heads(by_heads.is_some())?,
            head_k_dim: keys.dim("ssm.state_size")?,
            head_v_dim: inner / n_v_head,
            rope: keys.rope(head_dim)?,
            forms: forms(gguf, n_layer),
            notes,
        };
        if config.conv_kernel > 64 {
            return Err(keys.wrong("ssm.conv_kernel", "at most 64 taps", config.conv_kernel));
        }
        Ok(config)
    }

    /// Whether the model is one of the larger ones, which are published with other settings than 0.8B and 2B.
    pub fn is_large(&self) -> bool {
        self.n_embd > 2048 || self.experts.is_some()
    }

    /// Whether models of this size think before they answer unless told otherwise: as published, those from 4B on do.
    pub fn thinks_by_default(&self) -> bool {
        self.is_large()
    }

    /// Depth of the trunk.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// Attention layers in the trunk.
    pub fn n_attention(&self) -> usize {
        self.layers.iter().filter(|&&kind| kind == LayerKind::Attention).count()
    }

    /// DeltaNet layers in the trunk.
    pub fn n_deltanet(&self) -> usize {
        self.n_layer() - self.n_attention()
    }

    /// The key head that value head `p` uses.
    pub fn key_head(&self, p: usize) -> usize {
        match self.value_heads {
            ValueHeads::Tiled => p % self.n_k_head,
            ValueHeads::Grouped => p / (self.n_v_head / self.n_k_head),
        }
    }

    /// Width of all query (or key) heads of a DeltaNet layer.
    pub fn key_dim(&self) -> usize {
        self.n_k_head * self.head_k_dim
    }

    /// Width of all value heads of a DeltaNet layer.
    pub fn value_dim(&self) -> usize {
        self.n_v_head * self.head_v_dim
    }

    /// Channels of the causal convolution: queries, keys, values.
    pub fn conv_channels(&self) -> usize {
        2 * self.key_dim() + self.value_dim()
    }

    /// Rows of `attn_q`: a query and a gate for every head.
    pub fn query_dim(&self) -> usize {
        2 * self.n_head * self.head_dim
    }

    /// Rows of `attn_k` and of `attn_v`.
    pub fn kv_dim(&self) -> usize {
        self.n_head_kv * self.head_dim
    }

    /// Query heads that share a KV head.
    pub fn group(&self) -> usize {
        self.n_head / self.n_head_kv
    }
}

/// What the matrices that activations are multiplied with ask for: all but those that are decoded when they are bound, an
/// embedding that is not the head too, and those of a vision tower, whose products are others.
fn forms(gguf: &Gguf, n_layer: usize) -> Forms {
    let untied = gguf.tensor("output.weight").is_some();
    let decoded = |name: &str| {
        ["ssm_alpha.weight", "ssm_beta.weight", "ssm_conv1d.weight", "ffn_gate_inp_shexp.weight"]
            .iter()
            .any(|end| name.ends_with(end))
            || untied && name == "token_embd.weight"
            || Role::of(name, n_layer) == Role::Vision
    };
    let matrices = gguf.tensors().filter(|tensor| tensor.shape.len() >= 2 && !decoded(tensor.name));
    Forms::of(matrices.filter_map(|tensor| tensor.ty.format()))
}

/// Reads keys below the architecture's prefix.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn missing(&self, key: &str) -> Error {
        Error::MissingKey { key: self.full(key) }
    }

    fn wrong(&self, key: &str, expected: impl Into<String>, found: impl ToString) -> Error {
        Error::Key { key: self.full(key), expected: expected.into(), found: found.to_string() }
    }

    /// A size that may be absent. Uniform per-layer arrays count as their value.
    fn optional(&self, key: &str) -> Result<Option<usize>, Error> {
        let full = self.full(key);
        let Some(value) = self.gguf.uniform_uint(&full)? else { return Ok(None) };
        if value > MAX_DIM {
            return Err(self.wrong(key, format!("at most {MAX_DIM}"), value));
        }
        Ok(Some(value as usize))
    }

    /// A size that must be there and not be zero.
    fn dim(&self, key: &str) -> Result<usize, Error> {
        match self.optional(key)? {
            None => Err(self.missing(key)),
            Some(0) => Err(self.wrong(key, "a positive number", 0)),
            Some(value) => Ok(value),
        }
    }

    fn experts(&self) -> Result<ExpertConfig, Error> {
        let (n_expert, n_used) = (self.dim("expert_count")?, self.dim("expert_used_count")?);
        if n_used > n_expert {
            return Err(self.wrong("expert_used_count", format!("at most the {n_expert} experts there are"), n_used));
        }
        let gating = self.optional("expert_gating_func")?.unwrap_or(1);
        if gating > 1 {
            return Err(self.wrong("expert_gating_func", "1, the softmax over all experts", gating));
        }
        let scale = self.float("expert_weights_scale")?.filter(|&scale| scale != 0.0).unwrap_or(1.0);
        if !scale.is_finite() {
            return Err(self.wrong("expert_weights_scale", "a number", scale));
        }
        Ok(ExpertConfig { n_expert, n_used, n_ff: self.dim("expert_feed_forward_length")?, scale })
    }

    fn float(&self, key: &str) -> Result<Option<f32>, Error> {
        Ok(self.gguf.float(&self.full(key))?.map(|v| v as f32))
    }

    /// The KV heads of an attention layer; and for each layer whether it is one, where the key tells them apart: DeltaNet
    /// layers have no KV heads.
    fn heads_of_keys_and_values(&self) -> Result<(usize, Option<Vec<LayerKind>>), Error> {
        let key = "attention.head_count_kv";
        let full = self.full(key);
        let Some(value @ Value::Array(_)) = self.gguf.get(&full) else { return Ok((self.dim(key)?, None)) };
        let heads = self.gguf.uints(&full)?.unwrap_or_default();
        let Some(&n_head) = heads.iter().find(|&&n| n > 0) else {
            return Err(self.wrong(key, "a number, or one for each layer and some of them positive", value.describe()));
        };
        if n_head > MAX_DIM || heads.iter().any(|&n| n != 0 && n != n_head) {
            let expected = format!("one positive number up to {MAX_DIM} for all attention layers, 0 for the others");
            let other = heads.iter().find(|&&n| n != 0 && n != n_head).unwrap_or(&n_head);
            return Err(self.wrong(key, expected, format!("{n_head} and {other}")));
        }
        let kind = |&n: &u64| if n == 0 { LayerKind::DeltaNet } else { LayerKind::Attention };
        let kinds = heads.contains(&0).then(|| heads.iter().map(kind).collect());
        Ok((n_head as usize, kinds))
    }

    /// The order of value heads. `by_layer` is whether the file counts KV heads by layer: one that does, and has the bias of
    /// the decay by Ollama's name, is by a converter that says so when it puts value heads in tiles.
    fn value_heads(&self, by_layer: bool) -> Result<ValueHeads, Error> {
        let ollama = || by_layer && self.gguf.tensors().any(|tensor| tensor.name.ends_with(".ssm_dt"));
        Ok(match self.gguf.boolean(&self.full("ssm.v_head_reordered"))? {
            Some(true) => ValueHeads::Tiled,
            Some(false) => ValueHeads::Grouped,
            None if ollama() => ValueHeads::Grouped,
            None => ValueHeads::Tiled,
        })
    }

    /// Layer kinds of a trunk of `n_layer` layers, `by_heads` those that KV heads tell.
    fn layers(&self, n_layer: usize, by_heads: Option<&[LayerKind]>) -> Result<Vec<LayerKind>, Error> {
        if let Some(kinds) = by_heads {
            return match kinds.get(..n_layer) {
                Some(kinds) => Ok(kinds.to_vec()),
                None => {
                    let found = format!("{} values", kinds.len());
                    Err(self.wrong("attention.head_count_kv", format!("{n_layer} values or more"), found))
                }
            };
        }
        let kind = |recurrent| if recurrent { LayerKind::DeltaNet } else { LayerKind::Attention };
        let key = "attention.recurrent_layers";
        if let Some(recurrent) = self.gguf.bools(&self.full(key))? {
            if recurrent.len() < n_layer {
                return Err(self.wrong(
                    key,
                    format!("{n_layer} values or more"),
                    format!("{} values", recurrent.len()),
                ));
            }
            return Ok(recurrent[..n_layer].iter().map(|&r| kind(r)).collect());
        }
        let interval = self.optional("full_attention_interval")?.unwrap_or(4);
        if interval == 0 {
            return Err(self.wrong("full_attention_interval", "a positive number", 0));
        }
        Ok((0..n_layer).map(|i| kind(!(i + 1).is_multiple_of(interval))).collect())
    }

    fn rope(&self, head_dim: usize) -> Result<RopeConfig, Error> {
        let n_rot = self.dim("rope.dimension_count")?;
        if n_rot % 2 != 0 || n_rot > head_dim {
            return Err(self.wrong("rope.dimension_count", format!("an even number up to {head_dim}"), n_rot));
        }
        let freq_base = self.float("rope.freq_base")?.ok_or_else(|| self.missing("rope.freq_base"))?;
        if !(freq_base > 1.0 && freq_base.is_finite()) {
            return Err(self.wrong("rope.freq_base", "a number above 1", freq_base));
        }
        // Ollama's converter writes the list under three names.
        let names = ["rope.dimension_sections", "rope.mrope_section", "mrope_sections"];
        let key = names.into_iter().find(|key| self.gguf.get(&self.full(key)).is_some()).unwrap_or(names[0]);
        let sections = match self.gguf.i32s(&self.full(key))? {
            // Without sections every pair follows the text position.
            None => [n_rot / 2, 0, 0],
            Some(values) if values.len() >= 3 && values.iter().all(|&v| v >= 0 && v as usize <= n_rot) => {
                [values[0] as usize, values[1] as usize, values[2] as usize]
            }
            Some(values) => {
                return Err(self.wrong(key, "three sizes of at most dimension_count", format!("{values:?}")));
            }
        };
        let key = "rope.mrope_interleaved";
        if self.gguf.boolean(&self.full(key))? == Some(false) && sections[1..] != [0, 0] {
            return Err(self.wrong(key, "true: the pairs of this model's sections take turns", false));
        }
        Ok(RopeConfig { n_rot, freq_base, sections, yarn: self.yarn()? })
    }

    fn yarn(&self) -> Result<Option<YarnConfig>, Error> {
        let key = "rope.scaling.type";
        match self.gguf.string(&self.full(key))? {
            None | Some("none" | "default") => return Ok(None),
            Some("yarn") => {}
            Some(other) => return Err(self.wrong(key, "\"yarn\" or \"none\"", format!("{other:?}"))),
        }
        let factor = self.float("rope.scaling.factor")?.ok_or_else(|| self.missing("rope.scaling.factor"))?;
        if !(1.0..=1024.0).contains(&factor) {
            return Err(self.wrong("rope.scaling.factor", "1 to 1024", factor));
        }
        let original = match self.optional("rope.scaling.original_context_length")? {
            Some(n) if n > 0 => n,
            _ => self.dim("context_length")?,
        };
        let mut yarn = YarnConfig::with_factor(factor, original);
        for (key, field) in [
            ("rope.scaling.yarn_beta_fast", &mut yarn.beta_fast),
            ("rope.scaling.yarn_beta_slow", &mut yarn.beta_slow),
            ("rope.scaling.yarn_attn_factor", &mut yarn.attn_factor),
        ] {
            if let Some(value) = self.float(key)? {
                if !(value > 0.0 && value.is_finite()) {
                    return Err(self.wrong(key, "a positive number", value));
                }
                *field = value;
            }
        }
        Ok(Some(yarn))
    }
}
