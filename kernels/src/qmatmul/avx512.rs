//! The level AVX-512-VNNI: one register a vector. Codes may be any u8 (`vpdpbusd` does not saturate between products),
//! so signed ones carry a bias of 128.

use super::avx2::{UE4M3_FACTOR, ue4m3_halves};
use super::blocks::{Blocks, Codes, generic_groups_at};
use crate::simd::{Avx512, has};
use crate::transpose::{transpose_16, transpose_quarters};
use std::arch::x86_64::*;

impl Blocks for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = [__m512; 1];

    const SIGNED_BIAS: f32 = 128.0;
    const IN_PLACE_32: bool = true;
    const IN_PLACE_16: bool = true;
    const ROWS: usize = 4;
    const WRITTEN_ROWS: usize = 2;
    const TILE: [usize; 2] = [2, 4];

    #[inline(always)]
    fn load_bytes(self, p: &[u8; 64]) -> __m512i {
        has!(_mm512_loadu_si512(p.as_ptr().cast()))
    }

    #[inline(always)]
    fn load_halves(self, a: &[u8; 32], b: &[u8; 32]) -> __m512i {
        has!({
            let a = _mm512_castsi256_si512(_mm256_loadu_si256(a.as_ptr().cast()));
            _mm512_inserti64x4::<1>(a, _mm256_loadu_si256(b.as_ptr().cast()))
        })
    }

    #[inline(always)]
    fn store_bytes(self, v: __m512i, p: &mut [u8; 64]) {
        has!(_mm512_storeu_si512(p.as_mut_ptr().cast(), v));
    }

    #[inline(always)]
    fn splat_group(self, v: &[i8; 4]) -> __m512i {
        has!(_mm512_set1_epi32(bytemuck::pod_read_unaligned(bytemuck::bytes_of(v))))
    }

    #[inline(always)]
    fn transpose(self, a: [__m512i; 16]) -> [__m512i; 16] {
        has!(transpose_16(a))
    }

    #[inline(always)]
    fn exchange(self, a: [__m512i; 4]) -> [__m512i; 4] {
        has!(transpose_quarters(a))
    }

    #[inline(always)]
    fn zero_ints(self) -> __m512i {
        has!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn dot_acc(self, acc: __m512i, codes: __m512i, x: __m512i) -> __m512i {
        has!(_mm512_dpbusd_epi32(acc, codes, x))
    }

    #[inline(always)]
    fn dot_acc_signed(self, acc: __m512i, codes: __m512i, x: __m512i) -> __m512i {
        self.dot_acc(acc, codes, x)
    }

    #[inline(always)]
    fn two_digits(self, high: __m512i, low: __m512i) -> __m512i {
        has!(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), low))
    }

    type Part = __m512i;
    type PartInts = __m512i;

    #[inline(always)]
    fn part(self, p: &[u8; 64], _: usize) -> __m512i {
        self.load_bytes(p)
    }

    #[inline(always)]
    fn part_dots<const R: usize>(
        self,
        _: Codes,
        codes: &[[__m512i; 4]; R],
        x: &[[i8; 64]; 4],
        _: usize,
    ) -> [__m512i; R] {
        let mut sums = [self.zero_ints(); R];
        for m in 0..4 {
            let x = self.load_bytes(bytemuck::cast_ref(&x[m]));
            for r in 0..R {
                sums[r] = self.dot_acc(sums[r], codes[r][m], x);
            }
        }
        sums
    }

    #[inline(always)]
    fn part_two_digits(self, high: __m512i, low: __m512i) -> __m512i {
        self.two_digits(high, low)
    }

    #[inline(always)]
    fn part_to_f32(self, v: __m512i) -> __m512 {
        self.to_f32(v)[0]
    }

    #[inline(always)]
    fn part_of_eight(self, p: &[f32; 8], _: usize) -> __m512 {
        self.eight_f32(p)[0]
    }

    #[inline(always)]
    fn to_f32(self, v: __m512i) -> [__m512; 1] {
        has!([_mm512_cvtepi32_ps(v)])
    }

    #[inline(always)]
    fn splat_bytes(self, v: u8) -> __m512i {
        has!(_mm512_set1_epi8(v as i8))
    }

    #[inline(always)]
    fn groups(self, g: [u64; 8]) -> __m512i {
        let g: [i64; 8] = bytemuck::cast(g);
        has!(_mm512_set_epi64(g[7], g[6], g[5], g[4], g[3], g[2], g[1], g[0]))
    }

    #[inline(always)]
    fn groups_at<const N: usize>(self, table: &[[u8; 4]; N], p: &[u8; 16], high: u16) -> __m512i {
        if N <= 256 {
            return generic_groups_at(self, table, p, high);
        }
        // The mask keeps every index within the table.
        assert!(N.is_power_of_two());
        has!({
            let low = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.as_ptr().cast()));
            let indices = _mm512_mask_or_epi32(low, high, low, _mm512_set1_epi32(256));
            let indices = _mm512_and_si512(indices, _mm512_set1_epi32(N as i32 - 1));
            _mm512_i32gather_epi32::<4>(indices, table.as_ptr().cast())
        })
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        has!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn add_bytes(self, a: __m512i, b: __m512i) -> __m512i {
        has!(_mm512_add_epi8(a, b))
    }

    #[inline(always)]
    fn nibbles(self, a: &[u8; 16], b: &[u8; 16]) -> __m512i {
        has!({
            let a = _mm512_broadcast_i32x4(_mm_loadu_si128(a.as_ptr().cast()));
            let both = _mm512_mask_broadcast_i32x4(a, 0xff00, _mm_loadu_si128(b.as_ptr().cast()));
            let counts = _mm512_set_epi64(0x4_0000_0004, 0x4_0000_0004, 0, 0, 0x4_0000_0004, 0x4_0000_0004, 0, 0);
            _mm512_and_si512(_mm512_srlv_epi32(both, counts), _mm512_set1_epi8(15))
        })
    }

    #[inline(always)]
    fn nibbles_of_eights(self, p: &[u8; 32]) -> __m512i {
        has!({
            let v = _mm512_castsi256_si512(_mm256_loadu_si256(p.as_ptr().cast()));
            let twice = _mm512_permutexvar_epi64(_mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0), v);
            let counts = _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0);
            _mm512_and_si512(_mm512_srlv_epi64(twice, counts), _mm512_set1_epi8(15))
        })
    }

    #[inline(always)]
    fn fields_32<const LOW: u32, const HIGH: u32, const MASK: u8>(self, p: &[u8; 32]) -> __m512i {
        has!({
            let v = _mm512_broadcast_i64x4(_mm256_loadu_si256(p.as_ptr().cast()));
            let (low, high) = (LOW as i64 * 0x1_0000_0001, HIGH as i64 * 0x1_0000_0001);
            let counts = _mm512_set_epi64(high, high, high, high, low, low, low, low);
            _mm512_and_si512(_mm512_srlv_epi32(v, counts), _mm512_set1_epi8(MASK as i8))
        })
    }

    #[inline(always)]
    fn fields_64<const SHIFT: u32, const MASK: u8>(self, p: &[u8; 64]) -> __m512i {
        has!({
            let v = _mm512_srli_epi32::<SHIFT>(_mm512_loadu_si512(p.as_ptr().cast()));
            _mm512_and_si512(v, _mm512_set1_epi8(MASK as i8))
        })
    }

    #[inline(always)]
    fn nibbles_32_exchanged(self, p: &[u8; 128]) -> [__m512i; 4] {
        let masks = has!(_mm512_mask_blend_epi32(0xff00, _mm512_set1_epi8(15), _mm512_set1_epi8(-16)));
        let mut out = fours_of_32(self, p);
        for m in 0..4 {
            out[m] = has!(_mm512_and_si512(out[m], masks));
        }
        out
    }

    #[inline(always)]
    fn five_bits_exchanged(self, low: &[u8; 128], high: &[u8; 32], _in_order: [__m512i; 4]) -> [__m512i; 4] {
        let mut out = fours_of_32(self, low);
        has!({
            let high = _mm512_castsi256_si512(_mm256_loadu_si256(high.as_ptr().cast()));
            // Bit 2v of the bytes comes to place 4 in lanes 0 to 7, bit 2v + 1 in lanes 8 to 15, by rotating four at a
            // time.
            let rotations = _mm512_set_epi32(29, 31, 1, 3, 29, 31, 1, 3, 30, 0, 2, 4, 30, 0, 2, 4);
            let counts = _mm512_mask_blend_epi32(0xff00, _mm512_setzero_si512(), _mm512_set1_epi32(4));
            for m in 0..4 {
                let order = _mm512_set_epi32(4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0);
                let bits = _mm512_permutexvar_epi32(_mm512_add_epi32(order, _mm512_set1_epi32(m as i32)), high);
                let bits = _mm512_rolv_epi32(bits, rotations);
                // The first of the three chooses between the others.
                const CHOOSE: i32 = 0xca;
                let low = _mm512_srlv_epi32(out[m], counts);
                let both = _mm512_ternarylogic_epi32::<CHOOSE>(_mm512_set1_epi8(15), low, bits);
                out[m] = _mm512_and_si512(both, _mm512_set1_epi8(31));
            }
        });
        out
    }

    #[inline(always)]
    fn nibbles_exchanged<const AT: usize, const B: usize, const IN_PLACE: bool>(
        self,
        blocks: &[[u8; B]; 8],
    ) -> [__m512i; 4] {
        let bytes: &[u8] = blocks.as_flattened();
        let at = |i: usize| self.load_bytes(bytes[i..i + 64].try_into().unwrap());
        // Two registers of 16 bytes of four blocks, and where group 0 of each block is, those of even blocks first.
        let (first, second, places) = if B == 16 {
            (at(0), at(64), [0, 8, 16, 24, 4, 12, 20, 28])
        } else if (AT, B) == (2, 18) {
            // A block is nine words: of two registers each, one permutation picks the last eight of every other block.
            has!({
                let words = _mm512_set_epi16(
                    62, 61, 60, 59, 58, 57, 56, 55, 44, 43, 42, 41, 40, 39, 38, 37, 26, 25, 24, 23, 22, 21, 20, 19, 8,
                    7, 6, 5, 4, 3, 2, 1,
                );
                let later = _mm512_add_epi16(words, _mm512_set1_epi16(1));
                let even = _mm512_permutex2var_epi16(at(0), words, at(64));
                let odd = _mm512_permutex2var_epi16(at(16), later, at(80));
                (even, odd, [0, 4, 8, 12, 16, 20, 24, 28])
            })
        } else {
            let every_other = |first: usize| {
                has!({
                    let at = |i: usize| _mm_loadu_si128(blocks[first + 2 * i][AT..][..16].as_ptr().cast());
                    let v = _mm512_castsi128_si512(at(0));
                    let v = _mm512_mask_broadcast_i32x4(v, 0x00f0, at(1));
                    let v = _mm512_mask_broadcast_i32x4(v, 0x0f00, at(2));
                    _mm512_mask_broadcast_i32x4(v, 0xf000, at(3))
                })
            };
            (every_other(0), every_other(1), [0, 4, 8, 12, 16, 20, 24, 28])
        };
        let mut out = [first; 4];
        for m in 0..4 {
            out[m] = has!({
                let [a, b, c, d, e, f, g, h] = places;
                let order = _mm512_set_epi32(h, g, f, e, h, g, f, e, d, c, b, a, d, c, b, a);
                let order = _mm512_add_epi32(order, _mm512_set1_epi32(m as i32));
                let groups = _mm512_permutex2var_epi32(first, order, second);
                let low = _mm512_set1_epi8(15);
                if IN_PLACE {
                    _mm512_and_si512(groups, _mm512_mask_blend_epi32(0xf0f0, low, _mm512_set1_epi8(-16)))
                } else {
                    let counts = _mm512_mask_blend_epi32(0xf0f0, _mm512_setzero_si512(), _mm512_set1_epi32(4));
                    _mm512_and_si512(_mm512_srlv_epi32(groups, counts), low)
                }
            });
        }
        out
    }

    #[inline(always)]
    fn shift_left<const SHIFT: u32>(self, v: __m512i) -> __m512i {
        has!(_mm512_slli_epi32::<SHIFT>(v))
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], indices: __m512i) -> __m512i {
        has!(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), indices))
    }

    #[inline(always)]
    fn set_where(self, v: __m512i, bits: u64, value: u8) -> __m512i {
        // The bits of `value` are clear in v: a masked sum.
        has!(_mm512_mask_add_epi8(v, bits, v, _mm512_set1_epi8(value as i8)))
    }

    #[inline(always)]
    fn negate_where(self, v: __m512i, bits: u64) -> __m512i {
        has!(_mm512_mask_sub_epi8(v, bits, _mm512_setzero_si512(), v))
    }

    #[inline(always)]
    fn signed(self, v: __m512i) -> __m512i {
        has!(_mm512_xor_si512(v, _mm512_set1_epi8(-128)))
    }

    #[inline(always)]
    fn lookup_signed(self, table: &[i8; 16], indices: __m512i) -> __m512i {
        // The bias goes into the table, where it is a constant.
        has!({
            let table = _mm_xor_si128(_mm_loadu_si128(table.as_ptr().cast()), _mm_set1_epi8(-128));
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), indices)
        })
    }

    #[inline(always)]
    fn f16_of_blocks<const B: usize>(self, blocks: &[[u8; B]; 8]) -> [__m512; 1] {
        if B != 18 {
            let mut h = [0; 8];
            for i in 0..8 {
                h[i] = u16::from_le_bytes([blocks[i][0], blocks[i][1]]);
            }
            return self.eight_f16(h);
        }
        // The numbers are words 0, 9, 18, .. 63 of two registers: one permutation picks them.
        let bytes: &[u8] = blocks.as_flattened();
        let (low, high) =
            (self.load_bytes(bytes[..64].try_into().unwrap()), self.load_bytes(bytes[64..128].try_into().unwrap()));
        has!({
            let words = _mm512_set_epi16(
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 63, 45, 27, 9, 63, 45, 27, 9, 54, 36, 18, 0, 54, 36,
                18, 0,
            );
            [_mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutex2var_epi16(low, words, high)))]
        })
    }

    #[inline(always)]
    fn widen_bf16(self, p: &[u8; 32]) -> [__m512; 1] {
        has!({
            let v = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.as_ptr().cast()));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(v))]
        })
    }

    #[inline(always)]
    fn sixteen_i8(self, v: [u64; 2]) -> [__m512; 1] {
        has!({
            let order = _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
            let v = _mm_shuffle_epi8(_mm_set_epi64x(v[1] as i64, v[0] as i64), order);
            [_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v))]
        })
    }

    #[inline(always)]
    fn sixteen_ue4m3(self, v: [u64; 2]) -> [__m512; 1] {
        has!([_mm512_mul_ps(_mm512_cvtph_ps(ue4m3_halves(v)), _mm512_set1_ps(UE4M3_FACTOR))])
    }

    #[inline(always)]
    fn eight_i8(self, v: u64) -> [__m512; 1] {
        has!({
            let order = _mm_set_epi8(7, 5, 3, 1, 7, 5, 3, 1, 6, 4, 2, 0, 6, 4, 2, 0);
            let v = _mm_shuffle_epi8(_mm_cvtsi64_si128(v as i64), order);
            [_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v))]
        })
    }

    #[inline(always)]
    fn eight_f32(self, p: &[f32; 8]) -> [__m512; 1] {
        has!({
            let v = _mm512_castps256_ps512(_mm256_loadu_ps(p.as_ptr()));
            [_mm512_shuffle_f32x4::<0x50>(v, v)]
        })
    }

    #[inline(always)]
    fn eight_f16(self, h: [u16; 8]) -> [__m512; 1] {
        let h: [i16; 8] = bytemuck::cast(h);
        has!({
            let h = _mm_set_epi16(h[7], h[5], h[3], h[1], h[6], h[4], h[2], h[0]);
            [_mm512_cvtph_ps(_mm256_set_m128i(_mm_unpackhi_epi64(h, h), _mm_unpacklo_epi64(h, h)))]
        })
    }

    #[inline(always)]
    fn eight_f16_pairs(self, w: [u32; 8]) -> [[__m512; 1]; 2] {
        let w: [i32; 8] = bytemuck::cast(w);
        has!({
            let v = _mm512_cvtph_ps(_mm256_set_epi32(w[7], w[6], w[5], w[4], w[3], w[2], w[1], w[0]));
            let low = _mm512_set_epi32(14, 10, 6, 2, 14, 10, 6, 2, 12, 8, 4, 0, 12, 8, 4, 0);
            let high = _mm512_set_epi32(15, 11, 7, 3, 15, 11, 7, 3, 13, 9, 5, 1, 13, 9, 5, 1);
            [[_mm512_permutexvar_ps(low, v)], [_mm512_permutexvar_ps(high, v)]]
        })
    }

    #[inline(always)]
    fn sum(self, [v]: [__m512; 1]) -> f32 {
        has!({
            let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        })
    }
}

/// Vector m is made of groups m and 4 + m of the 32 bytes at `p[32v]` for v in 0..4, twice: what becomes codes in the
/// order of lanes, the first half by their low bits, the other by higher ones.
#[inline(always)]
fn fours_of_32(s: Avx512, p: &[u8; 128]) -> [__m512i; 4] {
    let [first, second] = [s.load_bytes(p[..64].try_into().unwrap()), s.load_bytes(p[64..].try_into().unwrap())];
    let mut out = [first; 4];
    for m in 0..4 {
        // SAFETY: `s` exists, so the CPU has the features (`Simd::new`).
        out[m] = unsafe {
            let order = _mm512_set_epi32(28, 20, 12, 4, 24, 16, 8, 0, 28, 20, 12, 4, 24, 16, 8, 0);
            let order = _mm512_add_epi32(order, _mm512_set1_epi32(m as i32));
            _mm512_permutex2var_epi32(first, order, second)
        };
    }
    out
}
