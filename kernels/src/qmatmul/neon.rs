//! The Arm levels: four registers a vector. Plain NEON multiplies bytes with `smull` and adds pairs; the level
//! "dotprod" has `sdot`; the level "i8mm" has `smmla`, two rows by two rows at once, for the panel product.
//!
//! These instructions are written in assembly. The intrinsics of the last two are not stable. Those of `smull` are taken
//! apart where the compiler sees that codes are not negative: it then widens both factors on their own, which is twice
//! as many instructions.

use super::blocks::{Blocks, Codes, Line, generic_block_sums};
use crate::simd::neon::{DOTPROD, I8MM};
use crate::simd::{NeonWith, has};
use std::arch::aarch64::*;
use std::arch::asm;

/// The same expression for each of the four registers, numbered `$r`.
macro_rules! four {
    ($r:ident => $e:expr) => {
        has!([
            {
                const $r: usize = 0;
                $e
            },
            {
                const $r: usize = 1;
                $e
            },
            {
                const $r: usize = 2;
                $e
            },
            {
                const $r: usize = 3;
                $e
            },
        ])
    };
}

/// `acc[i] + Σ_j a[4i + j]·b[4i + j]` of signed bytes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction of the feature this function demands, on registers only.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) acc, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// Defines products of eight signed bytes with eight others, to 16 bits.
macro_rules! widening_product {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name(a: int8x16_t, b: int8x16_t) -> int16x8_t {
            let product;
            // SAFETY: an instruction of the feature this function demands, on registers only.
            unsafe {
                asm!($instruction, out(vreg) product, in(vreg) a, in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
            product
        }
    };
}

widening_product! {
    /// `a[i]·b[i]` of the first eight.
    smull, "smull {0:v}.8h, {1:v}.8b, {2:v}.8b"
}
widening_product! {
    /// `a[8 + i]·b[8 + i]` of the others.
    smull2, "smull2 {0:v}.8h, {1:v}.16b, {2:v}.16b"
}

/// Defines sums with such products.
macro_rules! widening_sum {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name(mut acc: int16x8_t, a: int8x16_t, b: int8x16_t) -> int16x8_t {
            // SAFETY: an instruction of the feature this function demands, on registers only.
            unsafe {
                asm!($instruction, inout(vreg) acc, in(vreg) a, in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
            acc
        }
    };
}

widening_sum! {
    /// `acc[i] + a[i]·b[i]` of the first eight.
    smlal, "smlal {0:v}.8h, {1:v}.8b, {2:v}.8b"
}
widening_sum! {
    /// `acc[i] + a[8 + i]·b[8 + i]` of the others.
    smlal2, "smlal2 {0:v}.8h, {1:v}.16b, {2:v}.16b"
}

/// `acc[i] + Σ_j a[4i + j]·b[4K + j]` of signed bytes: sixteen of them times one group of four.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot_group<const K: usize>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction of the feature this function demands, on registers only.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inout(vreg) acc, in(vreg) a, in(vreg) b, const K,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// `acc[2i + j] + Σ_l a[8i + l]·b[8j + l]` of signed bytes: two rows of eight times two rows of eight.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction of the feature this function demands, on registers only.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) acc, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// A logical vector of bytes.
type Bytes = [uint8x16_t; 4];

impl<const LEVEL: u8> NeonWith<LEVEL> {
    /// 0xff where bit i of `bits` is set.
    #[inline(always)]
    fn mask(self, bits: u64) -> Bytes {
        let b = bits.to_le_bytes();
        four!(R => {
            let v = vcombine_u8(vdup_n_u8(b[2 * R]), vdup_n_u8(b[2 * R + 1]));
            let each = vcreate_u8(0x8040_2010_0804_0201);
            vtstq_u8(v, vcombine_u8(each, each))
        })
    }

    /// `acc + ` products of 16 signed bytes, summed by fours.
    #[inline(always)]
    fn dot_16(self, acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        has!({
            if LEVEL >= DOTPROD {
                sdot(acc, a, b)
            } else {
                // Pairs reach at most 2·128·127 < 2¹⁵.
                let (low, high) = (smull(a, b), smull2(a, b));
                vpadalq_s16(acc, vpaddq_s16(low, high))
            }
        })
    }

    /// Quarter `part` of [`Blocks::dots`].
    #[inline(always)]
    fn dots_16(self, kind: Codes, codes: [uint8x16_t; 4], x: &[[i8; 64]; 4], part: usize) -> int32x4_t {
        let of_x = |m: usize| has!(vreinterpretq_s8_u8(self.part(bytemuck::cast_ref(&x[m]), part)));
        let of_codes = |m: usize| has!(vreinterpretq_s8_u8(codes[m]));
        has!({
            if LEVEL >= DOTPROD || !matches!(kind, Codes::UpTo(..=63)) {
                let mut sums = vdupq_n_s32(0);
                for m in 0..4 {
                    sums = self.dot_16(sums, of_codes(m), of_x(m));
                }
                return sums;
            }
            // Four products reach 4·63·127 < 2¹⁵.
            let (codes, x) = (of_codes(0), of_x(0));
            let (mut low, mut high) = (smull(codes, x), smull2(codes, x));
            for m in 1..4 {
                let (codes, x) = (of_codes(m), of_x(m));
                (low, high) = (smlal(low, codes, x), smlal2(high, codes, x));
            }
            vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
        })
    }

    /// [`Blocks::block_sums`] with four groups of the activations in a register.
    #[inline(always)]
    fn block_sums_by_group<const V: usize, const C: usize, const G: usize>(
        self,
        lines: &[[Line; 2]; G],
        v: usize,
        x: [&[[i8; 4]; G]; C],
    ) -> [[[int32x4_t; 4]; V]; C] {
        let mut sums = [[self.zero_ints(); V]; C];
        for g in (0..G).step_by(4) {
            let x = x.map(|x| has!(vld1q_s8(x[g..g + 4].as_flattened().as_ptr())));
            self.add_group::<0, V, C>(&mut sums, &lines[g], v, x);
            self.add_group::<1, V, C>(&mut sums, &lines[g + 1], v, x);
            self.add_group::<2, V, C>(&mut sums, &lines[g + 2], v, x);
            self.add_group::<3, V, C>(&mut sums, &lines[g + 3], v, x);
        }
        sums
    }

    /// Adds the products of one group of codes and group K of the four in a register of each activation row.
    #[inline(always)]
    fn add_group<const K: usize, const V: usize, const C: usize>(
        self,
        sums: &mut [[[int32x4_t; 4]; V]; C],
        line: &[Line; 2],
        v: usize,
        x: [int8x16_t; C],
    ) {
        for i in 0..V {
            let codes = self.load_bytes(&line[v + i].0);
            for c in 0..C {
                let sum = sums[c][i];
                sums[c][i] = four!(R => sdot_group::<K>(sum[R], vreinterpretq_s8_u8(codes[R]), x[c]));
            }
        }
    }

    /// Vector m of the result is made of group m of each of the given vectors.
    #[inline(always)]
    fn exchange_4(self, a: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        let a: [uint32x4_t; 4] = four!(R => vreinterpretq_u32_u8(a[R]));
        has!({
            let (p, q) = (vtrn1q_u32(a[0], a[1]), vtrn2q_u32(a[0], a[1]));
            let (r, s) = (vtrn1q_u32(a[2], a[3]), vtrn2q_u32(a[2], a[3]));
            let (p, q) = (vreinterpretq_u64_u32(p), vreinterpretq_u64_u32(q));
            let (r, s) = (vreinterpretq_u64_u32(r), vreinterpretq_u64_u32(s));
            [
                vreinterpretq_u8_u64(vtrn1q_u64(p, r)),
                vreinterpretq_u8_u64(vtrn1q_u64(q, s)),
                vreinterpretq_u8_u64(vtrn2q_u64(p, r)),
                vreinterpretq_u8_u64(vtrn2q_u64(q, s)),
            ]
        })
    }
}

impl<const LEVEL: u8> Blocks for NeonWith<LEVEL> {
    type Bytes = Bytes;
    type Ints = [int32x4_t; 4];
    type Floats = [float32x4_t; 4];

    const SIGNED_BIAS: f32 = 0.0;
    const IN_PLACE_32: bool = false;
    const IN_PLACE_16: bool = false;
    const ROWS: usize = 2;
    const WRITTEN_ROWS: usize = 2;
    const TILE: [usize; 2] = [1, 4];

    #[inline(always)]
    fn load_bytes(self, p: &[u8; 64]) -> Bytes {
        four!(R => vld1q_u8(p[16 * R..].as_ptr()))
    }

    #[inline(always)]
    fn load_halves(self, a: &[u8; 32], b: &[u8; 32]) -> Bytes {
        has!([vld1q_u8(a.as_ptr()), vld1q_u8(a[16..].as_ptr()), vld1q_u8(b.as_ptr()), vld1q_u8(b[16..].as_ptr()),])
    }

    #[inline(always)]
    fn store_bytes(self, v: Bytes, p: &mut [u8; 64]) {
        let _: [(); 4] = four!(R => vst1q_u8(p[16 * R..].as_mut_ptr(), v[R]));
    }

    #[inline(always)]
    fn splat_bytes(self, v: u8) -> Bytes {
        has!([vdupq_n_u8(v); 4])
    }

    #[inline(always)]
    fn splat_group(self, v: &[i8; 4]) -> Bytes {
        has!([vreinterpretq_u8_s32(vdupq_n_s32(bytemuck::pod_read_unaligned(bytemuck::bytes_of(v)))); 4])
    }

    #[inline(always)]
    fn transpose(self, a: [Bytes; 16]) -> [Bytes; 16] {
        let mut c = a;
        // Sixteen squares of 4 by 4 groups: rows 4i .., columns 4j ...
        for i in 0..4 {
            for j in 0..4 {
                let square = self.exchange_4([a[4 * i][j], a[4 * i + 1][j], a[4 * i + 2][j], a[4 * i + 3][j]]);
                for r in 0..4 {
                    c[4 * j + r][i] = square[r];
                }
            }
        }
        c
    }

    #[inline(always)]
    fn exchange(self, v: [Bytes; 4]) -> [Bytes; 4] {
        let mut out = v;
        for b in 0..4 {
            let quarter = self.exchange_4([v[0][b], v[1][b], v[2][b], v[3][b]]);
            for m in 0..4 {
                out[m][b] = quarter[m];
            }
        }
        out
    }

    #[inline(always)]
    fn groups(self, g: [u64; 8]) -> Bytes {
        four!(R => vcombine_u8(vcreate_u8(g[2 * R]), vcreate_u8(g[2 * R + 1])))
    }

    #[inline(always)]
    fn or(self, a: Bytes, b: Bytes) -> Bytes {
        four!(R => vorrq_u8(a[R], b[R]))
    }

    #[inline(always)]
    fn add_bytes(self, a: Bytes, b: Bytes) -> Bytes {
        four!(R => vaddq_u8(a[R], b[R]))
    }

    #[inline(always)]
    fn nibbles(self, a: &[u8; 16], b: &[u8; 16]) -> Bytes {
        has!({
            let (a, b, low) = (vld1q_u8(a.as_ptr()), vld1q_u8(b.as_ptr()), vdupq_n_u8(15));
            [vandq_u8(a, low), vshrq_n_u8::<4>(a), vandq_u8(b, low), vshrq_n_u8::<4>(b)]
        })
    }

    #[inline(always)]
    fn nibbles_of_eights(self, p: &[u8; 32]) -> Bytes {
        four!(R => {
            let v = vld1_u8(p[8 * R..].as_ptr());
            vcombine_u8(vand_u8(v, vdup_n_u8(15)), vshr_n_u8::<4>(v))
        })
    }

    #[inline(always)]
    fn fields_32<const LOW: u32, const HIGH: u32, const MASK: u8>(self, p: &[u8; 32]) -> Bytes {
        has!({
            let (a, b, mask) = (vld1q_u8(p.as_ptr()), vld1q_u8(p[16..].as_ptr()), vdupq_n_u8(MASK));
            let (low, high) = (vdupq_n_s8(-(LOW as i8)), vdupq_n_s8(-(HIGH as i8)));
            [
                vandq_u8(vshlq_u8(a, low), mask),
                vandq_u8(vshlq_u8(b, low), mask),
                vandq_u8(vshlq_u8(a, high), mask),
                vandq_u8(vshlq_u8(b, high), mask),
            ]
        })
    }

    #[inline(always)]
    fn fields_64<const SHIFT: u32, const MASK: u8>(self, p: &[u8; 64]) -> Bytes {
        let v = self.load_bytes(p);
        four!(R => vandq_u8(vshlq_u8(v[R], vdupq_n_s8(-(SHIFT as i8))), vdupq_n_u8(MASK)))
    }

    #[inline(always)]
    fn nibbles_32_exchanged(self, p: &[u8; 128]) -> [Bytes; 4] {
        let at = |i: usize| has!(vld1q_u8(p[16 * i..].as_ptr()));
        let first = self.exchange_4([at(0), at(2), at(4), at(6)]);
        let second = self.exchange_4([at(1), at(3), at(5), at(7)]);
        let mut out = [first; 4];
        for m in 0..4 {
            out[m] = has!({
                let (a, b, low) = (first[m], second[m], vdupq_n_u8(15));
                [vandq_u8(a, low), vandq_u8(b, low), vshrq_n_u8::<4>(a), vshrq_n_u8::<4>(b)]
            });
        }
        out
    }

    #[inline(always)]
    fn shift_left<const SHIFT: u32>(self, v: Bytes) -> Bytes {
        four!(R => vshlq_u8(v[R], vdupq_n_s8(SHIFT as i8)))
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], indices: Bytes) -> Bytes {
        four!(R => vqtbl1q_u8(vld1q_u8(table.as_ptr()), indices[R]))
    }

    #[inline(always)]
    fn set_where(self, v: Bytes, bits: u64, value: u8) -> Bytes {
        let mask = self.mask(bits);
        four!(R => vorrq_u8(v[R], vandq_u8(mask[R], vdupq_n_u8(value))))
    }

    #[inline(always)]
    fn negate_where(self, v: Bytes, bits: u64) -> Bytes {
        // -v = (v ^ -1) - (-1).
        let mask = self.mask(bits);
        four!(R => vsubq_u8(veorq_u8(v[R], mask[R]), mask[R]))
    }

    #[inline(always)]
    fn signed(self, v: Bytes) -> Bytes {
        v
    }

    #[inline(always)]
    fn dots(self, kind: Codes, codes: [Bytes; 4], x: &[[i8; 64]; 4]) -> Self::Ints {
        let quarter = |i: usize| [codes[0][i], codes[1][i], codes[2][i], codes[3][i]];
        let mut sums = self.zero_ints();
        for part in 0..4 {
            sums[part] = self.dots_16(kind, quarter(part), x, part);
        }
        sums
    }

    type Part = uint8x16_t;
    type PartInts = int32x4_t;

    const SMALL_CODES_GAIN: bool = LEVEL < DOTPROD;

    #[inline(always)]
    fn part(self, p: &[u8; 64], part: usize) -> uint8x16_t {
        has!(vld1q_u8(p[16 * part..][..16].as_ptr()))
    }

    #[inline(always)]
    fn part_dots<const R: usize>(
        self,
        kind: Codes,
        codes: &[[uint8x16_t; 4]; R],
        x: &[[i8; 64]; 4],
        part: usize,
    ) -> [int32x4_t; R] {
        let mut sums = [has!(vdupq_n_s32(0)); R];
        for r in 0..R {
            sums[r] = self.dots_16(kind, codes[r], x, part);
        }
        sums
    }

    #[inline(always)]
    fn part_two_digits(self, high: int32x4_t, low: int32x4_t) -> int32x4_t {
        has!(vaddq_s32(vshlq_n_s32::<8>(high), low))
    }

    #[inline(always)]
    fn part_to_f32(self, v: int32x4_t) -> float32x4_t {
        has!(vcvtq_f32_s32(v))
    }

    #[inline(always)]
    fn part_of_eight(self, p: &[f32; 8], part: usize) -> float32x4_t {
        has!(vld1q_f32(p[4 * (part / 2)..][..4].as_ptr()))
    }

    #[inline(always)]
    fn two_digits(self, high: Self::Ints, low: Self::Ints) -> Self::Ints {
        four!(R => vaddq_s32(vshlq_n_s32::<8>(high[R]), low[R]))
    }

    #[inline(always)]
    fn zero_ints(self) -> Self::Ints {
        has!([vdupq_n_s32(0); 4])
    }

    #[inline(always)]
    fn dot_acc(self, acc: Self::Ints, codes: Bytes, x: Bytes) -> Self::Ints {
        four!(R => self.dot_16(acc[R], vreinterpretq_s8_u8(codes[R]), vreinterpretq_s8_u8(x[R])))
    }

    #[inline(always)]
    fn dot_acc_signed(self, acc: Self::Ints, codes: Bytes, x: Bytes) -> Self::Ints {
        self.dot_acc(acc, codes, x)
    }

    #[inline(always)]
    fn block_sums<const V: usize, const C: usize, const G: usize, const RUN: usize>(
        self,
        lines: &[[Line; 2]; G],
        v: usize,
        x: [&[[i8; 4]; G]; C],
    ) -> [[Self::Ints; V]; C] {
        if LEVEL < DOTPROD || !G.is_multiple_of(4) {
            return generic_block_sums::<Self, V, C, G, RUN>(self, lines, v, x);
        }
        if LEVEL < I8MM || !C.is_multiple_of(2) {
            return self.block_sums_by_group::<V, C, G>(lines, v, x);
        }
        // squares[c][i][j]: weight rows 2j and 2j + 1 of line i by activation rows c and c + 1, c even.
        let mut sums = [[self.zero_ints(); V]; C];
        let mut squares = [[[has!(vdupq_n_s32(0)); 8]; V]; C];
        for g in (0..G).step_by(2) {
            for i in 0..V {
                let (even, odd) = (self.load_bytes(&lines[g][v + i].0), self.load_bytes(&lines[g + 1][v + i].0));
                for c in (0..C).step_by(2) {
                    let groups = [x[c][g], x[c][g + 1], x[c + 1][g], x[c + 1][g + 1]];
                    let pair: [u64; 2] = bytemuck::pod_read_unaligned(bytemuck::bytes_of(&groups));
                    for r in 0..4 {
                        has!({
                            let pair = vcombine_s8(vcreate_s8(pair[0]), vcreate_s8(pair[1]));
                            let (p, q) = (vreinterpretq_u32_u8(even[r]), vreinterpretq_u32_u8(odd[r]));
                            let low = vreinterpretq_s8_u32(vzip1q_u32(p, q));
                            let high = vreinterpretq_s8_u32(vzip2q_u32(p, q));
                            squares[c][i][2 * r] = smmla(squares[c][i][2 * r], low, pair);
                            squares[c][i][2 * r + 1] = smmla(squares[c][i][2 * r + 1], high, pair);
                        });
                    }
                }
            }
        }
        for c in (0..C).step_by(2) {
            for i in 0..V {
                let t = squares[c][i];
                sums[c][i] = four!(R => vuzp1q_s32(t[2 * R], t[2 * R + 1]));
                sums[c + 1][i] = four!(R => vuzp2q_s32(t[2 * R], t[2 * R + 1]));
            }
        }
        sums
    }

    #[inline(always)]
    fn to_f32(self, v: Self::Ints) -> Self::Floats {
        four!(R => vcvtq_f32_s32(v[R]))
    }

    #[inline(always)]
    fn widen_bf16(self, p: &[u8; 32]) -> Self::Floats {
        four!(R => {
            let v = vreinterpret_u16_u8(vld1_u8(p[8 * R..].as_ptr()));
            vreinterpretq_f32_u32(vshll_n_u16::<16>(v))
        })
    }

    #[inline(always)]
    fn sixteen_i8(self, v: [u64; 2]) -> Self::Floats {
        has!({
            let order = vcombine_u8(vcreate_u8(0x0d09_0501_0c08_0400), vcreate_u8(0x0f0b_0703_0e0a_0602));
            let v = vqtbl1q_s8(vcombine_s8(vcreate_s8(v[0]), vcreate_s8(v[1])), order);
            let (a, b) = (vmovl_s8(vget_low_s8(v)), vmovl_high_s8(v));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(a))),
                vcvtq_f32_s32(vmovl_high_s16(a)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(b))),
                vcvtq_f32_s32(vmovl_high_s16(b)),
            ]
        })
    }

    #[inline(always)]
    fn sixteen_ue4m3(self, v: [u64; 2]) -> Self::Floats {
        // An f32 number of the same bits, from bit 20 on, is 2¹²⁰ times smaller.
        const FACTOR: f32 = f32::from_bits((127 + 120) << 23);
        let v = has!({
            let order = vcombine_u8(vcreate_u8(0x0d09_0501_0c08_0400), vcreate_u8(0x0f0b_0703_0e0a_0602));
            let v = vqtbl1q_u8(vcombine_u8(vcreate_u8(v[0]), vcreate_u8(v[1])), order);
            let bits = vdupq_n_u8(0x7f);
            let v = vbicq_u8(vandq_u8(v, bits), vceqq_u8(v, bits));
            let (a, b) = (vmovl_u8(vget_low_u8(v)), vmovl_high_u8(v));
            [vmovl_u16(vget_low_u16(a)), vmovl_high_u16(a), vmovl_u16(vget_low_u16(b)), vmovl_high_u16(b)]
        });
        four!(R => vmulq_n_f32(vreinterpretq_f32_u32(vshlq_n_u32::<20>(v[R])), FACTOR))
    }

    #[inline(always)]
    fn eight_i8(self, v: u64) -> Self::Floats {
        has!({
            let v = vcreate_s8(v);
            let v = vmovl_s8(vuzp1_s8(v, vext_s8::<1>(v, v)));
            let (even, odd) = (vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_high_s16(v)));
            [even, even, odd, odd]
        })
    }

    #[inline(always)]
    fn eight_f32(self, p: &[f32; 8]) -> Self::Floats {
        has!({
            let (even, odd) = (vld1q_f32(p.as_ptr()), vld1q_f32(p[4..].as_ptr()));
            [even, even, odd, odd]
        })
    }

    #[inline(always)]
    fn eight_f16(self, h: [u16; 8]) -> Self::Floats {
        has!({
            let h = vld1q_u16(h.as_ptr());
            let even = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(vuzp1q_u16(h, h))));
            let odd = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(vuzp2q_u16(h, h))));
            [even, even, odd, odd]
        })
    }

    #[inline(always)]
    fn eight_f16_pairs(self, w: [u32; 8]) -> [Self::Floats; 2] {
        let halves = |shift: u32| {
            let mut h = [0; 8];
            for i in 0..8 {
                h[i] = (w[i] >> shift) as u16;
            }
            h
        };
        [self.eight_f16(halves(0)), self.eight_f16(halves(16))]
    }

    #[inline(always)]
    fn sum(self, v: Self::Floats) -> f32 {
        has!({
            let v = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let v = vadd_f32(vget_low_f32(v), vget_high_f32(v));
            vget_lane_f32::<0>(v) + vget_lane_f32::<1>(v)
        })
    }
}
