//! Synthetic models: random numbers in the shape, type mix and vocabulary of the published ones.
//!
//! They exist so that speed and memory can be measured, and whole programs tested, where no weights can be had. Their
//! answers are noise, and their name and metadata say so. Every number is a function of the seed alone, whatever the
//! number of threads.
//!
//! Spreads are chosen so that activations stay near 1 and logits have a standard deviation near [`LOGIT_STD`]:
//! a matrix of `n` columns has standard deviation `1/√n`, norm weights lie near 1, and the head is
//! [`LOGIT_STD`]` / √n_embd`, as its input has been normalised.

mod dims;
mod error;
mod mix;
mod random;
mod router;
mod vocab;

pub use dims::{Dims, ExpertDims, Size, VisionDims};
pub use error::Error;
pub use mix::Quant;
pub use vocab::Vocab;

use crate::gguf::writer::{TensorSpec, Writer};
use crate::gguf::{Gguf, TensorType};
use mix::{Mix, Role};
use random::{Blocks, Rng};
use rayon::prelude::*;
use router::Router;
use std::io::{self, Write};

/// Standard deviation of the logits, about that of a trained model.
const LOGIT_STD: f32 = 3.0;

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Dimensions.
    pub dims: Dims,
    /// Type mix.
    pub quant: Quant,
    /// Whether to add the block for multi-token prediction.
    pub mtp: bool,
    /// The type mix of mid-2026 quantisers rather than that of the published files, and the keys their converters add.
    pub newer: bool,
    /// Seed of every random number.
    pub seed: u64,
}

/// How the values of a tensor are drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Values {
    /// Around 0, with this standard deviation.
    Spread(f32),
    /// Norm weights: 0.8 to 1.2.
    Norm,
    /// `ssm_a = −exp(A_log)`: −16 to −1.
    Decay,
    /// A router that prefers some experts.
    Router(Router),
    /// `ssm_dt.bias`: the inverse softplus of a time step from 0.001 to 0.1, uniform in its logarithm.
    TimeStep,
}

/// A model ready to be written: the header and how each tensor's values are drawn.
pub struct Synth {
    writer: Writer,
    values: Vec<Values>,
    seed: u64,
}

impl Synth {
    /// A text model with the published vocabulary, cut to the rows of `options.dims`.
    pub fn text(options: &Options) -> Self {
        let vocab = Vocab::published_cut(options.dims.n_vocab);
        let mut synth = Self::start(options, "model", options.dims.architecture());
        synth.text_keys(options);
        synth.vocab_keys(&vocab);
        synth.text_tensors(options, vocab.tokens.len());
        synth
    }

    /// A text model without vocabulary, where nothing is tokenised.
    pub fn text_without_vocab(options: &Options) -> Self {
        let mut synth = Self::start(options, "model", options.dims.architecture());
        synth.text_keys(options);
        synth.text_tensors(options, options.dims.n_vocab);
        synth
    }

    /// A text model with the vocabulary, merges, template and every other `tokenizer.` key of `vocab`.
    ///
    /// # Errors
    /// When `vocab` has no `tokenizer.ggml.tokens`.
    pub fn text_with_vocab(options: &Options, vocab: &Gguf) -> Result<Self, Error> {
        let key = "tokenizer.ggml.tokens";
        let tokens = vocab.strings(key)?.ok_or(Error::MissingKey { key })?;
        let mut synth = Self::start(options, "model", options.dims.architecture());
        synth.text_keys(options);
        for (key, value) in vocab.keys().filter(|(key, _)| key.starts_with("tokenizer.")) {
            synth.writer.key(key, value);
        }
        synth.text_tensors(options, tokens.len());
        Ok(synth)
    }

    /// The vision tower that goes with the text model of the same options.
    pub fn vision(options: &Options) -> Self {
        let mut synth = Self::start(options, "mmproj", "clip");
        synth.vision_keys(options);
        synth.vision_tensors(options);
        synth
    }

    fn start(options: &Options, kind: &str, architecture: &str) -> Self {
        let mut writer = Writer::new();
        let (label, quant) = (options.dims.label, options.quant.name().to_uppercase());
        writer
            .string("general.architecture", architecture)
            .string("general.type", kind)
            .string("general.name", &format!("Synthetic Qwen3.5 {label} {quant} {kind} (random weights)"))
            .string(
                "general.description",
                "Random numbers in the shape of a Qwen3.5 model, for measuring speed and memory. Answers are noise.",
            )
            .string("general.size_label", label)
            .u32("general.quantization_version", 2)
            .u32("general.file_type", options.quant.file_type())
            .boolean("synthetic.random_weights", true)
            .key("synthetic.seed", crate::gguf::Value::U64(options.seed));
        Self { writer, values: Vec::new(), seed: options.seed }
    }

    fn text_keys(&mut self, options: &Options) {
        let dims = &options.dims;
        let n_block = dims.n_layer + usize::from(options.mtp);
        let uints = [
            ("block_count", n_block),
            ("context_length", Dims::N_CTX),
            ("embedding_length", dims.n_embd),
            ("attention.head_count", dims.n_head),
            ("attention.head_count_kv", dims.n_head_kv),
            ("attention.key_length", Dims::HEAD_DIM),
            ("attention.value_length", Dims::HEAD_DIM),
            ("rope.dimension_count", Dims::N_ROT),
            ("ssm.conv_kernel", Dims::CONV_KERNEL),
            ("ssm.state_size", Dims::STATE_SIZE),
            ("ssm.group_count", dims.n_k_head),
            ("ssm.time_step_rank", dims.n_v_head),
            ("ssm.inner_size", dims.d_inner()),
            ("full_attention_interval", Dims::INTERVAL),
        ];
        let architecture = dims.architecture();
        let key = |key: &str| format!("{architecture}.{key}");
        for (name, value) in uints {
            self.writer.u32(&key(name), value as u32);
        }
        match dims.experts {
            None => _ = self.writer.u32(&key("feed_forward_length"), dims.n_ff as u32),
            Some(ExpertDims { n_expert, n_used, n_ff, .. }) => {
                self.writer
                    .u32(&key("expert_count"), n_expert as u32)
                    .u32(&key("expert_used_count"), n_used as u32)
                    .u32(&key("expert_feed_forward_length"), n_ff as u32)
                    .u32(&key("expert_shared_feed_forward_length"), dims.n_ff as u32);
            }
        }
        let [t, h, w] = Dims::SECTIONS.map(|n| n as i32);
        self.writer
            .f32(&key("attention.layer_norm_rms_epsilon"), Dims::RMS_EPS)
            .f32(&key("rope.freq_base"), Dims::FREQ_BASE)
            .i32s(&key("rope.dimension_sections"), &[t, h, w, 0]);
        if options.mtp {
            self.writer.u32(&key("nextn_predict_layers"), 1);
        }
        if options.newer {
            let recurrent: Vec<bool> = (0..n_block).map(|il| il < dims.n_layer && Dims::is_recurrent(il)).collect();
            self.writer.bools(&key("attention.recurrent_layers"), &recurrent);
        }
    }

    fn vocab_keys(&mut self, vocab: &Vocab) {
        self.writer
            .string("tokenizer.ggml.model", "gpt2")
            .string("tokenizer.ggml.pre", "qwen35")
            .strings("tokenizer.ggml.tokens", vocab.tokens.iter())
            .i32s("tokenizer.ggml.token_type", &vocab.types)
            .strings("tokenizer.ggml.merges", vocab.merge_lines())
            .boolean("tokenizer.ggml.add_bos_token", false)
            .string("tokenizer.chat_template", crate::chat::BUILT_IN);
        let special = [("eos_token_id", "<|im_end|>"), ("padding_token_id", "<|endoftext|>")];
        for (key, token) in special {
            if let Some(id) = vocab.id(token) {
                self.writer.u32(&format!("tokenizer.ggml.{key}"), id);
            }
        }
    }

    fn tensor(&mut self, name: &str, ty: TensorType, shape: &[usize], values: Values) {
        self.writer.tensor(name, ty, shape);
        self.values.push(values);
    }

    /// Tensors in the order that quantised files have them: the head, then block by block, by name within a block.
    fn text_tensors(&mut self, options: &Options, n_vocab: usize) {
        use Values::{Decay, Norm, Spread, TimeStep};
        let dims = &options.dims;
        let Dims { n_embd, n_ff, n_head, n_head_kv, n_v_head, .. } = *dims;
        let n_block = dims.n_layer + usize::from(options.mtp);
        let mut mix = Mix::new(options.quant, options.newer, dims.tied, n_block);
        let fan_in = |n: usize| Spread(1.0 / (n as f32).sqrt());
        let head = Spread(LOGIT_STD / (n_embd as f32).sqrt());

        if !dims.tied {
            self.tensor("output.weight", mix.next(Role::Output, 0), &[n_vocab, n_embd], head);
        }
        self.tensor("output_norm.weight", TensorType::F32, &[n_embd], Norm);
        self.tensor("token_embd.weight", mix.next(Role::TokenEmbd, 0), &[n_vocab, n_embd], head);

        let (head_dim, d_inner, channels) = (Dims::HEAD_DIM, dims.d_inner(), dims.conv_channels());
        for il in 0..n_block {
            let mtp = il == dims.n_layer;
            let recurrent = !mtp && Dims::is_recurrent(il);
            let mut matrix = |name: &str, role, rows: usize, cols: usize| {
                let name = format!("blk.{il}.{name}.weight");
                self.tensor(&name, mix.next(role, il), &[rows, cols], fan_in(cols));
            };
            if recurrent {
                matrix("attn_gate", Role::Other, d_inner, n_embd);
                matrix("attn_qkv", Role::AttnQkv, channels, n_embd);
            } else {
                matrix("attn_k", Role::Other, n_head_kv * head_dim, n_embd);
                matrix("attn_output", Role::AttnOutput, n_embd, n_head * head_dim);
                matrix("attn_q", Role::Other, n_head * head_dim * 2, n_embd);
                matrix("attn_v", Role::AttnV, n_head_kv * head_dim, n_embd);
            }
            let end = if dims.experts.is_some() { "_shexp" } else { "" };
            matrix(&format!("ffn_down{end}"), Role::FfnDown, n_embd, n_ff);
            matrix(&format!("ffn_gate{end}"), Role::Other, n_ff, n_embd);
            matrix(&format!("ffn_up{end}"), Role::Other, n_ff, n_embd);
            if mtp {
                matrix("nextn.eh_proj", Role::Other, n_embd, 2 * n_embd);
            }
            if recurrent {
                matrix("ssm_alpha", Role::SsmGate, n_v_head, n_embd);
                matrix("ssm_beta", Role::SsmGate, n_v_head, n_embd);
                matrix("ssm_out", Role::SsmOut, n_embd, d_inner);
            }
            if let Some(ExpertDims { n_expert, n_ff, .. }) = dims.experts {
                let mut experts = |name: &str, role, rows: usize, cols: usize| {
                    let name = format!("blk.{il}.{name}_exps.weight");
                    self.tensor(&name, mix.next(role, il), &[n_expert, rows, cols], fan_in(cols));
                };
                experts("ffn_down", Role::FfnDown, n_embd, n_ff);
                experts("ffn_gate", Role::Other, n_ff, n_embd);
                experts("ffn_up", Role::Other, n_ff, n_embd);
            }
            let mut plain = |name: &str, shape: &[usize], values| {
                self.tensor(&format!("blk.{il}.{name}"), TensorType::F32, shape, values);
            };
            plain("attn_norm.weight", &[n_embd], Norm);
            plain("post_attention_norm.weight", &[n_embd], Norm);
            if let Some(ExpertDims { n_expert, n_used, skew, .. }) = dims.experts {
                let router =
                    if skew > 0.0 { Values::Router(Router { n_expert, n_used, n_embd, skew }) } else { fan_in(n_embd) };
                plain("ffn_gate_inp.weight", &[n_expert, n_embd], router);
                plain("ffn_gate_inp_shexp.weight", &[1, n_embd], fan_in(n_embd));
            }
            if recurrent {
                plain("ssm_a", &[n_v_head], Decay);
                plain("ssm_conv1d.weight", &[channels, Dims::CONV_KERNEL], fan_in(Dims::CONV_KERNEL));
                plain("ssm_dt.bias", &[n_v_head], TimeStep);
                plain("ssm_norm.weight", &[Dims::STATE_SIZE], Norm);
            } else {
                plain("attn_k_norm.weight", &[head_dim], Norm);
                plain("attn_q_norm.weight", &[head_dim], Norm);
            }
            if mtp {
                plain("nextn.enorm.weight", &[n_embd], Norm);
                plain("nextn.hnorm.weight", &[n_embd], Norm);
                plain("nextn.shared_head_norm.weight", &[n_embd], Norm);
            }
        }
    }

    fn vision_keys(&mut self, options: &Options) {
        let vision = &options.dims.vision;
        let uints = [
            ("projection_dim", options.dims.n_embd),
            ("image_size", vision.n_pos.isqrt() * PATCH),
            ("patch_size", PATCH),
            ("embedding_length", vision.n_embd),
            ("feed_forward_length", vision.n_ff),
            ("block_count", vision.depth),
            ("attention.head_count", vision.n_head),
            ("spatial_merge_size", 2),
        ];
        for (key, value) in uints {
            self.writer.u32(&format!("clip.vision.{key}"), value as u32);
        }
        self.writer
            .boolean("clip.has_vision_encoder", true)
            .string("clip.projector_type", "qwen3vl_merger")
            .boolean("clip.use_gelu", true)
            .f32("clip.vision.attention.layer_norm_epsilon", 1e-6)
            .f32s("clip.vision.image_mean", &[0.5; 3])
            .f32s("clip.vision.image_std", &[0.5; 3])
            .bools("clip.vision.is_deepstack_layers", &vec![false; vision.depth]);
    }

    fn vision_tensors(&mut self, options: &Options) {
        use Values::{Norm, Spread};
        const BIAS: Values = Spread(0.02);
        let VisionDims { depth, n_embd: h, n_ff, n_pos, .. } = options.dims.vision;
        let matrix_type = match options.quant {
            Quant::F32 => TensorType::F32,
            Quant::Bf16 => TensorType::BF16,
            Quant::Q8_0 => TensorType::Q8_0,
            _ => TensorType::F16,
        };
        let mut linear = |name: &str, rows: usize, cols: usize| {
            let fits = cols.is_multiple_of(matrix_type.block_len());
            let ty = if fits { matrix_type } else { TensorType::F16 };
            let spread = Spread(1.0 / (cols as f32).sqrt());
            self.tensor(&format!("{name}.weight"), ty, &[rows, cols], spread);
            self.tensor(&format!("{name}.bias"), TensorType::F32, &[rows], BIAS);
        };
        for i in 0..depth {
            linear(&format!("v.blk.{i}.attn_qkv"), 3 * h, h);
            linear(&format!("v.blk.{i}.attn_out"), h, h);
            linear(&format!("v.blk.{i}.ffn_up"), n_ff, h);
            linear(&format!("v.blk.{i}.ffn_down"), h, n_ff);
        }
        linear("mm.0", 4 * h, 4 * h);
        linear("mm.2", options.dims.n_embd, 4 * h);
        for i in 0..depth {
            for norm in ["ln1", "ln2"] {
                self.tensor(&format!("v.blk.{i}.{norm}.weight"), TensorType::F32, &[h], Norm);
                self.tensor(&format!("v.blk.{i}.{norm}.bias"), TensorType::F32, &[h], BIAS);
            }
        }
        self.tensor("v.post_ln.weight", TensorType::F32, &[h], Norm);
        self.tensor("v.post_ln.bias", TensorType::F32, &[h], BIAS);
        let patch_type = if matrix_type == TensorType::F16 { TensorType::F16 } else { TensorType::F32 };
        let patch = Spread(1.0 / (6.0 * (PATCH * PATCH) as f32).sqrt());
        for name in ["v.patch_embd.weight", "v.patch_embd.weight.1"] {
            self.tensor(name, patch_type, &[h, 3, PATCH, PATCH], patch);
        }
        self.tensor("v.patch_embd.bias", TensorType::F32, &[h], BIAS);
        self.tensor("v.position_embd.weight", TensorType::F32, &[n_pos, h], Spread(0.1));
    }

    /// The tensors that will be written.
    pub fn tensors(&self) -> &[TensorSpec] {
        self.writer.tensors()
    }

    /// The file up to its tensor data.
    pub fn header(&self) -> Vec<u8> {
        self.writer.header()
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.writer.file_bytes()
    }

    /// Writes the file; `progress` is told the bytes of tensor data as they are written.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write<W: Write>(&self, out: &mut W, mut progress: impl FnMut(u64)) -> io::Result<()> {
        let root = Rng::new(self.seed);
        let mut index = 0;
        let mut buffer = Vec::new();
        self.writer.write(out, |tensor, out| {
            let values = self.values[index];
            let rng = root.fork(index as u64);
            index += 1;
            let mut left = tensor.bytes();
            let part = BUFFER_BYTES / tensor.ty.block_bytes() * tensor.ty.block_bytes();
            let mut part_index = 0;
            while left > 0 {
                buffer.resize(left.min(part), 0);
                match values {
                    Values::Router(router) => router.fill(&rng, tensor.bytes() - left, &mut buffer),
                    _ => fill(tensor.ty, values, &rng.fork(part_index), &mut buffer),
                }
                out.write_all(&buffer)?;
                progress(buffer.len() as u64);
                left -= buffer.len();
                part_index += 1;
            }
            Ok(())
        })
    }

    /// The file in memory, for small models.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes, |_| ()).expect("writing to memory does not fail");
        bytes
    }
}

/// Side of a vision patch, in pixels.
const PATCH: usize = 16;

/// Bytes generated at a time.
const BUFFER_BYTES: usize = 16 << 20;

/// Fills `out`, whole blocks of a tensor. Its parts have their own generators, so that threads may share the work.
fn fill(ty: TensorType, values: Values, rng: &Rng, out: &mut [u8]) {
    let each = |out: &mut [u8], value: &dyn Fn(&mut Rng) -> f32| {
        let rng = &mut rng.clone();
        out.as_chunks_mut().0.iter_mut().for_each(|b| *b = value(rng).to_le_bytes());
    };
    match values {
        Values::Spread(sigma) => {
            let format = ty.format().expect("the mixes hold no type that cannot be computed with");
            let blocks = Blocks::new(format, sigma);
            let part = (1 << 18) / format.block_bytes() * format.block_bytes();
            out.par_chunks_mut(part).enumerate().for_each(|(i, out)| blocks.fill(&mut rng.fork(i as u64), out));
        }
        Values::Router(_) => unreachable!("it fills its rows itself"),
        Values::Norm => each(out, &|rng| 1.0 + 0.2 * rng.signed()),
        Values::Decay => each(out, &|rng| -(1.0 + 15.0 * rng.unit())),
        Values::TimeStep => each(out, &|rng| {
            let step = (0.001f32.ln() + 100f32.ln() * rng.unit()).exp();
            step.exp_m1().ln()
        }),
    }
}
