//! The number formats a weight row can be stored in, and their block sizes. How a block is laid out inside is the
//! business of the decoders.

use std::fmt;

macro_rules! formats {
    ($($variant:ident $name:literal $len:literal $bytes:literal,)*) => {
        /// A storage format of weights that this crate can multiply with. Names are those of the GGUF type ids.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[allow(non_camel_case_types, missing_docs)]
        pub enum Format { $($variant,)* }

        impl Format {
            /// Every format, in the order of their GGUF ids.
            pub const ALL: &'static [Format] = &[$(Format::$variant,)*];

            /// The GGUF name, for example `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(Format::$variant => $name,)* }
            }

            /// Values in a block.
            pub const fn block_len(self) -> usize {
                match self { $(Format::$variant => $len,)* }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Format::$variant => $bytes,)* }
            }
        }
    };
}

formats! {
    F32 "F32" 1 4,
    F16 "F16" 1 2,
    Q4_0 "Q4_0" 32 18,
    Q4_1 "Q4_1" 32 20,
    Q5_0 "Q5_0" 32 22,
    Q5_1 "Q5_1" 32 24,
    Q8_0 "Q8_0" 32 34,
    Q2_K "Q2_K" 256 84,
    Q3_K "Q3_K" 256 110,
    Q4_K "Q4_K" 256 144,
    Q5_K "Q5_K" 256 176,
    Q6_K "Q6_K" 256 210,
    IQ2_XXS "IQ2_XXS" 256 66,
    IQ2_XS "IQ2_XS" 256 74,
    IQ3_XXS "IQ3_XXS" 256 98,
    IQ1_S "IQ1_S" 256 50,
    IQ4_NL "IQ4_NL" 32 18,
    IQ3_S "IQ3_S" 256 110,
    IQ2_S "IQ2_S" 256 82,
    IQ4_XS "IQ4_XS" 256 136,
    IQ1_M "IQ1_M" 256 56,
    BF16 "BF16" 1 2,
    TQ1_0 "TQ1_0" 256 54,
    TQ2_0 "TQ2_0" 256 66,
    MXFP4 "MXFP4" 32 17,
    NVFP4 "NVFP4" 64 36,
    Q1_0 "Q1_0" 128 18,
    Q2_0 "Q2_0" 64 18,
}

impl Format {
    /// Bytes of a row of `len` values, or `None` when `len` is not a whole number of blocks or the size overflows.
    pub const fn row_bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether products of few activation rows use the f32 values as they are, rather than their 8-bit form.
    pub const fn is_float(self) -> bool {
        matches!(self, Format::F32 | Format::F16 | Format::BF16)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_bytes_wants_whole_blocks() {
        assert_eq!(Format::Q4_K.row_bytes(512), Some(288));
        assert_eq!(Format::Q4_K.row_bytes(300), None);
        assert_eq!(Format::F32.row_bytes(usize::MAX), None);
    }
}
