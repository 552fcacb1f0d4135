//! The levels AVX2 and AVX-VNNI: two registers a vector. They differ in one thing, the product of bytes.

use super::blocks::{Blocks, Codes, Line, Runs, generic_block_sums};
use crate::simd::{Avx2With, has};
use crate::transpose::{transpose_8, transpose_halves};
use std::arch::asm;
use std::arch::x86_64::*;

/// `v`, which has to be in a register at this point of the program. No instructions.
#[inline]
#[target_feature(enable = "avx2")]
fn in_register(mut v: __m256i) -> __m256i {
    // SAFETY: an empty program that keeps its operand.
    unsafe { asm!("/* {0} */", inout(ymm_reg) v, options(nomem, nostack, preserves_flags)) }
    v
}

/// An f16 number of the bits of a UE4M3 one, from bit 7 on, is so many times smaller.
pub(super) const UE4M3_FACTOR: f32 = 256.0;

/// The bytes of `v` as UE4M3 numbers, [`UE4M3_FACTOR`] times smaller, in f16 and in the order of lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn ue4m3_halves(v: [u64; 2]) -> __m256i {
    let order = _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    let v = _mm_shuffle_epi8(_mm_set_epi64x(v[1] as i64, v[0] as i64), order);
    let bits = _mm_set1_epi8(0x7f);
    let v = _mm_andnot_si128(_mm_cmpeq_epi8(v, bits), _mm_and_si128(v, bits));
    _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(v))
}

/// A logical vector of bytes or integers.
type Pair = [__m256i; 2];

impl<const VNNI: bool> Avx2With<VNNI> {
    /// Lane i of `acc` plus four products of bytes; codes in 0..=127, or any u8 with VNNI.
    #[inline(always)]
    fn dot_acc_32(self, acc: __m256i, codes: __m256i, x: __m256i) -> __m256i {
        has!({
            if VNNI {
                _mm256_dpbusd_avx_epi32(acc, codes, x)
            } else {
                // Pairs reach at most 2·128·127 < 2¹⁵.
                let pairs = _mm256_maddubs_epi16(codes, x);
                _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        })
    }

    /// Half `part` of [`Blocks::dots`].
    #[inline(always)]
    fn dots_32(self, kind: Codes, codes: [__m256i; 4], x: &[[i8; 64]; 4], part: usize) -> __m256i {
        let mut of_x = codes;
        for m in 0..4 {
            of_x[m] = self.part(bytemuck::cast_ref(&x[m]), part);
        }
        let x = of_x;
        has!({
            let ones = _mm256_set1_epi16(1);
            if VNNI || !matches!(kind, Codes::UpTo(..=63)) {
                let mut sums = _mm256_setzero_si256();
                for m in 0..4 {
                    let (codes, x) = if kind == Codes::Signed && !VNNI {
                        (_mm256_abs_epi8(codes[m]), _mm256_sign_epi8(x[m], codes[m]))
                    } else {
                        (codes[m], x[m])
                    };
                    sums = self.dot_acc_32(sums, codes, x);
                }
                return sums;
            }
            let mut pairs = codes;
            for m in 0..4 {
                pairs[m] = _mm256_maddubs_epi16(codes[m], x[m]);
            }
            // Two pairs of products reach 4·63·127, four 8·31·127: both below 2¹⁵.
            let (first, second) = (_mm256_add_epi16(pairs[0], pairs[1]), _mm256_add_epi16(pairs[2], pairs[3]));
            if matches!(kind, Codes::UpTo(..=31)) {
                return _mm256_madd_epi16(_mm256_add_epi16(first, second), ones);
            }
            _mm256_add_epi32(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(second, ones))
        })
    }

    /// Half b of vector m of the result is made of group m of half b of each of the given vectors.
    #[inline(always)]
    fn exchange_4(self, a: [__m256i; 4]) -> [__m256i; 4] {
        has!(transpose_halves(a))
    }

    /// 0xff where bit i of `bits` is set.
    #[inline(always)]
    fn mask(self, bits: u32) -> __m256i {
        has!({
            let each = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
            let v = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), each);
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit)
        })
    }
}

/// Applies an intrinsic to both registers.
macro_rules! both {
    ($f:ident($a:expr)) => {
        [has!($f($a[0])), has!($f($a[1]))]
    };
    ($f:ident($a:expr, $b:expr)) => {
        [has!($f($a[0], $b[0])), has!($f($a[1], $b[1]))]
    };
    ($f:ident($a:expr, $b:expr, $c:expr)) => {
        [has!($f($a[0], $b[0], $c[0])), has!($f($a[1], $b[1], $c[1]))]
    };
}

impl<const VNNI: bool> Blocks for Avx2With<VNNI> {
    type Bytes = Pair;
    type Ints = Pair;
    type Floats = [__m256; 2];

    const SIGNED_BIAS: f32 = if VNNI { 128.0 } else { 0.0 };
    const IN_PLACE_32: bool = VNNI;
    const IN_PLACE_16: bool = false;
    const ROWS: usize = 1;
    const WRITTEN_ROWS: usize = 1;
    const TILE: [usize; 2] = [1, 4];
    // Two products of a code with an activation make at most 254 codes; 8 groups of 15, 4 of 31 and 2 of 63 stay below
    // 2¹⁵.
    const RUNS: Runs = if VNNI { Runs::NONE } else { Runs { up_to_15: 8, up_to_31: 4, up_to_63: 2 } };

    #[inline(always)]
    fn load_bytes(self, p: &[u8; 64]) -> Pair {
        has!([_mm256_loadu_si256(p.as_ptr().cast()), _mm256_loadu_si256(p[32..].as_ptr().cast())])
    }

    #[inline(always)]
    fn load_halves(self, a: &[u8; 32], b: &[u8; 32]) -> Pair {
        has!([_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast())])
    }

    #[inline(always)]
    fn store_bytes(self, v: Pair, p: &mut [u8; 64]) {
        has!({
            _mm256_storeu_si256(p.as_mut_ptr().cast(), v[0]);
            _mm256_storeu_si256(p[32..].as_mut_ptr().cast(), v[1]);
        });
    }

    #[inline(always)]
    fn splat_group(self, v: &[i8; 4]) -> Pair {
        has!([_mm256_set1_epi32(bytemuck::pod_read_unaligned(bytemuck::bytes_of(v))); 2])
    }

    #[inline(always)]
    fn transpose(self, a: [Pair; 16]) -> [Pair; 16] {
        let mut c = a;
        // Four squares of 8 by 8 groups: rows 8i .., columns 8j ...
        for i in 0..2 {
            for j in 0..2 {
                let mut square = [a[8 * i][j]; 8];
                for r in 1..8 {
                    square[r] = a[8 * i + r][j];
                }
                let square = has!(transpose_8(square));
                for r in 0..8 {
                    c[8 * j + r][i] = square[r];
                }
            }
        }
        c
    }

    #[inline(always)]
    fn exchange(self, v: [Pair; 4]) -> [Pair; 4] {
        let first = self.exchange_4([v[0][0], v[1][0], v[2][0], v[3][0]]);
        let second = self.exchange_4([v[0][1], v[1][1], v[2][1], v[3][1]]);
        [[first[0], second[0]], [first[1], second[1]], [first[2], second[2]], [first[3], second[3]]]
    }

    #[inline(always)]
    fn dots(self, kind: Codes, codes: [Pair; 4], x: &[[i8; 64]; 4]) -> Pair {
        let half = |i: usize| [[codes[0][i], codes[1][i], codes[2][i], codes[3][i]]];
        [self.part_dots(kind, &half(0), x, 0)[0], self.part_dots(kind, &half(1), x, 1)[0]]
    }

    type Part = __m256i;
    type PartInts = __m256i;

    const SMALL_CODES_GAIN: bool = !VNNI;

    #[inline(always)]
    fn part(self, p: &[u8; 64], part: usize) -> __m256i {
        has!(_mm256_loadu_si256(p[32 * part..][..32].as_ptr().cast()))
    }

    #[inline(always)]
    fn part_dots<const R: usize>(
        self,
        kind: Codes,
        codes: &[[__m256i; 4]; R],
        x: &[[i8; 64]; 4],
        part: usize,
    ) -> [__m256i; R] {
        let mut sums = [has!(_mm256_setzero_si256()); R];
        for r in 0..R {
            sums[r] = self.dots_32(kind, codes[r], x, part);
        }
        sums
    }

    #[inline(always)]
    fn part_two_digits(self, high: __m256i, low: __m256i) -> __m256i {
        has!(_mm256_add_epi32(_mm256_slli_epi32::<8>(high), low))
    }

    #[inline(always)]
    fn part_to_f32(self, v: __m256i) -> __m256 {
        has!(_mm256_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn part_of_eight(self, p: &[f32; 8], part: usize) -> __m256 {
        has!(_mm256_broadcast_ps(&_mm_loadu_ps(p[4 * part..][..4].as_ptr())))
    }

    #[inline(always)]
    fn two_digits(self, high: Pair, low: Pair) -> Pair {
        [self.part_two_digits(high[0], low[0]), self.part_two_digits(high[1], low[1])]
    }

    #[inline(always)]
    fn zero_ints(self) -> Pair {
        has!([_mm256_setzero_si256(); 2])
    }

    #[inline(always)]
    fn dot_acc(self, acc: Pair, codes: Pair, x: Pair) -> Pair {
        [self.dot_acc_32(acc[0], codes[0], x[0]), self.dot_acc_32(acc[1], codes[1], x[1])]
    }

    #[inline(always)]
    fn dot_acc_signed(self, acc: Pair, codes: Pair, x: Pair) -> Pair {
        if VNNI {
            return self.dot_acc(acc, codes, x);
        }
        let magnitudes = both!(_mm256_abs_epi8(codes));
        let x = both!(_mm256_sign_epi8(x, codes));
        self.dot_acc(acc, magnitudes, x)
    }

    #[inline(always)]
    fn block_sums<const V: usize, const C: usize, const G: usize, const RUN: usize>(
        self,
        lines: &[[Line; 2]; G],
        v: usize,
        x: [&[[i8; 4]; G]; C],
    ) -> [[Pair; V]; C] {
        if VNNI || RUN < 2 {
            return generic_block_sums::<Self, V, C, G, RUN>(self, lines, v, x);
        }
        // Small codes: sums of pairs are added in 16 bits for a while, and widened once.
        let run = if RUN < G { RUN } else { G };
        let mut sums = [[self.zero_ints(); V]; C];
        for start in (0..G).step_by(run) {
            let mut pairs = [[self.zero_ints(); V]; C];
            for g in start..start + run {
                for c in 0..C {
                    let x = self.splat_group(&x[c][g]);
                    for i in 0..V {
                        let codes = self.load_bytes(&lines[g][v + i].0);
                        let products = both!(_mm256_maddubs_epi16(codes, x));
                        pairs[c][i] = both!(_mm256_add_epi16(pairs[c][i], products));
                        // Left to itself, the compiler sums column by column and spills the codes.
                        pairs[c][i] = both!(in_register(pairs[c][i]));
                    }
                }
            }
            for c in 0..C {
                for i in 0..V {
                    let ones = has!([_mm256_set1_epi16(1); 2]);
                    let wide = both!(_mm256_madd_epi16(pairs[c][i], ones));
                    sums[c][i] = both!(_mm256_add_epi32(sums[c][i], wide));
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn to_f32(self, v: Pair) -> Self::Floats {
        both!(_mm256_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn splat_bytes(self, v: u8) -> Pair {
        has!([_mm256_set1_epi8(v as i8); 2])
    }

    #[inline(always)]
    fn groups(self, g: [u64; 8]) -> Pair {
        let g: [i64; 8] = bytemuck::cast(g);
        has!([_mm256_set_epi64x(g[3], g[2], g[1], g[0]), _mm256_set_epi64x(g[7], g[6], g[5], g[4])])
    }

    #[inline(always)]
    fn or(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn add_bytes(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_add_epi8(a, b))
    }

    #[inline(always)]
    fn nibbles(self, a: &[u8; 16], b: &[u8; 16]) -> Pair {
        has!({
            let counts = _mm256_set_epi64x(0x4_0000_0004, 0x4_0000_0004, 0, 0);
            let a = _mm256_broadcastsi128_si256(_mm_loadu_si128(a.as_ptr().cast()));
            let b = _mm256_broadcastsi128_si256(_mm_loadu_si128(b.as_ptr().cast()));
            let low = _mm256_set1_epi8(15);
            [_mm256_and_si256(_mm256_srlv_epi32(a, counts), low), _mm256_and_si256(_mm256_srlv_epi32(b, counts), low)]
        })
    }

    #[inline(always)]
    fn nibbles_of_eights(self, p: &[u8; 32]) -> Pair {
        has!({
            let (counts, low) = (_mm256_set_epi64x(4, 0, 4, 0), _mm256_set1_epi8(15));
            let half = |p: &[u8]| {
                let twice =
                    _mm256_permute4x64_epi64::<0x50>(_mm256_castsi128_si256(_mm_loadu_si128(p.as_ptr().cast())));
                _mm256_and_si256(_mm256_srlv_epi64(twice, counts), low)
            };
            [half(&p[..16]), half(&p[16..])]
        })
    }

    #[inline(always)]
    fn fields_32<const LOW: u32, const HIGH: u32, const MASK: u8>(self, p: &[u8; 32]) -> Pair {
        has!({
            let v = _mm256_loadu_si256(p.as_ptr().cast());
            let mask = _mm256_set1_epi8(MASK as i8);
            let low = _mm256_srl_epi32(v, _mm_cvtsi32_si128(LOW as i32));
            let high = _mm256_srl_epi32(v, _mm_cvtsi32_si128(HIGH as i32));
            [_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)]
        })
    }

    #[inline(always)]
    fn fields_64<const SHIFT: u32, const MASK: u8>(self, p: &[u8; 64]) -> Pair {
        let v = self.load_bytes(p);
        has!({
            let (count, mask) = (_mm_cvtsi32_si128(SHIFT as i32), _mm256_set1_epi8(MASK as i8));
            [
                _mm256_and_si256(_mm256_srl_epi32(v[0], count), mask),
                _mm256_and_si256(_mm256_srl_epi32(v[1], count), mask),
            ]
        })
    }

    #[inline(always)]
    fn nibbles_32_exchanged(self, p: &[u8; 128]) -> [Pair; 4] {
        let ([a, b], [c, d]) =
            (self.load_bytes(p[..64].try_into().unwrap()), self.load_bytes(p[64..].try_into().unwrap()));
        let groups = self.exchange_4([a, b, c, d]);
        let mut out = [[a; 2]; 4];
        for m in 0..4 {
            out[m] = has!({
                let low = _mm256_set1_epi8(15);
                let high = if VNNI {
                    _mm256_andnot_si256(low, groups[m])
                } else {
                    _mm256_and_si256(_mm256_srli_epi32::<4>(groups[m]), low)
                };
                [_mm256_and_si256(groups[m], low), high]
            });
        }
        out
    }

    #[inline(always)]
    fn shift_left<const SHIFT: u32>(self, v: Pair) -> Pair {
        has!({
            let count = _mm_cvtsi32_si128(SHIFT as i32);
            [_mm256_sll_epi32(v[0], count), _mm256_sll_epi32(v[1], count)]
        })
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], indices: Pair) -> Pair {
        has!({
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, indices[0]), _mm256_shuffle_epi8(table, indices[1])]
        })
    }

    #[inline(always)]
    fn set_where(self, v: Pair, bits: u64, value: u8) -> Pair {
        let masks = [self.mask(bits as u32), self.mask((bits >> 32) as u32)];
        self.or(v, both!(_mm256_and_si256(masks, self.splat_bytes(value))))
    }

    #[inline(always)]
    fn negate_where(self, v: Pair, bits: u64) -> Pair {
        // -v = (v ^ -1) - (-1).
        let masks = [self.mask(bits as u32), self.mask((bits >> 32) as u32)];
        let flipped = both!(_mm256_xor_si256(v, masks));
        both!(_mm256_sub_epi8(flipped, masks))
    }

    #[inline(always)]
    fn signed(self, v: Pair) -> Pair {
        if VNNI { both!(_mm256_xor_si256(v, self.splat_bytes(128))) } else { v }
    }

    #[inline(always)]
    fn widen_bf16(self, p: &[u8; 32]) -> Self::Floats {
        has!({
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(p[16..].as_ptr().cast()));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high))]
        })
    }

    #[inline(always)]
    fn sixteen_i8(self, v: [u64; 2]) -> Self::Floats {
        has!({
            let order = _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
            let v = _mm_shuffle_epi8(_mm_set_epi64x(v[1] as i64, v[0] as i64), order);
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(v, v))),
            ]
        })
    }

    #[inline(always)]
    fn sixteen_ue4m3(self, v: [u64; 2]) -> Self::Floats {
        has!({
            let halves = ue4m3_halves(v);
            let factor = _mm256_set1_ps(UE4M3_FACTOR);
            [
                _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), factor),
                _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)), factor),
            ]
        })
    }

    #[inline(always)]
    fn eight_i8(self, v: u64) -> Self::Floats {
        has!({
            let order = _mm_set_epi8(7, 5, 3, 1, 7, 5, 3, 1, 6, 4, 2, 0, 6, 4, 2, 0);
            let v = _mm_shuffle_epi8(_mm_cvtsi64_si128(v as i64), order);
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(v, v))),
            ]
        })
    }

    #[inline(always)]
    fn eight_f32(self, p: &[f32; 8]) -> Self::Floats {
        has!([_mm256_broadcast_ps(&_mm_loadu_ps(p.as_ptr())), _mm256_broadcast_ps(&_mm_loadu_ps(p[4..].as_ptr()))])
    }

    #[inline(always)]
    fn eight_f16(self, h: [u16; 8]) -> Self::Floats {
        let h: [i16; 8] = bytemuck::cast(h);
        has!({
            let h = _mm_set_epi16(h[7], h[5], h[3], h[1], h[6], h[4], h[2], h[0]);
            [_mm256_cvtph_ps(_mm_unpacklo_epi64(h, h)), _mm256_cvtph_ps(_mm_unpackhi_epi64(h, h))]
        })
    }

    #[inline(always)]
    fn eight_f16_pairs(self, w: [u32; 8]) -> [Self::Floats; 2] {
        let w: [i32; 8] = bytemuck::cast(w);
        has!({
            let first = _mm256_cvtph_ps(_mm_set_epi32(w[6], w[4], w[2], w[0]));
            let second = _mm256_cvtph_ps(_mm_set_epi32(w[7], w[5], w[3], w[1]));
            let low = _mm256_set_epi32(6, 4, 2, 0, 6, 4, 2, 0);
            let high = _mm256_set_epi32(7, 5, 3, 1, 7, 5, 3, 1);
            [
                [_mm256_permutevar8x32_ps(first, low), _mm256_permutevar8x32_ps(second, low)],
                [_mm256_permutevar8x32_ps(first, high), _mm256_permutevar8x32_ps(second, high)],
            ]
        })
    }

    #[inline(always)]
    fn sum(self, v: Self::Floats) -> f32 {
        has!({
            let v = _mm256_add_ps(v[0], v[1]);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        })
    }
}
