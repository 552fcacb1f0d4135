//! The published sizes of the series, and one for tests.

use crate::model::config::{ExpertConfig, RopeConfig, ValueHeads};
use crate::model::{Config, LayerKind};
use kernels::activations::Forms;

/// A size of the model series.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Size {
    /// Four layers, a cut vocabulary: for tests.
    Tiny,
    /// Qwen3.5 0.8B.
    #[value(name = "0.8b")]
    B0_8,
    /// Qwen3.5 2B.
    #[value(name = "2b")]
    B2,
    /// Qwen3.5 4B.
    #[value(name = "4b")]
    B4,
    /// Qwen3.5 9B.
    #[value(name = "9b")]
    B9,
    /// Qwen3.5 27B.
    #[value(name = "27b")]
    B27,
    /// Qwen3.5 35B-A3B: of 256 experts 8 are used.
    #[value(name = "35b-a3b")]
    B35A3,
}

/// Experts of a sparse model.
#[derive(Clone, Copy, Debug)]
pub struct ExpertDims {
    /// How many a layer has.
    pub n_expert: usize,
    /// How many of them a row is given to.
    pub n_used: usize,
    /// Width of each.
    pub n_ff: usize,
    /// How much routers prefer some experts: of all rows, the share that is given to the expert of rank r is proportional to
    /// r^-skew. With 0 all are used alike.
    pub skew: f32,
}

impl ExpertDims {
    /// Experts for each used one that a skew needs: a router without bias gives no expert more than half of the rows.
    pub const LEAST_TO_SKEW: usize = 4;
}

/// Dimensions of a text model and of the vision tower that goes with it.
#[derive(Clone, Debug)]
pub struct Dims {
    /// As in the model's name, for example `0.8B`.
    pub label: &'static str,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Trunk layers, without the MTP block.
    pub n_layer: usize,
    /// Width of the feed-forward layer; beside experts, of the one that all rows share.
    pub n_ff: usize,
    /// Experts, of a sparse model.
    pub experts: Option<ExpertDims>,
    /// Query heads of a full-attention layer.
    pub n_head: usize,
    /// Key and value heads of a full-attention layer.
    pub n_head_kv: usize,
    /// Key heads of a linear layer.
    pub n_k_head: usize,
    /// Value heads of a linear layer.
    pub n_v_head: usize,
    /// Whether the head is the embedding table.
    pub tied: bool,
    /// Rows of the vocabulary.
    pub n_vocab: usize,
    /// The vision tower.
    pub vision: VisionDims,
}

/// Dimensions of a vision tower.
#[derive(Clone, Copy, Debug)]
pub struct VisionDims {
    /// Blocks.
    pub depth: usize,
    /// Width.
    pub n_embd: usize,
    /// Attention heads.
    pub n_head: usize,
    /// Width of the feed-forward layer.
    pub n_ff: usize,
    /// Rows of the position table, a square number.
    pub n_pos: usize,
}

impl Dims {
    /// Width of an attention head.
    pub const HEAD_DIM: usize = 256;
    /// Rotated dimensions of an attention head.
    pub const N_ROT: usize = 64;
    /// Width of a linear layer's key and value heads.
    pub const STATE_SIZE: usize = 128;
    /// Taps of the causal convolution.
    pub const CONV_KERNEL: usize = 4;
    /// Every layer of this number, from 1, is full attention.
    pub const INTERVAL: usize = 4;
    /// Longest context.
    pub const N_CTX: usize = 262_144;
    /// ε of every norm.
    pub const RMS_EPS: f32 = 1e-6;
    /// Base of the rotary frequencies.
    pub const FREQ_BASE: f32 = 1e7;
    /// Rotated pairs that follow the t, h and w positions.
    pub const SECTIONS: [usize; 3] = [11, 11, 10];

    /// The dimensions of a size.
    pub fn of(size: Size) -> Self {
        let vision = |depth, n_embd, n_head, n_ff| VisionDims { depth, n_embd, n_head, n_ff, n_pos: 2304 };
        match size {
            Size::Tiny => Self {
                label: "tiny",
                n_embd: 256,
                n_layer: 4,
                n_ff: 512,
                experts: None,
                n_head: 2,
                n_head_kv: 1,
                n_k_head: 2,
                n_v_head: 4,
                tied: true,
                n_vocab: 2112,
                vision: VisionDims { depth: 2, n_embd: 64, n_head: 4, n_ff: 128, n_pos: 64 },
            },
            Size::B0_8 => Self {
                label: "0.8B",
                n_embd: 1024,
                n_layer: 24,
                n_ff: 3584,
                experts: None,
                n_head: 8,
                n_head_kv: 2,
                n_k_head: 16,
                n_v_head: 16,
                tied: true,
                n_vocab: 248_320,
                vision: vision(12, 768, 12, 3072),
            },
            Size::B2 => Self {
                label: "2B",
                n_embd: 2048,
                n_ff: 6144,
                vision: vision(24, 1024, 16, 4096),
                ..Self::of(Size::B0_8)
            },
            Size::B4 => Self {
                label: "4B",
                n_embd: 2560,
                n_layer: 32,
                n_ff: 9216,
                n_head: 16,
                n_head_kv: 4,
                n_v_head: 32,
                vision: vision(24, 1024, 16, 4096),
                ..Self::of(Size::B0_8)
            },
            Size::B9 => Self {
                label: "9B",
                n_embd: 4096,
                n_ff: 12_288,
                tied: false,
                vision: vision(27, 1152, 16, 4304),
                ..Self::of(Size::B4)
            },
            Size::B27 => Self {
                label: "27B",
                n_embd: 5120,
                n_layer: 64,
                n_ff: 17_408,
                n_head: 24,
                n_v_head: 48,
                ..Self::of(Size::B9)
            },
            Size::B35A3 => Self {
                label: "35B-A3B",
                n_embd: 2048,
                n_layer: 40,
                n_ff: 512,
                experts: Some(ExpertDims { n_expert: 256, n_used: 8, n_ff: 512, skew: 0.0 }),
                n_head_kv: 2,
                ..Self::of(Size::B9)
            },
        }
    }

    /// The hyper-parameters of a text model of these dimensions in quantised weights, without a block for multi-token
    /// prediction: what its file would say.
    pub fn config(&self) -> Config {
        let kind = |il| if Dims::is_recurrent(il) { LayerKind::DeltaNet } else { LayerKind::Attention };
        Config {
            layers: (0..self.n_layer).map(kind).collect(),
            n_mtp: 0,
            n_ctx_train: Self::N_CTX,
            n_embd: self.n_embd,
            n_ff: self.n_ff,
            experts: self.experts.map(|experts| ExpertConfig {
                n_expert: experts.n_expert,
                n_used: experts.n_used,
                n_ff: experts.n_ff,
                scale: 1.0,
            }),
            n_head: self.n_head,
            n_head_kv: self.n_head_kv,
            head_dim: Self::HEAD_DIM,
            rms_eps: Self::RMS_EPS,
            conv_kernel: Self::CONV_KERNEL,
            n_k_head: self.n_k_head,
            n_v_head: self.n_v_head,
            value_heads: ValueHeads::Tiled,
            head_k_dim: Self::STATE_SIZE,
            head_v_dim: Self::STATE_SIZE,
            rope: RopeConfig { n_rot: Self::N_ROT, freq_base: Self::FREQ_BASE, sections: Self::SECTIONS, yarn: None },
            forms: Forms::QUANTS,
            notes: Vec::new(),
        }
    }

    /// What files of such a model call its architecture.
    pub fn architecture(&self) -> &'static str {
        if self.experts.is_some() { "qwen35moe" } else { "qwen35" }
    }

    /// Whether layer `il` of the trunk is a linear (DeltaNet) layer.
    pub fn is_recurrent(il: usize) -> bool {
        !(il + 1).is_multiple_of(Self::INTERVAL)
    }

    /// Width of all value heads of a linear layer.
    pub fn d_inner(&self) -> usize {
        self.n_v_head * Self::STATE_SIZE
    }

    /// Channels of the convolution: queries, keys and values of a linear layer.
    pub fn conv_channels(&self) -> usize {
        2 * self.n_k_head * Self::STATE_SIZE + self.d_inner()
    }
}
