//! The level AMX: panels of bf16 multiplied by tile instructions; few columns and float formats stay with AVX-512.
//!
//! A scale for every 32 codes would leave int8 tiles no faster than `vpdpbusd`, since each accumulator had to be drained
//! through f32 after 32 steps. The panels of [`super::bf16`] have no scales, and are the layout that `tdpbf16ps` wants of
//! its second operand:
//!
//! ```text
//! C[m][n] += Σ_p A[m][2p]·B[p][2n] + A[m][2p + 1]·B[p][2n + 1]      p < 16, m < 16, n < 16; A, B rows of 32 bf16
//! A: rows of activations    B: lines of the panel    C: y, 16 activation rows by 16 weight rows
//! ```
//!
//! A step works on two tiles by two. The instructions are written in assembly, for their intrinsics are not stable.
//! Tests run the same loops with `Emulated` tiles, on any CPU with AVX-512 and its bf16 conversion.

use super::avx512::entry as avx512;
use super::bf16::{self, VALUES};
use super::entry::{Gemm, Product};
use super::gemm::{Panel, Parts, Stretch};
use crate::{Format, Inputs, Tile};
use std::arch::asm;
use std::arch::x86_64::*;

/// Rows of C in a step: activation rows; columns of C in a step: weight rows, those of a panel.
const SIDE: usize = 32;
/// bf16 values of a row that one instruction takes.
const DEPTH: usize = 32;

/// The tile instructions of a step, or what stands for them.
trait Tiles {
    /// Readies the tiles for [`Tiles::step`], on this thread.
    fn configure();

    /// `C[m][n] = Σ_k A[m][k]·B[n][k]`, plus C as it was if `accumulate`; 32 by 32 values, `32·depth` values of K.
    ///
    /// `a`: two groups of 16 activation rows of bf16, `a_stride` bytes apart. `b`: the panel's lines.
    /// `c`: f32, `c_stride` bytes apart.
    ///
    /// # Safety
    /// Every row of A is readable for `64·depth` bytes, every row of C is readable and writable for 128, B for
    /// `2048·depth`. [`Tiles::configure`] was called on this thread, and the CPU has the tiles.
    unsafe fn step(
        depth: usize,
        a: [*const u8; 2],
        a_stride: usize,
        b: *const u8,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    );

    /// Gives the tiles back.
    fn release();
}

/// The instructions themselves.
struct Hardware;

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes.
static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

impl Tiles for Hardware {
    fn configure() {
        // SAFETY: only called from entry points of this level, which is available where the CPU has the tiles and the
        // system has granted them (`available`). The operand is 64 bytes as the instruction wants them.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, preserves_flags),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
        }
    }

    unsafe fn step(
        depth: usize,
        a: [*const u8; 2],
        a_stride: usize,
        b: *const u8,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let c = c.cast::<u8>();
        let below = c.wrapping_add(16 * c_stride);
        // SAFETY: the addresses are those the caller vouches for: tile rows of 64 bytes at the strides given, tiles of B
        // 16 lines of 128 bytes each.
        unsafe {
            asm!(
                // tmm0 tmm1 / tmm2 tmm3: C; tmm4, tmm5: A; tmm6, tmm7: B.
                "test {accumulate}, {accumulate}",
                "jz 2f",
                "tileloadd tmm0, [{c} + {cs}*1]",
                "tileloadd tmm1, [{c} + {cs}*1 + 64]",
                "tileloadd tmm2, [{below} + {cs}*1]",
                "tileloadd tmm3, [{below} + {cs}*1 + 64]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                "tileloadd tmm4, [{a0} + {a_s}*1]",
                "tileloadd tmm6, [{b} + {bs}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {bs}*1 + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {a_s}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 64",
                "add {a1}, 64",
                "add {b}, 2048",
                "dec {depth}",
                "jnz 3b",
                "tilestored [{c} + {cs}*1], tmm0",
                "tilestored [{c} + {cs}*1 + 64], tmm1",
                "tilestored [{below} + {cs}*1], tmm2",
                "tilestored [{below} + {cs}*1 + 64], tmm3",
                accumulate = in(reg) usize::from(accumulate),
                depth = inout(reg) depth => _,
                a0 = inout(reg) a[0] => _,
                a1 = inout(reg) a[1] => _,
                a_s = in(reg) a_stride,
                b = inout(reg) b => _,
                bs = in(reg) 128usize,
                c = in(reg) c,
                below = in(reg) below,
                cs = in(reg) c_stride,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    fn release() {
        // SAFETY: as in `configure`.
        unsafe {
            asm!("tilerelease", options(nomem, nostack, preserves_flags),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
        }
    }
}

/// Whether the CPU has bf16 tiles and AVX-512 conversions to bf16, and the system lets this process use the tiles.
pub(crate) fn available() -> bool {
    /// Bits of EDX in CPUID leaf 7: bf16 products on tiles, tiles.
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let features = || {
        if __get_cpuid_max(0).0 < 7 {
            return false;
        }
        let edx = __cpuid_count(7, 0).edx;
        edx & AMX_BF16 != 0 && edx & AMX_TILE != 0 && std::arch::is_x86_feature_detected!("avx512bf16")
    };
    features() && granted()
}

/// Asks the system for the tile registers, for this process.
#[cfg(target_os = "linux")]
fn granted() -> bool {
    const SYS_ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: a system call that touches no memory of this process; it clobbers rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}

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
            // SAFETY: `bf16` gives 16 rows, padded with zeros, of the length asked for, which ends within the padding of
            // K. A panel has 2048 bytes for each 32 values. The rectangle of y was just checked.
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
    let vectors = avx512::product(format);
    let Some(panels) = bf16::parts_of(format) else { return vectors };
    let tiles = Parts { multiply: multiply_panel, ..panels };
    Product { gemm: Gemm::Panels(tiles), fine: Some(tiles), ..vectors }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::conformance::Guarded;
    use crate::qmatmul::gemm;
    use crate::{Isa, Matrix};
    use half::bf16;

    /// Plain loops with the meaning of the instructions.
    struct Emulated;

    impl Tiles for Emulated {
        fn configure() {}

        unsafe fn step(
            depth: usize,
            a: [*const u8; 2],
            a_stride: usize,
            b: *const u8,
            c: *mut f32,
            c_stride: usize,
            accumulate: bool,
        ) {
            // SAFETY: every address is one that the instructions would touch, too, and aligned to its type.
            let value = |p: *const u8| unsafe { p.cast::<bf16>().read().to_f32() };
            for m in 0..32 {
                for n in 0..32 {
                    // SAFETY: as above.
                    let c = unsafe { &mut *c.cast::<u8>().add(m * c_stride + 4 * n).cast::<f32>() };
                    let mut sum = if accumulate { *c } else { 0.0 };
                    for pair in 0..16 * depth {
                        let a = a[m / 16].wrapping_add(m % 16 * a_stride + 4 * pair);
                        let b = b.wrapping_add(pair * 128 + 4 * n);
                        sum += value(a) * value(b) + value(a.wrapping_add(2)) * value(b.wrapping_add(2));
                    }
                    *c = sum;
                }
            }
        }

        fn release() {}
    }

    unsafe fn multiply_emulated(panel: &Panel, x: Inputs<'_>, at: Stretch, y: &mut Tile<'_>) {
        multiply::<Emulated>(panel, x, at, y);
    }

    /// The product with emulated tiles, or none where the rest of the level cannot run.
    pub(in crate::qmatmul) fn emulated(w: Matrix<'_>, x: Inputs<'_>) -> Option<Vec<f32>> {
        if !Isa::Avx512Vnni.is_available() || !std::arch::is_x86_feature_detected!("avx512bf16") {
            eprintln!("skipped: the vector half of amx, not on this CPU");
            return None;
        }
        let Gemm::Panels(parts) = product(w.format()).gemm else { panic!("{} has no panels", w.format()) };
        let parts = Parts { multiply: multiply_emulated, ..parts };
        let mut y = Guarded::new(x.q.rows() * w.rows());
        // SAFETY: the features were just looked for, and the tiles are emulated.
        unsafe { gemm::multiply(&parts, w, x, &mut Tile::new(y.values(), w.rows())) };
        Some(y.finish("amx"))
    }
}
