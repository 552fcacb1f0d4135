//! What the dense drivers need of a level beyond the [common operations](crate::simd): the shape of its register blocks, and
//! rows of words turned into columns.

use crate::simd::{Portable, Simd};

/// A level of the dense products.
pub(super) trait Panels: Simd {
    /// Vectors of a panel in products: with the rows of a block they fill the registers.
    const WIDE: usize;
    /// Most vectors of a panel.
    const WIDEST: usize;

    /// [`Simd::LANES`] rows of `depth` words, `stride` apart, to the first columns of a panel `[depth, width]`. The
    /// stride is `depth` completed to whole vectors, at least.
    fn turn(self, rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize);
}

impl Panels for Portable {
    const WIDE: usize = 2;
    const WIDEST: usize = 3;

    #[inline(always)]
    fn turn(self, rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
        turn_4(rows, depth, stride, panel, width);
    }
}

/// 32 registers.
#[cfg(target_arch = "aarch64")]
impl Panels for crate::simd::Neon {
    const WIDE: usize = 4;
    const WIDEST: usize = 4;

    #[inline(always)]
    fn turn(self, rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
        turn_4(rows, depth, stride, panel, width);
    }
}

/// [`Panels::turn`] of four rows.
#[inline(always)]
fn turn_4(rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
    let rows: [&[u32]; 4] = std::array::from_fn(|j| &rows[j * stride..][..depth]);
    for (i, out) in panel.chunks_mut(width).take(depth).enumerate() {
        out[..4].copy_from_slice(&[rows[0][i], rows[1][i], rows[2][i], rows[3][i]]);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Panels;
    use crate::simd::{Avx2With, Avx512With, Simd, has};
    use crate::transpose::{transpose_8, transpose_16};
    use std::arch::x86_64::*;
    use std::mem::transmute;

    impl<const VNNI: bool> Panels for Avx2With<VNNI> {
        const WIDE: usize = 2;
        const WIDEST: usize = 3;

        #[inline(always)]
        fn turn(self, rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
            turn_squares(self, rows, depth, stride, panel, width);
        }
    }

    impl<const BF16: bool> Panels for Avx512With<BF16> {
        const WIDE: usize = 4;
        const WIDEST: usize = 5;

        #[inline(always)]
        fn turn(self, rows: &[u32], depth: usize, stride: usize, panel: &mut [u32], width: usize) {
            turn_squares(self, rows, depth, stride, panel, width);
        }
    }

    /// A level that transposes squares of words, N by N, in registers. N is [`Simd::LANES`].
    trait Square<const N: usize>: Simd {
        /// Word j of row i becomes word i of row j.
        fn transpose(self, square: [Self::F32; N]) -> [Self::F32; N];
    }

    impl<const VNNI: bool> Square<8> for Avx2With<VNNI> {
        #[inline(always)]
        fn transpose(self, square: [__m256; 8]) -> [__m256; 8] {
            has!(transmute::<[__m256i; 8], [__m256; 8]>(transpose_8(transmute::<[__m256; 8], [__m256i; 8]>(square))))
        }
    }

    impl<const BF16: bool> Square<16> for Avx512With<BF16> {
        #[inline(always)]
        fn transpose(self, square: [__m512; 16]) -> [__m512; 16] {
            has!(transmute::<[__m512i; 16], [__m512; 16]>(transpose_16(transmute::<[__m512; 16], [__m512i; 16]>(
                square
            ))))
        }
    }

    /// [`Panels::turn`] by squares.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    fn turn_squares<S: Square<N>, const N: usize>(
        s: S,
        rows: &[u32],
        depth: usize,
        stride: usize,
        panel: &mut [u32],
        width: usize,
    ) {
        assert!(depth > 0 && stride >= depth.next_multiple_of(N) && rows.len() >= N * stride);
        assert!(width >= N && panel.len() >= (depth - 1) * width + N);
        for first in (0..depth).step_by(N) {
            // SAFETY: rows reach to the next multiple of their length, and there are `depth` lines of the panel.
            unsafe {
                let mut square = [s.load_from(rows.as_ptr().add(first).cast()); N];
                for r in 1..N {
                    square[r] = s.load_from(rows.as_ptr().add(r * stride + first).cast());
                }
                let square = s.transpose(square);
                let panel = panel.as_mut_ptr().add(first * width);
                for i in 0..N.min(depth - first) {
                    s.store_to(square[i], panel.add(i * width).cast());
                }
            }
        }
    }
}
