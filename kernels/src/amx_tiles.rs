//! The tile instructions of AMX, by inline assembly, for their intrinsics are not stable; the system's permission to use
//! them; and in tests what stands for them on other CPUs.
//!
//! ```text
//! tdpbf16ps    C[m][n] += A[m][2p]·B[p][2n] + A[m][2p + 1]·B[p][2n + 1]      m, n, p < 16; A, B rows of 32 bf16
//! ```

use std::arch::asm;
use std::arch::x86_64::*;

/// The tile instructions of a step, or what stands for them.
pub(crate) trait Tiles: Copy {
    /// Readies the tiles for the steps, on this thread.
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

    /// `C[m][n] = Σ_k A[m][k]·B[n][k]` of values that are sums of two bf16 ones, without the products of two low halves;
    /// 32 by 32 values, `32·depth` values of K.
    ///
    /// `a`: two groups of 16 rows, `a_stride` bytes apart; 32 high halves, 32 low ones, and so on. `b`: two groups of 16
    /// columns, lines `b_stride` bytes apart; 16 lines of pairs of high halves, 16 of low ones, and so on.
    ///
    /// # Safety
    /// Every row of A is readable for `128·depth` bytes, `32·depth` lines of B for 64 each. Otherwise as [`Tiles::step`].
    unsafe fn split_step(
        depth: usize,
        a: [*const u8; 2],
        a_stride: usize,
        b: [*const u8; 2],
        b_stride: usize,
        c: &mut [[f32; 32]; 32],
    );

    /// Gives the tiles back.
    fn release();
}

/// The instructions themselves.
#[derive(Clone, Copy)]
pub(crate) struct Hardware;

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
        // SAFETY: only called from entry points of the level amx, which is available where the CPU has the tiles and the
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

    unsafe fn split_step(
        depth: usize,
        a: [*const u8; 2],
        a_stride: usize,
        b: [*const u8; 2],
        b_stride: usize,
        c: &mut [[f32; 32]; 32],
    ) {
        // SAFETY: the addresses are those the caller vouches for: tile rows of 64 bytes at the strides given.
        unsafe {
            asm!(
                // tmm0 tmm1 / tmm2 tmm3: C; tmm4, tmm5: A, low then high; tmm6, tmm7: B, high then low.
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a0} + {a_s}*1 + 64]",
                "tileloadd tmm6, [{b0} + {bs}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b1} + {bs}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {a_s}*1 + 64]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{a0} + {a_s}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {a_s}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {b0}, {half}",
                "add {b1}, {half}",
                "tileloadd tmm6, [{b0} + {bs}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b1} + {bs}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 128",
                "add {a1}, 128",
                "add {b0}, {half}",
                "add {b1}, {half}",
                "dec {depth}",
                "jnz 2b",
                "tilestored [{c} + {cs}*1], tmm0",
                "tilestored [{c} + {cs}*1 + 64], tmm1",
                "tilestored [{c} + {cs}*1 + 2048], tmm2",
                "tilestored [{c} + {cs}*1 + 2112], tmm3",
                depth = inout(reg) depth => _,
                a0 = inout(reg) a[0] => _,
                a1 = inout(reg) a[1] => _,
                a_s = in(reg) a_stride,
                b0 = inout(reg) b[0] => _,
                b1 = inout(reg) b[1] => _,
                bs = in(reg) b_stride,
                half = in(reg) 16 * b_stride,
                c = in(reg) c.as_mut_ptr(),
                cs = in(reg) 128usize,
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

#[cfg(test)]
pub(crate) mod tests {
    use super::Tiles;
    use half::bf16;

    /// Plain loops with the meaning of the instructions.
    #[derive(Clone, Copy)]
    pub(crate) struct Emulated;

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

        unsafe fn split_step(
            depth: usize,
            a: [*const u8; 2],
            a_stride: usize,
            b: [*const u8; 2],
            b_stride: usize,
            c: &mut [[f32; 32]; 32],
        ) {
            // SAFETY: every address is one that the instructions would touch, too, and aligned to its type.
            let value = |p: *const u8| unsafe { p.cast::<bf16>().read().to_f32() };
            for m in 0..32 {
                for n in 0..32 {
                    c[m][n] = 0.0;
                    for k in 0..32 * depth {
                        let a = a[m / 16].wrapping_add(m % 16 * a_stride + k / 32 * 128 + k % 32 * 2);
                        let b = b[n / 16].wrapping_add((k / 32 * 32 + k % 32 / 2) * b_stride + n % 16 * 4 + k % 2 * 2);
                        let (a_low, b_low) = (a.wrapping_add(64), b.wrapping_add(16 * b_stride));
                        c[m][n] += value(a) * value(b) + value(a_low) * value(b) + value(a) * value(b_low);
                    }
                }
            }
        }

        fn release() {}
    }
}
