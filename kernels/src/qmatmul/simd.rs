//! The vector vocabulary of the product kernels.
//!
//! Every level works on the same logical vectors of 64 bytes, 16 i32 or 16 f32: one register with AVX-512, two with
//! AVX2, four with NEON. Formats and drivers are written once over this trait, and a lane means the same everywhere.
//!
//! A value of a type that implements [`Simd`] is the proof that the CPU has its instructions: it can only be made by an
//! `unsafe` constructor, called by the entry points of a level that was found to be available. That is why the
//! operations themselves are safe.

/// 64 bytes, or 16 × f32, in memory.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

/// The operations, on one CPU level.
pub(super) trait Simd: Copy {
    /// 64 bytes.
    type Bytes: Copy;
    /// 16 × i32.
    type Ints: Copy;
    /// 16 × f32.
    type Floats: Copy;

    /// What [`Simd::signed`] adds to signed codes; the drivers take it off again through the activations' sums.
    const SIGNED_BIAS: f32;

    /// Weight rows multiplied at once by one activation row, and by several.
    const ROWS: (usize, usize);

    /// Sums that the products of a row are dealt out to, one or two: independent chains where rows go one by one.
    const CHAINS: usize;

    // Bytes.

    fn load(self, p: &[u8; 64]) -> Self::Bytes;

    /// `a`, then `b`.
    fn load_halves(self, a: &[u8; 32], b: &[u8; 32]) -> Self::Bytes;

    fn store(self, v: Self::Bytes, p: &mut [u8; 64]);

    fn splat(self, v: u8) -> Self::Bytes;

    /// 16 times the same four bytes.
    fn splat_group(self, v: &[i8; 4]) -> Self::Bytes;

    /// Row i of the result is made of group i (four bytes) of each of the given rows.
    fn transpose(self, rows: [Self::Bytes; 16]) -> [Self::Bytes; 16];

    /// Eight groups of eight bytes, each lowest byte first.
    fn groups(self, groups: [u64; 8]) -> Self::Bytes;

    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// Wrapping sum of bytes.
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// The low nibbles of `a`, its high nibbles, then those of `b`.
    fn nibbles(self, a: &[u8; 16], b: &[u8; 16]) -> Self::Bytes;

    /// `(p[i] >> LOW) & MASK` in the first 32 bytes, `(p[i] >> HIGH) & MASK` in the others.
    fn fields_32<const LOW: u32, const HIGH: u32, const MASK: u8>(self, p: &[u8; 32]) -> Self::Bytes;

    /// `(p[i] >> SHIFT) & MASK`.
    fn fields_64<const SHIFT: u32, const MASK: u8>(self, p: &[u8; 64]) -> Self::Bytes;

    /// `v << SHIFT` of bytes; no bit may leave its byte.
    fn shift_left<const SHIFT: u32>(self, v: Self::Bytes) -> Self::Bytes;

    /// `table[i]` for every byte `i` of `indices`, all below 16.
    fn lookup(self, table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes;

    /// `v | value` where bit i of `bits` is set.
    fn set_where(self, v: Self::Bytes, bits: u64, value: u8) -> Self::Bytes;

    /// `-v` where bit i of `bits` is set.
    fn negate_where(self, v: Self::Bytes, bits: u64) -> Self::Bytes;

    /// Signed codes in the form that [`Simd::dot_signed`] takes: with [`Simd::SIGNED_BIAS`] added.
    fn signed(self, v: Self::Bytes) -> Self::Bytes;

    /// [`Simd::signed`] of a lookup.
    #[inline(always)]
    fn lookup_signed(self, table: &[i8; 16], indices: Self::Bytes) -> Self::Bytes {
        self.signed(self.lookup(bytemuck::cast_ref(table), indices))
    }

    // Products of bytes. Lane i sums the bytes 4i .. 4i + 4. Activations are in -127..=127.

    /// Codes in 0..=127.
    fn dot(self, codes: Self::Bytes, x: &[i8; 64]) -> Self::Ints;

    /// Codes from [`Simd::signed`].
    fn dot_signed(self, codes: Self::Bytes, x: &[i8; 64]) -> Self::Ints;

    /// `256·dot(codes, x) + dot(codes, low)`: activations in two digits.
    fn dot_two(self, codes: Self::Bytes, x: &[i8; 64], low: &[i8; 64]) -> Self::Ints;

    /// [`Simd::dot_two`] with codes from [`Simd::signed`].
    fn dot_two_signed(self, codes: Self::Bytes, x: &[i8; 64], low: &[i8; 64]) -> Self::Ints;

    fn zero_ints(self) -> Self::Ints;

    /// `acc + dot(codes, x)`.
    fn dot_acc(self, acc: Self::Ints, codes: Self::Bytes, x: Self::Bytes) -> Self::Ints;

    /// `acc + dot_signed(codes, x)`.
    fn dot_acc_signed(self, acc: Self::Ints, codes: Self::Bytes, x: Self::Bytes) -> Self::Ints;

    /// The sums over G groups of four codes: `lines[g][v + i]` holds group g of 16 weight rows, `x[c][g]` that of
    /// activation row c; the result is `[c][i]`. `RUN` tells what the codes are: 0 for those of [`Simd::signed`], or how
    /// many groups may be added up in 16 bits, two products to a sum.
    #[inline(always)]
    fn block_sums<const V: usize, const C: usize, const G: usize, const RUN: usize>(
        self,
        lines: &[[Line; 2]; G],
        v: usize,
        x: [&[[i8; 4]; G]; C],
    ) -> [[Self::Ints; V]; C] {
        generic_block_sums::<Self, V, C, G, RUN>(self, lines, v, x)
    }

    // Floats.

    fn to_f32(self, v: Self::Ints) -> Self::Floats;

    fn store_f32(self, v: Self::Floats, p: &mut [f32; 16]);

    fn splat_f32(self, v: f32) -> Self::Floats;

    fn load_f32(self, p: &[f32; 16]) -> Self::Floats;

    /// Lane i is `p[i / 2]`.
    fn load_f32_pairs(self, p: &[f32; 8]) -> Self::Floats;

    /// The f16 number `h` in all lanes.
    fn splat_f16(self, h: u16) -> Self::Floats;

    /// Lane i is the f16 number `h[i / 2]`.
    fn f16_pairs(self, h: [u16; 8]) -> Self::Floats;

    /// Lane i is the f16 number at the start of `blocks[i / 2]`.
    #[inline(always)]
    fn f16_of_blocks<const B: usize>(self, blocks: &[[u8; B]; 8]) -> Self::Floats {
        let mut h = [0; 8];
        for i in 0..8 {
            h[i] = u16::from_le_bytes([blocks[i][0], blocks[i][1]]);
        }
        self.f16_pairs(h)
    }

    /// Lane i is the f16 number in half i % 2 of `words[i / 2]`, the low half first.
    fn f16_halves(self, words: [u32; 8]) -> Self::Floats;

    /// Lane i is lane i of `v` without its lowest bit.
    fn evens(self, v: Self::Floats) -> Self::Floats;

    /// Lane i is lane i of `v` with its lowest bit set.
    fn odds(self, v: Self::Floats) -> Self::Floats;

    /// Zeros in the even lanes; each odd lane holds its value plus that of the lane before.
    fn odd_sums(self, v: Self::Floats) -> Self::Floats;

    /// Lane i is the signed byte i / 2 of `v`, lowest byte first.
    fn i8_pairs(self, v: u64) -> Self::Floats;

    /// Lane i is the signed byte i of `v`, lowest byte first.
    fn widen_i8(self, v: [u64; 2]) -> Self::Floats;

    /// 16 f16 numbers.
    fn widen_f16(self, p: &[u8; 32]) -> Self::Floats;

    /// 16 bf16 numbers.
    fn widen_bf16(self, p: &[u8; 32]) -> Self::Floats;

    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    fn add_f32(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// `a·b + c`, rounded once.
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// `acc + dots[i]·scales[4J + i / 4]`, rounded once: products of the J-th 64 of 256 values, a scale for each 16.
    fn fma_spread<const J: usize>(self, dots: Self::Ints, scales: Self::Floats, acc: Self::Floats) -> Self::Floats;

    /// `acc + dots[i]·pairs[4J + 2·(i / 8)]`, rounded once: as [`Simd::fma_spread`] with a scale for each 32, in even
    /// lanes.
    fn fma_spread_evens<const J: usize>(self, dots: Self::Ints, pairs: Self::Floats, acc: Self::Floats)
    -> Self::Floats;

    /// The sum of all lanes: halves added, then quarters, then eighths, then the last two.
    fn sum(self, v: Self::Floats) -> f32;
}

/// [`Simd::block_sums`] by broadcasting each group of the activations.
#[inline(always)]
pub(super) fn generic_block_sums<S: Simd, const V: usize, const C: usize, const G: usize, const RUN: usize>(
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
                let codes = s.load(&lines[g][v + i].0);
                sums[c][i] =
                    if RUN == 0 { s.dot_acc_signed(sums[c][i], codes, x) } else { s.dot_acc(sums[c][i], codes, x) };
            }
        }
    }
    sums
}
