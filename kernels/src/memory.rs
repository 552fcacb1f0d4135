//! Reading memory as fast as it goes: prefetching, and the measure of what a machine can read.

/// Bytes ahead of their use at which loops that stream from memory ask for them: measured, see the log in `README.md`.
pub(crate) const AHEAD: usize = 4096;

/// Asks for the cache line at `p` to be brought closer, if there is one: any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, and a prefetch does not access memory.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: every AArch64 CPU has the instruction, and a prefetch does not access memory.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = p;
}

/// Reads `bytes` once, doing as little as possible with them, and returns a number that depends on all of them but at
/// most the last 63: the time this takes is the measure of products, which read their weights once.
pub fn read(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 8];
    for line in bytes.as_chunks::<64>().0 {
        prefetch(line.as_ptr().wrapping_add(AHEAD));
        for (sum, word) in sums.iter_mut().zip(line.as_chunks().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}
