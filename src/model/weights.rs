//! The point where names become fields: every tensor is looked up once, checked (name, type, shape), and from then on
//! known by its field. Matrices stay in the mapped file; small vectors are copied.

use super::bind::Bind;
use super::config::ExpertConfig;
use super::ffn_slots::{FfnSlots, SlotsError, Use};
use super::names::{Role, Spelling};
use super::stream::{self, Stream, StreamWay, Streaming};
use super::{Config, Error, LayerKind};
use crate::compute::weight::Weight;
use crate::gguf::{Gguf, Note};
use kernels::{Format, Matrix, deltanet};
use std::sync::Arc;

/// A model ready to run: hyper-parameters, and weights borrowed from the file.
pub struct Model {
    /// Hyper-parameters.
    pub config: Config,
    /// Rows of the vocabulary, padding included.
    pub n_vocab: usize,
    /// Embedding `[n_vocab, n_embd]`.
    pub token_embd: Weight,
    /// The trunk.
    pub layers: Vec<Layer>,
    /// Final norm `[n_embd]`.
    pub output_norm: Box<[f32]>,
    /// LM head `[n_vocab, n_embd]`: `output.weight`, or the embedding again when the two are tied.
    pub output: Weight,
    /// Multi-token-prediction block, when the file has one.
    pub mtp: Option<Mtp>,
    /// Feed-forwards that come and go as mapped pages; bound models keep all.
    pub stream: Option<Stream>,
    /// Feed-forwards that are read into slots when they are used; bound models have all in the mapped file.
    pub slots: Option<Arc<FfnSlots>>,
}

/// One layer: `x += mixer(norm(x)); x += ffn(norm(x))`.
pub struct Layer {
    /// Norm before the mixer `[n_embd]`.
    pub attn_norm: Box<[f32]>,
    /// The token mixer.
    pub mixer: Mixer,
    /// Norm before the feed-forward `[n_embd]`.
    pub post_attention_norm: Box<[f32]>,
    /// The feed-forward.
    pub ffn: FeedForward,
}

/// A layer's token mixer.
pub enum Mixer {
    /// Gated DeltaNet.
    DeltaNet(DeltaNet),
    /// Gated attention.
    Attention(Attention),
}

/// Gated DeltaNet weights. `C = 2·key_dim + value_dim`.
pub struct DeltaNet {
    /// Projection to queries, keys, values `[C, n_embd]`.
    pub attn_qkv: Weight,
    /// Projection to the output gate z `[value_dim, n_embd]`.
    pub attn_gate: Weight,
    /// Projections to decay (rows `..n_v_head`) and write strength (the rest), decoded: `[2·n_v_head, n_embd]`.
    ///
    /// The decay is exponentiated and accumulates over all later tokens, so these few rows are multiplied in f32.
    pub ssm_alpha_beta: Dense,
    /// −exp(A_log) `[n_v_head]`.
    pub ssm_a: Box<[f32]>,
    /// Bias of the decay `[n_v_head]`.
    pub ssm_dt: Box<[f32]>,
    /// Convolution taps in blocks of channels, see [`kernels::deltanet::conv_blocks`].
    pub ssm_conv1d: Box<[f32]>,
    /// Norm of each value head `[head_v_dim]`.
    pub ssm_norm: Box<[f32]>,
    /// Output projection `[n_embd, value_dim]`.
    pub ssm_out: Weight,
}

/// Gated attention weights.
pub struct Attention {
    /// Per head `head_dim` query rows, then `head_dim` gate rows: `[n_head·2·head_dim, n_embd]`.
    pub attn_q: Weight,
    /// Keys `[n_head_kv·head_dim, n_embd]`.
    pub attn_k: Weight,
    /// Values `[n_head_kv·head_dim, n_embd]`.
    pub attn_v: Weight,
    /// Norm of each query head `[head_dim]`.
    pub attn_q_norm: Box<[f32]>,
    /// Norm of each key head `[head_dim]`.
    pub attn_k_norm: Box<[f32]>,
    /// Output projection `[n_embd, n_head·head_dim]`.
    pub attn_output: Weight,
}

/// A layer's feed-forward.
pub enum FeedForward {
    /// One for all rows.
    Dense(Ffn),
    /// One for all rows, which is read into a slot when it is used.
    Read(InSlots),
    /// Many, of which a row is given to a few, and one for all.
    Experts(Experts),
}

/// Feed-forwards of a layer that are read into slots.
pub struct InSlots {
    /// The slots.
    pub slots: Arc<FfnSlots>,
    /// The layer.
    pub il: usize,
}

impl InSlots {
    /// Begins a use of the feed-forwards of `uses`.
    pub(super) fn begin(&self, uses: &[Use]) -> super::ffn_slots::Visit<'_> {
        self.slots.begin(self.il, uses)
    }
}

impl FeedForward {
    /// Bytes that a row of an answer reads of it, of `n_used` experts if it has such.
    pub fn bytes_per_row(&self, n_used: usize) -> usize {
        match self {
            FeedForward::Dense(ffn) => ffn.bytes(),
            FeedForward::Read(InSlots { slots, il }) => slots.ffns(*il)[0].bytes(),
            FeedForward::Experts(Experts { ffn_gate_inp, experts, shared, .. }) => {
                ffn_gate_inp.stored().len() + n_used * experts[0].bytes() + shared.bytes()
            }
        }
    }
}

/// A sparse feed-forward.
pub struct Experts {
    /// The router `[n_expert, n_embd]`.
    pub ffn_gate_inp: Weight,
    /// The experts by number; their matrices lie one behind the other in three tensors, or two.
    pub experts: Arc<[Ffn]>,
    /// What they are read into when they are used, if they do not stay in the mapped file.
    pub in_slots: Option<InSlots>,
    /// Gate of the expert that all rows share `[n_embd]`.
    pub ffn_gate_inp_shexp: Box<[f32]>,
    /// That expert.
    pub shared: Ffn,
}

impl Experts {
    /// The expert of a number; the one behind all others is shared.
    pub fn expert(&self, i: usize) -> &Ffn {
        self.experts.get(i).unwrap_or(&self.shared)
    }
}

/// Feed-forward `W_down(silu(W_gate x) ⊙ W_up x)`.
#[derive(Clone)]
pub struct Ffn {
    /// `[n_ff, n_embd]`.
    pub ffn_gate: Weight,
    /// `[n_ff, n_embd]`.
    pub ffn_up: Weight,
    /// `[n_embd, n_ff]`.
    pub ffn_down: Weight,
}

/// The matrices of a feed-forward, wherever their bytes are.
#[derive(Clone, Copy)]
pub(super) struct FfnMatrices<'w> {
    /// `[n_ff, n_embd]`.
    pub ffn_gate: Matrix<'w>,
    /// `[n_ff, n_embd]`.
    pub ffn_up: Matrix<'w>,
    /// `[n_embd, n_ff]`.
    pub ffn_down: Matrix<'w>,
}

impl Ffn {
    /// Its weights in the order of their names.
    pub(super) fn weights(&self) -> [&Weight; 3] {
        [&self.ffn_gate, &self.ffn_up, &self.ffn_down]
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> usize {
        self.weights().map(|weight| weight.stored().len()).iter().sum()
    }

    /// Its matrices in the mapped file.
    pub(super) fn mapped(&self) -> FfnMatrices<'_> {
        let [ffn_gate, ffn_up, ffn_down] = self.weights().map(Weight::matrix);
        FfnMatrices { ffn_gate, ffn_up, ffn_down }
    }
}

/// Multi-token-prediction block: an attention layer behind a joint of embedding and hidden state.
pub struct Mtp {
    /// Norm of the next token's embedding `[n_embd]`.
    pub enorm: Box<[f32]>,
    /// Norm of the trunk's normalised output `[n_embd]`.
    pub hnorm: Box<[f32]>,
    /// Joint `[n_embd, 2·n_embd]`, embedding half first.
    pub eh_proj: Weight,
    /// The block itself; always of the attention kind.
    pub layer: Layer,
    /// Norm before the shared head `[n_embd]`.
    pub shared_head_norm: Box<[f32]>,
}

/// A small matrix of decoded values.
pub struct Dense {
    rows: usize,
    cols: usize,
    values: Box<[f32]>,
}

impl Dense {
    /// The matrix as an operand of products.
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(Format::F32, self.rows, self.cols, bytemuck::cast_slice(&self.values))
    }
}

impl Model {
    /// The hyper-parameters of a file, as [`Config::from_gguf`] finds them. A block for drafting of which a tensor is missing is
    /// left out, and a note says so: the trunk does without it.
    ///
    /// # Errors
    /// As [`Config::from_gguf`].
    pub fn config(gguf: &Gguf) -> Result<Config, Error> {
        let mut config = Config::from_gguf(gguf)?;
        if config.n_mtp == 1
            && let Err(Error::MissingTensor { name, .. }) = Mtp::find(gguf, &config, config.n_layer(), false)
        {
            config.n_mtp = 0;
            config.notes.push(Note::part("the block for drafting", format!("it has no tensor {name}")));
        }
        Ok(config)
    }

    /// Finds and checks every weight.
    ///
    /// # Errors
    /// What [`Config::from_gguf`] finds; the first tensor that is missing, misshapen or of an unsupported type; a tensor of
    /// the trunk that is none of these, and would have been left out.
    pub fn bind(gguf: &Gguf) -> Result<Model, Error> {
        Model::find(gguf, true)
    }

    /// Whether every weight is there, by the directory of the file: as [`Model::bind`], but no weight is read. What is
    /// planned from the hyper-parameters is then in proportion to the file.
    ///
    /// # Errors
    /// As [`Model::bind`].
    pub fn check(gguf: &Gguf) -> Result<(), Error> {
        Model::find(gguf, false).map(drop)
    }

    fn find(gguf: &Gguf, read: bool) -> Result<Model, Error> {
        let config = Model::config(gguf)?;
        let n_layer = config.n_layer();
        let text = Text { bind: Bind::new(gguf, read, |name: &str| Spelling::in_text(name, n_layer)), config: &config };
        let bind = &text.bind;
        let n_embd = config.n_embd;
        let token_embd = gguf.tensor("token_embd.weight");
        let token_embd = token_embd
            .ok_or_else(|| Error::MissingTensor { name: "token_embd.weight".into(), expected: vec![0, n_embd] })?;
        let n_vocab = match token_embd.shape[..] {
            [rows, cols] if cols == n_embd && rows > 0 && rows <= u32::MAX as usize => rows,
            _ => {
                return Err(Error::Shape {
                    name: "token_embd.weight".into(),
                    expected: vec![gguf.strings("tokenizer.ggml.tokens")?.map_or(0, |t| t.len()), n_embd],
                    found: token_embd.shape.to_vec(),
                });
            }
        };
        let token_embd = bind.matrix("token_embd.weight", n_vocab, n_embd)?;
        let output = match gguf.tensor("output.weight") {
            Some(_) => bind.matrix("output.weight", n_vocab, n_embd)?,
            None => token_embd.clone(),
        };
        let layers = (0..n_layer).map(|il| text.layer(il, config.layers[il])).collect::<Result<_, _>>()?;
        let output_norm = bind.vector("output_norm.weight", n_embd)?;
        let mtp = if config.n_mtp == 1 { Some(text.mtp(n_layer)?) } else { None };
        bind.check_account(|name| Role::of(name, n_layer) == Role::Trunk)?;
        Ok(Model { n_vocab, token_embd, layers, output_norm, output, mtp, stream: None, slots: None, config })
    }

    /// Streams the feed-forwards of its file that `streaming` says from here on. `uses` is what is known of how often experts
    /// are used, `[n_layer][n_expert]`.
    ///
    /// # Errors
    /// If there is no memory for slots, or no thread that reads can be started.
    pub fn stream_feed_forwards(
        &mut self,
        gguf: &Gguf,
        streaming: &Streaming,
        uses: Option<&[Vec<f32>]>,
    ) -> Result<(), SlotsError> {
        let weights = |il: usize| stream::feed_forward(il).filter_map(|name| gguf.stored(&name)).collect::<Vec<_>>();
        if streaming.experts.is_some() || streaming.way == StreamWay::Read {
            let n = if streaming.experts.is_some() { self.layers.len() } else { streaming.layers };
            // Large pages would bring them into memory beside what is mapped of their neighbours.
            let streamed = stream::spread(self.layers.len(), n).flat_map(weights);
            streamed.for_each(|weight| weight.advise_transient());
        }
        if let Some(experts) = &streaming.experts {
            let of_layer = |layer: &Layer| match &layer.ffn {
                FeedForward::Experts(experts) => experts.experts.clone(),
                FeedForward::Dense(_) | FeedForward::Read(_) => Arc::new([]),
            };
            let kept = |il: usize| experts.kept_in(il, self.layers.len());
            let layers = self.layers.iter().enumerate().map(|(il, layer)| (of_layer(layer), kept(il)));
            let slots = Arc::new(FfnSlots::new(layers.collect(), streaming.uncached, uses)?);
            for (il, layer) in self.layers.iter_mut().enumerate() {
                if let FeedForward::Experts(experts) = &mut layer.ffn {
                    experts.in_slots = Some(InSlots { slots: slots.clone(), il });
                }
            }
            self.slots = Some(slots);
        } else if streaming.way == StreamWay::Read && streaming.layers > 0 {
            let n_layer = self.layers.len();
            let streamed: Vec<usize> = stream::spread(n_layer, streaming.layers).collect();
            let of_layer = |(il, layer): (usize, &Layer)| match &layer.ffn {
                FeedForward::Dense(ffn) if streamed.contains(&il) => (Arc::from([ffn.clone()]), 0),
                _ => (Arc::from([]), 0),
            };
            let layers = self.layers.iter().enumerate().map(of_layer).collect();
            let slots = Arc::new(FfnSlots::new(layers, streaming.uncached, None)?);
            for il in streamed {
                if let FeedForward::Dense(_) = &self.layers[il].ffn {
                    self.layers[il].ffn = FeedForward::Read(InSlots { slots: slots.clone(), il });
                }
            }
            self.slots = Some(slots);
        } else {
            self.stream = Stream::new(self.layers.len(), weights, streaming);
        }
        Ok(())
    }

    /// Bytes of weights one decoded token reads: every matrix of the trunk once, of experts those that are used, and the head.
    pub fn bytes_per_token(&self) -> usize {
        let sum = |weights: &[&Weight]| weights.iter().map(|w| w.stored().len()).sum::<usize>();
        let n_used = self.config.experts.map_or(0, |experts| experts.n_used);
        let mixer = |m: &Mixer| match m {
            Mixer::Attention(a) => sum(&[&a.attn_q, &a.attn_k, &a.attn_v, &a.attn_output]),
            Mixer::DeltaNet(d) => {
                sum(&[&d.attn_qkv, &d.attn_gate, &d.ssm_out]) + d.ssm_alpha_beta.matrix().bytes().len()
            }
        };
        self.layers.iter().map(|l| mixer(&l.mixer) + l.ffn.bytes_per_row(n_used)).sum::<usize>() + sum(&[&self.output])
    }
}

impl Mtp {
    /// The block whose tensors have number `il` in a file, for a trunk of these hyper-parameters. Without `read` its directory
    /// alone is looked at.
    ///
    /// # Errors
    /// The first tensor that is missing, misshapen or of an unsupported type.
    pub(super) fn find(gguf: &Gguf, config: &Config, il: usize, read: bool) -> Result<Mtp, Error> {
        Text { bind: Bind::new(gguf, read, |name: &str| Spelling::in_text(name, il)), config }.mtp(il)
    }
}

/// The tensors of a text model, by layer.
struct Text<'g, 'c, S> {
    bind: Bind<'g, S>,
    config: &'c Config,
}

impl<S: Fn(&str) -> Option<Spelling>> Text<'_, '_, S> {
    fn layer(&self, il: usize, kind: LayerKind) -> Result<Layer, Error> {
        let n_embd = self.config.n_embd;
        Ok(Layer {
            attn_norm: self.bind.vector(&format!("blk.{il}.attn_norm.weight"), n_embd)?,
            mixer: match kind {
                LayerKind::DeltaNet => Mixer::DeltaNet(self.deltanet(il)?),
                LayerKind::Attention => Mixer::Attention(self.attention(il)?),
            },
            post_attention_norm: self.bind.vector(&format!("blk.{il}.post_attention_norm.weight"), n_embd)?,
            ffn: self.ffn(il)?,
        })
    }

    fn deltanet(&self, il: usize) -> Result<DeltaNet, Error> {
        let c = self.config;
        let name = |what: &str| format!("blk.{il}.{what}");
        let alpha = self.bind.values(&name("ssm_alpha.weight"), &[c.n_v_head, c.n_embd])?;
        let beta = self.bind.values(&name("ssm_beta.weight"), &[c.n_v_head, c.n_embd])?;
        let conv = self.bind.values(&name("ssm_conv1d.weight"), &[c.conv_channels(), c.conv_kernel])?;
        Ok(DeltaNet {
            attn_qkv: self.bind.matrix(&name("attn_qkv.weight"), c.conv_channels(), c.n_embd)?,
            attn_gate: self.bind.matrix(&name("attn_gate.weight"), c.value_dim(), c.n_embd)?,
            ssm_alpha_beta: Dense { rows: 2 * c.n_v_head, cols: c.n_embd, values: [alpha, beta].concat().into() },
            ssm_a: self.bind.vector(&name("ssm_a"), c.n_v_head)?,
            ssm_dt: self.bind.vector(&name("ssm_dt.bias"), c.n_v_head)?,
            ssm_conv1d: deltanet::conv_blocks(&conv, c.conv_kernel).into(),
            ssm_norm: self.bind.vector(&name("ssm_norm.weight"), c.head_v_dim)?,
            ssm_out: self.bind.matrix(&name("ssm_out.weight"), c.n_embd, c.value_dim())?,
        })
    }

    fn attention(&self, il: usize) -> Result<Attention, Error> {
        let c = self.config;
        let name = |what: &str| format!("blk.{il}.{what}.weight");
        let (n_q, n_kv) = (c.query_dim(), c.kv_dim());
        let (attn_q, attn_k, attn_v) = if self.bind.find(&name("attn_qkv")).is_some() {
            let fused = self.bind.matrix(&name("attn_qkv"), n_q + 2 * n_kv, c.n_embd)?;
            (fused.slice_rows(0..n_q), fused.slice_rows(n_q..n_q + n_kv), fused.slice_rows(n_q + n_kv..n_q + 2 * n_kv))
        } else {
            (
                self.bind.matrix(&name("attn_q"), n_q, c.n_embd)?,
                self.bind.matrix(&name("attn_k"), n_kv, c.n_embd)?,
                self.bind.matrix(&name("attn_v"), n_kv, c.n_embd)?,
            )
        };
        Ok(Attention {
            attn_q,
            attn_k,
            attn_v,
            attn_q_norm: self.bind.vector(&name("attn_q_norm"), c.head_dim)?,
            attn_k_norm: self.bind.vector(&name("attn_k_norm"), c.head_dim)?,
            attn_output: self.bind.matrix(&name("attn_output"), c.n_embd, c.n_head * c.head_dim)?,
        })
    }

    fn ffn(&self, il: usize) -> Result<FeedForward, Error> {
        match &self.config.experts {
            None => Ok(FeedForward::Dense(self.dense(il, "")?)),
            Some(experts) => Ok(FeedForward::Experts(self.experts(il, experts)?)),
        }
    }

    /// One feed-forward, whose tensors have this end of their names.
    fn dense(&self, il: usize, end: &str) -> Result<Ffn, Error> {
        let (n_embd, n_ff) = (self.config.n_embd, self.config.n_ff);
        Ok(Ffn {
            ffn_gate: self.bind.matrix(&format!("blk.{il}.ffn_gate{end}.weight"), n_ff, n_embd)?,
            ffn_up: self.bind.matrix(&format!("blk.{il}.ffn_up{end}.weight"), n_ff, n_embd)?,
            ffn_down: self.bind.matrix(&format!("blk.{il}.ffn_down{end}.weight"), n_embd, n_ff)?,
        })
    }

    fn experts(&self, il: usize, experts: &ExpertConfig) -> Result<Experts, Error> {
        let ExpertConfig { n_expert, n_ff, .. } = *experts;
        let n_embd = self.config.n_embd;
        let name = |what: &str| format!("blk.{il}.{what}.weight");
        let all = |what: &str, rows, cols| self.bind.matrices(&name(what), n_expert, rows, cols);
        let (gates, ups): (Vec<Weight>, Vec<Weight>) = if self.bind.find(&name("ffn_gate_up_exps")).is_some() {
            let both = all("ffn_gate_up_exps", 2 * n_ff, n_embd)?;
            both.iter().map(|both| (both.slice_rows(0..n_ff), both.slice_rows(n_ff..2 * n_ff))).unzip()
        } else {
            (all("ffn_gate_exps", n_ff, n_embd)?, all("ffn_up_exps", n_ff, n_embd)?)
        };
        let downs = all("ffn_down_exps", n_embd, n_ff)?;
        let experts = gates.into_iter().zip(ups).zip(downs);
        // Some writers give the vector a dimension of 1.
        let gate = name("ffn_gate_inp_shexp");
        let has_two = self.bind.find(&gate).is_some_and(|found| found.tensor.shape.len() == 2);
        Ok(Experts {
            ffn_gate_inp: self.bind.floats(&name("ffn_gate_inp"), n_expert, n_embd)?,
            experts: experts.map(|((ffn_gate, ffn_up), ffn_down)| Ffn { ffn_gate, ffn_up, ffn_down }).collect(),
            in_slots: None,
            ffn_gate_inp_shexp: match has_two {
                true => self.bind.values(&gate, &[1, n_embd])?,
                false => self.bind.vector(&gate, n_embd)?,
            },
            shared: self.dense(il, "_shexp")?,
        })
    }

    fn mtp(&self, il: usize) -> Result<Mtp, Error> {
        let n_embd = self.config.n_embd;
        let vector = |what: &str| self.bind.vector(&format!("blk.{il}.nextn.{what}.weight"), n_embd);
        Ok(Mtp {
            enorm: vector("enorm")?,
            hnorm: vector("hnorm")?,
            eh_proj: self.bind.matrix(&format!("blk.{il}.nextn.eh_proj.weight"), n_embd, 2 * n_embd)?,
            layer: self.layer(il, LayerKind::Attention)?,
            // Files without a norm of its own share the trunk's.
            shared_head_norm: match self.bind.find(&format!("blk.{il}.nextn.shared_head_norm.weight")) {
                Some(_) => vector("shared_head_norm")?,
                None => self.bind.vector("output_norm.weight", n_embd)?,
            },
        })
    }
}

// A model is shared by whoever computes with it, on any thread, for as long as any of them lives.
const _: fn() = || {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Model>();
};
