//! From functions generic over [`super::Simd`] to a table of machine code for each level.

/// Writes `Table::of` for a family: the struct `Table` has a field for each signature given, and the modules `scalar`
/// (a constant `TABLE`) and `vector` (functions generic over `S: Simd` that take an `S` first) implement them.
macro_rules! tables {
    ($($signatures:tt)*) => {
        impl Table {
            /// The functions of `isa`; all but the scalar ones ask for its CPU features.
            pub(crate) fn of(isa: $crate::Isa) -> Table {
                use $crate::Isa;
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 | Isa::AvxVnni => avx2::TABLE,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512Vnni | Isa::Amx => avx512::TABLE,
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => neon::TABLE,
                    _ => scalar::TABLE,
                }
            }
        }

        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            $crate::simd::levels::entry_points! { "avx2,fma,f16c", $crate::simd::Avx2, $($signatures)* }
        }

        #[cfg(target_arch = "x86_64")]
        mod avx512 {
            $crate::simd::levels::entry_points! {
                "avx512f,avx512bw,avx512vl,avx512dq", $crate::simd::Avx512, $($signatures)*
            }
        }

        #[cfg(target_arch = "aarch64")]
        mod neon {
            $crate::simd::levels::entry_points! { "neon", $crate::simd::Neon, $($signatures)* }
        }
    };
}

/// The entry points of one level, and their table.
macro_rules! entry_points {
    ($features:literal, $simd:ty, $($name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        use super::*;
        use $crate::simd::Simd as _;

        pub(super) const TABLE: Table = Table { $($name),* };

        $(
            #[target_feature(enable = $features)]
            fn $name($($arg: $type),*) $(-> $result)? {
                // SAFETY: the features of this function are those of the level.
                vector::$name(unsafe { <$simd>::new() }, $($arg),*)
            }
        )*
    };
}

pub(crate) use {entry_points, tables};
