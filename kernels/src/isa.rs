//! Instruction-set levels: named bundles of CPU features, found once at start.

use std::{fmt, str::FromStr};

/// An instruction-set level. Each level of a family contains the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, any CPU: the reference.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// AVX2 and the 256-bit AVX-VNNI dot product.
    AvxVnni,
    /// AVX-512 F, BW, VL, DQ and VNNI.
    Avx512Vnni,
    /// AVX-512-VNNI, AVX-512-BF16 and AMX tiles of bf16.
    Amx,
    /// Armv8.0 NEON.
    Neon,
    /// NEON and the `sdot` instruction (Armv8.2).
    NeonDotprod,
    /// NEON, `sdot` and the `smmla` instruction (Armv8.6).
    NeonI8mm,
}

impl Isa {
    /// Every level, lowest first within its family.
    pub const ALL: &'static [Isa] =
        &[Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni, Isa::Amx, Isa::Neon, Isa::NeonDotprod, Isa::NeonI8mm];

    /// The levels of this CPU, lowest first; the last one is the best.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.iter().copied().filter(|isa| isa.is_available()).collect()
    }

    /// Whether this CPU (and, for AMX, the operating system) has the level.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
            Isa::AvxVnni => Isa::Avx2.is_available() && has!("avxvnni"),
            Isa::Avx512Vnni => {
                Isa::Avx2.is_available()
                    && has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512vl")
                    && has!("avx512dq")
                    && has!("avx512vnni")
            }
            Isa::Amx => Isa::Avx512Vnni.is_available() && crate::amx_tiles::available(),
            Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => false,
        }
    }

    /// Whether this CPU has the level.
    #[cfg(target_arch = "aarch64")]
    pub fn is_available(self) -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        match self {
            Isa::Scalar => true,
            Isa::Neon => has!("neon"),
            Isa::NeonDotprod => Isa::Neon.is_available() && has!("dotprod"),
            Isa::NeonI8mm => Isa::NeonDotprod.is_available() && has!("i8mm"),
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni | Isa::Amx => false,
        }
    }

    /// Whether this CPU has the level.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn is_available(self) -> bool {
        matches!(self, Isa::Scalar)
    }

    /// The name used by `--isa`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
            Isa::NeonDotprod => "dotprod",
            Isa::NeonI8mm => "i8mm",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Isa::ALL.iter().copied().find(|isa| isa.name() == s).ok_or_else(|| {
            let names: Vec<_> = Isa::ALL.iter().map(|isa| isa.name()).collect();
            format!("unknown instruction-set level {s:?}; known: {}", names.join(", "))
        })
    }
}

/// Whether the CPU has `vdpbf16ps` and gains by it. Zen 4 and 5 issue it as often as an f32 FMA, for twice the work;
/// Intel's cores run it at half that rate, where f32 and two 8-bit terms are as fast or faster.
#[cfg(target_arch = "x86_64")]
pub(crate) fn bf16_products_are_fast() -> bool {
    // `__cpuid` is safe on every x86-64 CPU.
    let vendor = std::arch::x86_64::__cpuid(0);
    let is_amd = (vendor.ebx, vendor.edx, vendor.ecx)
        == (u32::from_le_bytes(*b"Auth"), u32::from_le_bytes(*b"enti"), u32::from_le_bytes(*b"cAMD"));
    is_amd && std::arch::is_x86_feature_detected!("avx512bf16")
}

/// Other architectures have no such instruction.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn bf16_products_are_fast() -> bool {
    false
}
