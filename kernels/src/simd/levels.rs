//! From functions generic over a level to machine code: entry points that carry the level's CPU features.
//!
//! Everything that an entry point calls is `inline(always)`, so that it is compiled with the features of the entry
//! point it ends up in; features cannot be put on generic code itself. A family of kernels has a macro that writes its
//! entry points for one level, and `features_of` calls it.

/// Calls the macro `$then! { ["features"] Token, .. }` with the CPU features and the token of a level.
macro_rules! features_of {
    (Portable => $($then:tt)*) => { $crate::simd::levels::then! { [] Portable, $($then)* } };
    (Avx2 => $($then:tt)*) => { $crate::simd::levels::then! { ["avx2,fma,f16c"] Avx2, $($then)* } };
    (AvxVnni => $($then:tt)*) => { $crate::simd::levels::then! { ["avx2,fma,f16c,avxvnni"] AvxVnni, $($then)* } };
    (Avx512 => $($then:tt)*) => {
        $crate::simd::levels::then! {
            ["avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"] Avx512, $($then)*
        }
    };
    (Avx512Bf16 => $($then:tt)*) => {
        $crate::simd::levels::then! {
            ["avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"] Avx512Bf16, $($then)*
        }
    };
    (Neon => $($then:tt)*) => { $crate::simd::levels::then! { ["neon"] Neon, $($then)* } };
    (NeonDotprod => $($then:tt)*) => { $crate::simd::levels::then! { ["neon,dotprod"] NeonDotprod, $($then)* } };
    (NeonI8mm => $($then:tt)*) => { $crate::simd::levels::then! { ["neon,dotprod,i8mm"] NeonI8mm, $($then)* } };
}

/// The call that [`features_of`] makes.
macro_rules! then {
    ([$($features:literal)?] $level:ident, $then:ident! $($rest:tt)*) => {
        $then! { [$($features)?] $crate::simd::$level, $($rest)* }
    };
}

/// Writes `Table::of` for a family: the struct `Table` has a field for each signature given, and the modules `scalar`
/// (a constant `TABLE`) and `vector` (functions generic over `S: VectorMath` that take an `S` first) implement them.
/// There is a table for each width of vectors; the levels above share it.
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
            use $crate::simd::levels::{features_of, table};
            features_of! { Avx2 => table! $($signatures)* }
        }

        #[cfg(target_arch = "x86_64")]
        mod avx512 {
            use $crate::simd::levels::{features_of, table};
            features_of! { Avx512 => table! $($signatures)* }
        }

        #[cfg(target_arch = "aarch64")]
        mod neon {
            use $crate::simd::levels::{features_of, table};
            features_of! { Neon => table! $($signatures)* }
        }
    };
}

/// The entry points of one level, and their table.
macro_rules! table {
    ([$features:literal] $level:ty, $($name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        use super::*;
        use $crate::simd::Simd as _;

        pub(super) const TABLE: Table = Table { $($name),* };

        $(
            #[target_feature(enable = $features)]
            fn $name($($arg: $type),*) $(-> $result)? {
                // SAFETY: the features of this function are those of the level.
                vector::$name(unsafe { <$level>::new() }, $($arg),*)
            }
        )*
    };
}

pub(crate) use {features_of, table, tables, then};
