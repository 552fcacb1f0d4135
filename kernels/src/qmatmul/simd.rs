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

    /// Whether [`Simd::nibbles_32_exchanged`] leaves high nibbles where they are in their bytes, so that each counts for 16
    /// times as much: for levels whose products take any u8 for a code.
    const IN_PLACE_32: bool;

    /// The same of [`Simd::nibbles_exchanged`], for those who want it.
    const IN_PLACE_16: bool;

    /// Weight rows of a quantised format that one activation row meets at once, 1, 2 or 4. Where they are 4, those of wide
    /// formats are met one by one all the same, in the order in which they lie in memory.
    const ROWS: usize;

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

    /// Quarter b of vector m of the result is made of group m of quarter b of each of the given vectors: 256 values in the
    /// [order of lanes](crate::activations::Order::Lanes).
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
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// The low nibbles of `a`, its high nibbles, then those of `b`.
    fn nibbles(self, a: &[u8; 16], b: &[u8; 16]) -> Self::Bytes;

    /// `(p[i] >> LOW) & MASK` in the first 32 bytes, `(p[i] >> HIGH) & MASK` in the others.
    fn fields_32<const LOW: u32, const HIGH: u32, const MASK: u8>(self, p: &[u8; 32]) -> Self::Bytes;

    /// `(p[i] >> SHIFT) & MASK`.
    fn fields_64<const SHIFT: u32, const MASK: u8>(self, p: &[u8; 64]) -> Self::Bytes;

    /// The low nibbles of the 32 bytes at `p[32v]`, then their high nibbles, for v in 0..4, [exchanged](Simd::exchange).
    fn nibbles_32_exchanged(self, p: &[u8; 128]) -> [Self::Bytes; 4];

    /// Codes of five bits, [exchanged](Simd::exchange): the four low ones are nibbles as in
    /// [`Simd::nibbles_32_exchanged`], the highest is bits 2v, then 2v + 1 of the 32 bytes at `high`. `in_order` are the same codes in
    /// order, for levels that know no better than to exchange those.
    #[inline(always)]
    fn five_bits_exchanged(self, low: &[u8; 128], high: &[u8; 32], in_order: [Self::Bytes; 4]) -> [Self::Bytes; 4] {
        let _ = (low, high);
        self.exchange(in_order)
    }

    /// Four times [`Simd::nibbles`], of the 16 bytes from AT on of blocks 2v and 2v + 1 for v in 0..4,
    /// [exchanged](Simd::exchange). `IN_PLACE`: high nibbles may stay where they are.
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

    /// Signed codes in the form that products take: with [`Simd::SIGNED_BIAS`] added.
    fn signed(self, v: Self::Bytes) -> Self::Bytes;

    /// [`Simd::signed`] of a lookup.
    #[inline(always)]
    fn lookup_signed(self, table: &[i8; 16], indices: Self::Bytes) -> Self::Bytes {
        self.signed(self.lookup(bytemuck::cast_ref(table), indices))
    }

    // Products of bytes. Lane i sums the bytes 4i .. 4i + 4. Codes are in 0..=127, or those of [`Simd::signed`];
    // activations are in -127..=127.

    fn zero_ints(self) -> Self::Ints;

    /// The sum of the products of four vectors, with codes of this kind.
    #[inline(always)]
    fn dots(self, kind: Codes, codes: [Self::Bytes; 4], x: &[[i8; 64]; 4]) -> Self::Ints {
        generic_dots(self, kind, codes, x)
    }

    /// `256·high + low`.
    fn two_digits(self, high: Self::Ints, low: Self::Ints) -> Self::Ints;

    /// `acc` and the products of codes in 0..=127.
    fn dot_acc(self, acc: Self::Ints, codes: Self::Bytes, x: Self::Bytes) -> Self::Ints;

    /// `acc` and the products of codes from [`Simd::signed`].
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

    /// The f16 number `h` in all lanes.
    fn splat_f16(self, h: u16) -> Self::Floats;

    /// 16 f16 numbers.
    fn widen_f16(self, p: &[u8; 32]) -> Self::Floats;

    /// 16 bf16 numbers.
    fn widen_bf16(self, p: &[u8; 32]) -> Self::Floats;

    // What belongs to 16 or 32 of 256 values, in the order of lanes: lane 4b + v is that of values 64v + 16b ...

    /// The signed bytes of `v`, each for 16 values, lowest byte first.
    fn sixteen_i8(self, v: [u64; 2]) -> Self::Floats;

    /// The signed bytes of `v`, each for 32 values, lowest byte first.
    fn eight_i8(self, v: u64) -> Self::Floats;

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

    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    fn add_f32(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// `a·b + c`, rounded once.
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// The sum of all lanes: halves added, then quarters, then eighths, then the last two.
    fn sum(self, v: Self::Floats) -> f32;
}

/// What codes are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Codes {
    /// Those of [`Simd::signed`].
    Signed,
    /// At least 0, and at most so much; no more than 127.
    UpTo(u8),
}

/// [`Simd::dots`] one product after another.
#[inline(always)]
pub(super) fn generic_dots<S: Simd>(s: S, kind: Codes, codes: [S::Bytes; 4], x: &[[i8; 64]; 4]) -> S::Ints {
    let mut sums = s.zero_ints();
    for m in 0..4 {
        let x = s.load(bytemuck::cast_ref(&x[m]));
        sums = match kind {
            Codes::Signed => s.dot_acc_signed(sums, codes[m], x),
            Codes::UpTo(_) => s.dot_acc(sums, codes[m], x),
        };
    }
    sums
}

/// [`Simd::groups_at`] one after another.
#[inline(always)]
pub(super) fn generic_groups_at<S: Simd, const N: usize>(
    s: S,
    table: &[[u8; 4]; N],
    p: &[u8; 16],
    high: u16,
) -> S::Bytes {
    let mut groups = [[0; 4]; 16];
    for i in 0..16 {
        groups[i] = table[usize::from(p[i]) | usize::from(high >> i & 1) << 8];
    }
    s.load(bytemuck::cast_ref(&groups))
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
