//! The level AMX: panels of bf16 multiplied by tile instructions; few columns and float formats stay with AVX-512.
//!
//! A scale for every 32 codes would leave int8 tiles no faster than `vpdpbusd`, since each accumulator had to be
//! drained through f32 after 32 steps. The panels of [`super::bf16`] have no scales, and are the layout that
//! `tdpbf16ps` wants of its second operand:
//!
//! ```text
//! C[m][n] += Σ_p A[m][2p]·B[p][2n] + A[m][2p + 1]·B[p][2n + 1]      p < 16, m < 16, n < 16; A, B rows of 32 bf16
//! A: rows of activations    B: lines of the panel    C: y, 16 activation rows by 16 weight rows
//! ```
//!
//! A step works on two tiles by two. Tests run the same loops with emulated tiles, on any CPU with AVX-512 and its bf16
//! conversion.

use super::bf16::{self, VALUES};
use super::entry::{self, Gemm, Product};
use super::gemm::{Panel, PanelFunctions, Stretch};
use crate::amx_tiles::{Hardware, Tiles};
use crate::simd::Avx512;
use crate::{Format, Inputs, Tile};

/// Rows of C in a step: activation rows; columns of C in a step: weight rows, those of a panel.
const SIDE: usize = 32;
/// bf16 values of a row that one instruction takes.
const DEPTH: usize = 32;

/// [`super::gemm::MultiplyPanel`] for panels of bf16.
#[inline(always)]
fn multiply<T: Tiles>(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>) {
    let depth = at.k.div_ceil(DEPTH);
    let b = panel.first_line();
    let accumulate = at.number > 0;
    T::configure();
    for m in (0..y.rows()).step_by(SIDE) {
        let (first, a_stride) = x.q.bf16(m, at.number * VALUES, depth * DEPTH);
        // The second 16 rows, or the first again where there are no more.
        let second = if m + 16 < y.rows() { x.q.bf16(m + 16, at.number * VALUES, depth * DEPTH).0 } else { first };
        if m + SIDE <= y.rows() && at.n + SIDE <= y.cols() {
            let (c, stride) = y.corner(m, at.n);
            // SAFETY: `bf16` gives 16 rows, padded with zeros, of the length asked for, which ends within the padding
            // of K. A panel has 2048 bytes for each 32 values. The rectangle of y was just checked.
            unsafe { T::step(depth, [first, second], a_stride, b, c, 4 * stride, accumulate) };
        } else {
            let mut c = [[0.0f32; SIDE]; SIDE];
            let rows = SIDE.min(y.rows() - m);
            let cols = SIDE.min(y.cols() - at.n);
            for r in 0..rows {
                c[r][..cols].copy_from_slice(&y.row(m + r)[at.n..][..cols]);
            }
            // SAFETY: as above; C is this array.
            unsafe { T::step(depth, [first, second], a_stride, b, c.as_mut_ptr().cast(), 4 * SIDE, accumulate) };
            for r in 0..rows {
                y.row_mut(m + r)[at.n..][..cols].copy_from_slice(&c[r][..cols]);
            }
        }
    }
    T::release();
}

/// # Safety
/// The CPU has the tiles.
unsafe fn multiply_panel(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>) {
    multiply::<Hardware>(panel, x, at, y);
}

pub(super) fn product(format: Format) -> Product {
    let vectors = entry::product::<Avx512>(format);
    let Some(panels) = bf16::functions_of(format) else { return vectors };
    let tiles = PanelFunctions { multiply: multiply_panel, ..panels };
    Product { gemm: Gemm::Panels(tiles), gemm_bf16: Some(tiles), ..vectors }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::amx_tiles::tests::Emulated;
    use crate::conformance::Guarded;
    use crate::qmatmul::gemm;
    use crate::{Isa, Matrix};

    unsafe fn multiply_emulated(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>) {
        multiply::<Emulated>(panel, x, at, y);
    }

    /// The product with emulated tiles, or none where the rest of the level cannot run.
    pub(in crate::qmatmul) fn emulated(w: Matrix<'_>, x: Inputs<'_>) -> Option<Vec<f32>> {
        if !Isa::Avx512Vnni.is_available() || !std::arch::is_x86_feature_detected!("avx512bf16") {
            eprintln!("skipped: the vector half of amx, not on this CPU");
            return None;
        }
        let Gemm::Panels(functions) = product(w.format()).gemm else { panic!("{} has no panels", w.format()) };
        let functions = PanelFunctions { multiply: multiply_emulated, ..functions };
        let mut y = Guarded::new(x.q.rows() * w.rows());
        // SAFETY: the features were just looked for, and the tiles are emulated.
        unsafe { gemm::multiply(&functions, w, x, &mut Tile::new(y.values(), w.rows())) };
        Some(y.finish("amx"))
    }
}
