//! Which tensor gets which type: the mixes that files made with llama.cpp's quantiser have.

use crate::gguf::TensorType;

/// A type mix, by the name files carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(non_camel_case_types, missing_docs)]
pub enum Quant {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_1")]
    Q4_1,
    #[value(name = "q5_0")]
    Q5_0,
    #[value(name = "q5_1")]
    Q5_1,
    #[value(name = "q2_k")]
    Q2_K,
    #[value(name = "q3_k_m")]
    Q3_K_M,
    #[value(name = "q4_k_s")]
    Q4_K_S,
    #[value(name = "q4_k_m")]
    Q4_K_M,
    #[value(name = "q5_k_s")]
    Q5_K_S,
    #[value(name = "q5_k_m")]
    Q5_K_M,
    #[value(name = "q6_k")]
    Q6_K,
    #[value(name = "iq4_nl")]
    Iq4Nl,
    #[value(name = "iq4_xs")]
    Iq4Xs,
    /// Every matrix MXFP4.
    #[value(name = "mxfp4")]
    Mxfp4,
    /// A low-bit mix: IQ2_XXS and IQ3_XXS, with IQ3_S, Q4_K and Q8_0 where it matters.
    #[value(name = "iq2_m")]
    Iq2M,
}

/// What a matrix is for, as far as the mixes tell matrices apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    TokenEmbd,
    Output,
    /// `attn_qkv` of a linear layer.
    AttnQkv,
    AttnV,
    AttnOutput,
    SsmOut,
    /// `ssm_alpha`, `ssm_beta`.
    SsmGate,
    FfnDown,
    Other,
}

/// Assigns types to the matrices of one file, asked in file order.
pub(super) struct Mix {
    quant: Quant,
    newer: bool,
    tied: bool,
    n_block: usize,
    /// Tensors of the attn_v class seen so far.
    n_attn_v: usize,
}

impl Mix {
    /// `newer`: the rule of mid-2026, which counts `attn_qkv` of linear layers to the `attn_v` class.
    pub(super) fn new(quant: Quant, newer: bool, tied: bool, n_block: usize) -> Self {
        Self { quant, newer, tied, n_block, n_attn_v: 0 }
    }

    /// The type of the next matrix, of layer `il` unless it belongs to none.
    pub(super) fn next(&mut self, role: Role, il: usize) -> TensorType {
        use TensorType as T;
        let base = match self.quant {
            Quant::F32 => return T::F32,
            Quant::F16 => return T::F16,
            Quant::Bf16 => return T::BF16,
            Quant::Q8_0 => return T::Q8_0,
            Quant::Mxfp4 => T::MXFP4,
            Quant::Q4_0 => T::Q4_0,
            Quant::Q4_1 => T::Q4_1,
            Quant::Q5_0 => T::Q5_0,
            Quant::Q5_1 => T::Q5_1,
            Quant::Q2_K => T::Q2_K,
            Quant::Q3_K_M => T::Q3_K,
            Quant::Q4_K_S | Quant::Q4_K_M => T::Q4_K,
            Quant::Q5_K_S | Quant::Q5_K_M => T::Q5_K,
            Quant::Q6_K => T::Q6_K,
            Quant::Iq4Nl => T::IQ4_NL,
            Quant::Iq4Xs => T::IQ4_XS,
            Quant::Iq2M => T::IQ2_XXS,
        };
        let n = self.n_block;
        match role {
            Role::Output => T::Q6_K,
            Role::TokenEmbd if self.tied => T::Q6_K,
            Role::FfnDown => self.ffn_down(base, il, n),
            Role::AttnQkv if self.newer => self.attn_v(base),
            Role::AttnV => self.attn_v(base),
            Role::AttnQkv => match self.quant {
                Quant::Q3_K_M => T::Q4_K,
                Quant::Q4_K_M => T::Q5_K,
                Quant::Q5_K_M => T::Q6_K,
                Quant::Iq2M => T::IQ3_XXS,
                _ => base,
            },
            Role::AttnOutput => match self.quant {
                Quant::Q2_K => T::Q3_K,
                Quant::Q3_K_M => T::Q4_K,
                Quant::Iq2M => T::IQ3_S,
                _ => base,
            },
            Role::SsmOut if self.quant == Quant::Iq2M => T::Q4_K,
            Role::SsmGate if self.quant == Quant::Iq2M => T::Q8_0,
            _ => base,
        }
    }

    fn ffn_down(&self, base: TensorType, il: usize, n: usize) -> TensorType {
        use TensorType as T;
        match self.quant {
            Quant::Q4_K_M | Quant::Q5_K_M if more_bits(il, n) => T::Q6_K,
            Quant::Q4_K_S | Quant::Iq4Nl | Quant::Iq4Xs if il < n / 8 => T::Q5_K,
            Quant::Q3_K_M if il < n / 16 => T::Q5_K,
            Quant::Q3_K_M => T::Q4_K,
            Quant::Q2_K => T::Q3_K,
            Quant::Iq2M => T::IQ3_S,
            _ => base,
        }
    }

    fn attn_v(&mut self, base: TensorType) -> TensorType {
        use TensorType as T;
        let i = self.n_attn_v;
        self.n_attn_v += 1;
        match self.quant {
            Quant::Q4_K_M | Quant::Q5_K_M if more_bits(i, self.n_block) => T::Q6_K,
            Quant::Q4_K_S if i < 4 => T::Q5_K,
            Quant::Iq4Nl | Quant::Iq4Xs => T::Q5_K,
            Quant::Q3_K_M if i < 2 => T::Q5_K,
            Quant::Q3_K_M | Quant::Q2_K => T::Q4_K,
            Quant::Iq2M => T::IQ3_S,
            _ => base,
        }
    }
}

/// The layers that the `_M` mixes give more bits: the first and last eighth, and every third between.
fn more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

impl Quant {
    /// `general.file_type` of such a file.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 7,
            Self::Q5_0 => 8,
            Self::Q5_1 => 9,
            Self::Q2_K => 10,
            Self::Q3_K_M => 12,
            Self::Q4_K_S => 14,
            Self::Q4_K_M => 15,
            Self::Q5_K_S => 16,
            Self::Q5_K_M => 17,
            Self::Q6_K => 18,
            Self::Iq4Nl => 25,
            Self::Iq2M => 29,
            Self::Iq4Xs => 30,
            Self::Bf16 => 32,
            Self::Mxfp4 => 38,
        }
    }

    /// The name on the command line and in file names.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or(String::new(), |value| value.get_name().to_owned())
    }
}
