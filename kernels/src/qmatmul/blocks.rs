//! What the product kernels need of a level beyond the [common operations](crate::simd).
//!
//! Every level works on the same logical vectors of 64 bytes, 16 i32 or 16 f32: one register with AVX-512, two with
//! AVX2, four with NEON. Formats and drivers are written once over [`Blocks`], and a lane means the same everywhere.

use crate::simd::VectorMath;
use half::f16;

/// 64 bytes, or 16 × f32, in memory.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

/// 16 f32 values in as many registers as a level takes for them.
pub(super) trait F32x16<S: VectorMath>: Copy {
    fn splat(s: S, v: f32) -> Self;
    fn splat_f16(s: S, h: f16) -> Self;
    fn load(s: S, p: &[f32; 16]) -> Self;
    fn load_f16(s: S, p: &[u8; 32]) -> Self;
    fn store(self, s: S, p: &mut [f32; 16]);
    fn add(self, s: S, b: Self) -> Self;
    fn mul(self, s: S, b: Self) -> Self;
    fn mul_add(self, s: S, b: Self, c: Self) -> Self;
}

impl<S: VectorMath, const N: usize> F32x16<S> for [S::F32; N] {
    #[inline(always)]
    fn splat(s: S, v: f32) -> Self {
        [s.splat(v); N]
    }

    #[inline(always)]
    fn splat_f16(s: S, h: f16) -> Self {
        [s.splat_f16(h); N]
    }

    #[inline(always)]
    fn load(s: S, p: &[f32; 16]) -> Self {
        let mut v = [s.splat(0.0); N];
        for i in 0..N {
            v[i] = s.load(&p[i * S::LANES..]);
        }
        v
    }

    #[inline(always)]
    fn load_f16(s: S, p: &[u8; 32]) -> Self {
        let mut v = [s.splat(0.0); N];
        for i in 0..N {
            let p: &[u8] = &p[2 * i * S::LANES..][..2 * S::LANES];
            // SAFETY: as many values as a vector has.
            v[i] = unsafe { s.load_f16_from(p.as_ptr().cast()) };
        }
        v
    }

    #[inline(always)]
    fn store(self, s: S, p: &mut [f32; 16]) {
        for i in 0..N {
            s.store(self[i], &mut p[i * S::LANES..]);
        }
    }

    #[inline(always)]
    fn add(mut self, s: S, b: Self) -> Self {
        for i in 0..N {
            self[i] = s.add(self[i], b[i]);
        }
        self
    }

    #[inline(always)]
    fn mul(mut self, s: S, b: Self) -> Self {
        for i in 0..N {
            self[i] = s.mul(self[i], b[i]);
        }
        self
    }

    #[inline(always)]
    fn mul_add(mut self, s: S, b: Self, c: Self) -> Self {
        for i in 0..N {
            self[i] = s.mul_add(self[i], b[i], c[i]);
        }
        self
    }
}

/// How many groups of four codes may be added up in 16 bits, two products to a sum: the `RUN` of [`Blocks::block_sums`]
/// that is of use for codes up to so much.
pub(super) struct Runs {
    pub(super) up_to_15: usize,
    pub(super) up_to_31: usize,
    pub(super) up_to_63: usize,
}

impl Runs {
    /// Of levels that widen every product.
    pub(super) const NONE: Runs = Runs { up_to_15: 1, up_to_31: 1, up_to_63: 1 };
}

/// The operations of the product kernels.
pub(super) trait Blocks: VectorMath {
    /// 64 bytes.
    type Bytes: Copy;
    /// 16 × i32.
    type Ints: Copy;
    /// 16 × f32.
    type Floats: F32x16<Self>;

    /// What [`Blocks::signed`] adds to signed codes; the drivers take it off again through the activations' sums.
    const SIGNED_BIAS: f32;

    /// Whether [`Blocks::nibbles_32_exchanged`] leaves high nibbles where they are in their bytes, so that each counts
    /// for 16 times as much: for levels whose products take any u8 for a code.
    const IN_PLACE_32: bool;

    /// The same of [`Blocks::nibbles_exchanged`], for those who want it.
    const IN_PLACE_16: bool;

    /// Weight rows of a quantised format that one activation row meets at once, 1, 2 or 4. Where they are 4, those of
    /// wide formats are met one by one all the same, in the order in which they lie in memory.
    const ROWS: usize;

    /// Weight rows of the tile that stays in registers in [`super::written`], by four activation rows: 1, 2 or 4.
    const WRITTEN_ROWS: usize;

    /// Lines of a panel, 16 weight rows each, by activation rows of the tile that stays in registers in
    /// [`super::gemm`].
    const TILE: [usize; 2];

    /// See [`Runs`].
    const RUNS: Runs = Runs::NONE;

    // Bytes.

    fn load_bytes(self, p: &[u8; 64]) -> Self::Bytes;

    /// `a`, then `b`.
    fn load_halves(self, a: &[u8; 32], b: &[u8; 32]) -> Self::Bytes;

    fn store_bytes(self, v: Self::Bytes, p: &mut [u8; 64]);

    fn splat_bytes(self, v: u8) -> Self::Bytes;

    /// 16 times the same four bytes.
    fn splat_group(self, v: &[i8; 4]) -> Self::Bytes;

    /// Row i of the result is made of group i (four bytes) of each of the given rows.
    fn transpose(self, rows: [Self::Bytes; 16]) -> [Self::Bytes; 16];

    /// Quarter b of vector m of the result is made of group m of quarter b of each of the given vectors: 256 values in
    /// the [order of lanes](crate::activations::Order::Lanes).
    fn exchange(self, v: [Self::Bytes; 4]) -> [Self::Bytes; 4];

    /// Eight groups of eight bytes, each lowest byte first.
    fn groups(self, groups: [u64; 8]) -> Self::Bytes;

    /// 16 entries of a table of groups: entry `p[i] | (high >> i & 1) << 8`, below N, for each i.
    #[inline(always)]
    fn groups_at<const N: usize>(self, table: &[[u8; 4]; N], p: &[u8; 16], high: u16) -> Self::Bytes {
        generic_groups_at(self, table, p, high)
    }

    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Wrapping sum of bytes.
    fn add_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// The low nibbles of `a`, its high nibbles, then those of `b`.
    fn nibbles(self, a: &[u8; 16], b: &[u8; 16]) -> Self::Bytes;

    /// The low nibbles of the first eight bytes of `p`, their high nibbles, then those of the next eight ...
    fn nibbles_of_eights(self, p: &[u8; 32]) -> Self::Bytes;

    /// `(p[i] >> LOW) & MASK` in the first 32 bytes, `(p[i] >> HIGH) & MASK` in the others.
    fn fields_32<const LOW: u32, const HIGH: u32, const MASK: u8>(self, p: &[u8; 32]) -> Self::Bytes;

    /// `(p[i] >> SHIFT) & MASK`.
    fn fields_64<const SHIFT: u32, const MASK: u8>(self, p: &[u8; 64]) -> Self::Bytes;

    /// The low nibbles of the 32 bytes at `p[32v]`, then their high nibbles, for v in 0..4,
    /// [exchanged](Blocks::exchange).
    fn nibbles_32_exchanged(self, p: &[u8; 128]) -> [Self::Bytes; 4];

    /// Codes of five bits, [exchanged](Blocks::exchange): the four low ones are nibbles as in
    /// [`Blocks::nibbles_32_exchanged`], the highest is bits 2v, then 2v + 1 of the 32 bytes at `high`. `in_order` are
    /// the same codes in order, for levels that know no better than to exchange those.
    #[inline(always)]
    fn five_bits_exchanged(self, low: &[u8; 128], high: &[u8; 32], in_order: [Self::Bytes; 4]) -> [Self::Bytes; 4] {
        let _ = (low, high);
        self.exchange(in_order)
    }

    /// Four times [`Blocks::nibbles`], of the 16 bytes from AT on of blocks 2v and 2v + 1 for v in 0..4,
    /// [exchanged](Blocks::exchange). `IN_PLACE`: high nibbles may stay where they are.
    #[inline(always)]
    fn nibbles_exchanged<const AT: usize, const B: usize, const IN_PLACE: bool>(
        self,
        blocks: &[[u8; B]; 8],
    ) -> [Self::Bytes; 4] {
        let half = |i: usize| blocks[i][AT..].first_chunk().expect("16 bytes of a block");
        self.exchange([
            self.nibbles(half(0), half(1)),
            self.nibbles(half(2), half(3)),
            self.nibbles(half(4), half(5)),
            self.nibbles(half(6), half(7)),
        ])
    }

    /// `v << SHIFT` of bytes; no bit may leave its byte.
    fn shift_left<const SHIFT: u32>(self, v: Self::Bytes) -> Self::Bytes;

    /// `table[i]` for every byte `i` of `indices`, all below 16.
    fn lookup(self, table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes;

    /// `v | value` where bit i of `bits` is set.
    fn set_where(self, v: Self::Bytes, bits: u64, value: u8) -> Self::Bytes;

    /// `-v` where bit i of `bits` is set.
    fn negate_where(self, v: Self::Bytes, bits: u64) -> Self::Bytes;

    /// Signed codes in the form that products take: with [`Blocks::SIGNED_BIAS`] added.
    fn signed(self, v: Self::Bytes) -> Self::Bytes;

    /// [`Blocks::signed`] of a lookup.
    #[inline(always)]
    fn lookup_signed(self, table: &[i8; 16], indices: Self::Bytes) -> Self::Bytes {
        self.signed(self.lookup(bytemuck::cast_ref(table), indices))
    }

    // Products of bytes. Lane i sums the bytes 4i .. 4i + 4. Codes are in 0..=127, or those of [`Blocks::signed`];
    // activations are in -127..=127.

    fn zero_ints(self) -> Self::Ints;

    /// The sum of the products of four vectors, with codes of this kind.
    #[inline(always)]
    fn dots(self, kind: Codes, codes: [Self::Bytes; 4], x: &[[i8; 64]; 4]) -> Self::Ints {
        let mut sums = self.zero_ints();
        for m in 0..4 {
            let x = self.load_bytes(bytemuck::cast_ref(&x[m]));
            sums = match kind {
                Codes::Signed => self.dot_acc_signed(sums, codes[m], x),
                Codes::UpTo(_) => self.dot_acc(sums, codes[m], x),
            };
        }
        sums
    }

    /// `256·high + low`.
    fn two_digits(self, high: Self::Ints, low: Self::Ints) -> Self::Ints;

    /// `acc` and the products of codes in 0..=127.
    fn dot_acc(self, acc: Self::Ints, codes: Self::Bytes, x: Self::Bytes) -> Self::Ints;

    /// `acc` and the products of codes from [`Blocks::signed`].
    fn dot_acc_signed(self, acc: Self::Ints, codes: Self::Bytes, x: Self::Bytes) -> Self::Ints;

    /// The sums over G groups of four codes: `lines[g][v + i]` holds group g of 16 weight rows, `x[c][g]` that of
    /// activation row c; the result is `[c][i]`. `RUN` tells what the codes are: 0 for those of [`Blocks::signed`], or
    /// how many groups may be added up in 16 bits, two products to a sum.
    #[inline(always)]
    fn block_sums<const V: usize, const C: usize, const G: usize, const RUN: usize>(
        self,
        lines: &[[Line; 2]; G],
        v: usize,
        x: [&[[i8; 4]; G]; C],
    ) -> [[Self::Ints; V]; C] {
        generic_block_sums::<Self, V, C, G, RUN>(self, lines, v, x)
    }

    // One register of a logical vector, number `part` of it: lanes `part·LANES ..`.

    /// 4·[`LANES`](crate::simd::Simd::LANES) bytes.
    type Part: Copy;
    /// The i32 sums of their products, by fours.
    type PartInts: Copy;

    /// Whether [`Blocks::part_dots`] depends on how large codes are.
    const SMALL_CODES_GAIN: bool = false;

    fn part(self, p: &[u8; 64], part: usize) -> Self::Part;

    /// A part of [`Blocks::dots`] for each of R rows of codes.
    fn part_dots<const R: usize>(
        self,
        kind: Codes,
        codes: &[[Self::Part; 4]; R],
        x: &[[i8; 64]; 4],
        part: usize,
    ) -> [Self::PartInts; R];

    /// `256·high + low`.
    fn part_two_digits(self, high: Self::PartInts, low: Self::PartInts) -> Self::PartInts;

    fn part_to_f32(self, v: Self::PartInts) -> Self::F32;

    /// A part of [`Blocks::eight_f32`].
    fn part_of_eight(self, p: &[f32; 8], part: usize) -> Self::F32;

    // 16 floats.

    fn to_f32(self, v: Self::Ints) -> Self::Floats;

    #[inline(always)]
    fn splat_x16(self, v: f32) -> Self::Floats {
        F32x16::splat(self, v)
    }

    /// The f16 number `h` in all lanes.
    #[inline(always)]
    fn splat_f16_x16(self, h: u16) -> Self::Floats {
        F32x16::splat_f16(self, f16::from_bits(h))
    }

    #[inline(always)]
    fn load_x16(self, p: &[f32; 16]) -> Self::Floats {
        F32x16::load(self, p)
    }

    #[inline(always)]
    fn store_x16(self, v: Self::Floats, p: &mut [f32; 16]) {
        v.store(self, p);
    }

    /// 16 f16 numbers.
    #[inline(always)]
    fn widen_f16(self, p: &[u8; 32]) -> Self::Floats {
        F32x16::load_f16(self, p)
    }

    /// 16 bf16 numbers.
    fn widen_bf16(self, p: &[u8; 32]) -> Self::Floats;

    // What belongs to 16 or 32 of 256 values, in the order of lanes: lane 4b + v is that of values 64v + 16b ...

    /// The signed bytes of `v`, each for 16 values, lowest byte first.
    fn sixteen_i8(self, v: [u64; 2]) -> Self::Floats;

    /// The signed bytes of `v`, each for 32 values, lowest byte first.
    fn eight_i8(self, v: u64) -> Self::Floats;

    /// The bytes of `v` as floats of four bits of exponent and three of mantissa, with 0x7f for 0 and the top bit of no
    /// account, each for 16 values, lowest byte first.
    fn sixteen_ue4m3(self, v: [u64; 2]) -> Self::Floats;

    /// The numbers at `p`, each for 32 values; those of even blocks of 32 stand first.
    fn eight_f32(self, p: &[f32; 8]) -> Self::Floats;

    /// The f16 numbers `h`, each for 32 values.
    fn eight_f16(self, h: [u16; 8]) -> Self::Floats;

    /// The f16 numbers in the low and in the high halves of `words`, each for 32 values.
    fn eight_f16_pairs(self, words: [u32; 8]) -> [Self::Floats; 2];

    /// The f16 numbers at the starts of blocks, each for 32 values.
    #[inline(always)]
    fn f16_of_blocks<const B: usize>(self, blocks: &[[u8; B]; 8]) -> Self::Floats {
        let mut h = [0; 8];
        for i in 0..8 {
            h[i] = u16::from_le_bytes([blocks[i][0], blocks[i][1]]);
        }
        self.eight_f16(h)
    }

    // Arithmetic.

    #[inline(always)]
    fn mul_x16(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        a.mul(self, b)
    }

    #[inline(always)]
    fn add_x16(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        a.add(self, b)
    }

    /// `a·b + c`, rounded once.
    #[inline(always)]
    fn fma_x16(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        a.mul_add(self, b, c)
    }

    /// The sum of all lanes: halves added, then quarters, then eighths, then the last two.
    fn sum(self, v: Self::Floats) -> f32;
}

/// What codes are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Codes {
    /// Those of [`Blocks::signed`].
    Signed,
    /// At least 0, and at most so much; no more than 127.
    UpTo(u8),
}

/// [`Blocks::groups_at`] one after another.
#[inline(always)]
pub(super) fn generic_groups_at<S: Blocks, const N: usize>(
    s: S,
    table: &[[u8; 4]; N],
    p: &[u8; 16],
    high: u16,
) -> S::Bytes {
    let mut groups = [[0; 4]; 16];
    for i in 0..16 {
        groups[i] = table[usize::from(p[i]) | usize::from(high >> i & 1) << 8];
    }
    s.load_bytes(bytemuck::cast_ref(&groups))
}

/// [`Blocks::block_sums`] by broadcasting each group of the activations.
#[inline(always)]
pub(super) fn generic_block_sums<S: Blocks, const V: usize, const C: usize, const G: usize, const RUN: usize>(
    s: S,
    lines: &[[Line; 2]; G],
    v: usize,
    x: [&[[i8; 4]; G]; C],
) -> [[S::Ints; V]; C] {
    let mut sums = [[s.zero_ints(); V]; C];
    for g in 0..G {
        for c in 0..C {
            let x = s.splat_group(&x[c][g]);
            for i in 0..V {
                let codes = s.load_bytes(&lines[g][v + i].0);
                sums[c][i] =
                    if RUN == 0 { s.dot_acc_signed(sums[c][i], codes, x) } else { s.dot_acc(sums[c][i], codes, x) };
            }
        }
    }
    sums
}
