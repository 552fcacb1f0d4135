//! Squares of 32-bit words, transposed in registers.

use std::arch::x86_64::*;

/// Within each 128-bit quarter, word j of row i becomes word i of row j, 4 by 4.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
pub(crate) unsafe fn transpose_quarters([p, q, r, s]: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: the CPU as the caller.
    unsafe {
        let (pq_low, pq_high) = (_mm512_unpacklo_epi32(p, q), _mm512_unpackhi_epi32(p, q));
        let (rs_low, rs_high) = (_mm512_unpacklo_epi32(r, s), _mm512_unpackhi_epi32(r, s));
        [
            _mm512_unpacklo_epi64(pq_low, rs_low),
            _mm512_unpackhi_epi64(pq_low, rs_low),
            _mm512_unpacklo_epi64(pq_high, rs_high),
            _mm512_unpackhi_epi64(pq_high, rs_high),
        ]
    }
}

/// Within each 128-bit half, word j of row i becomes word i of row j, 4 by 4.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(crate) unsafe fn transpose_halves([p, q, r, s]: [__m256i; 4]) -> [__m256i; 4] {
    // SAFETY: the CPU as the caller.
    unsafe {
        let (pq_low, pq_high) = (_mm256_unpacklo_epi32(p, q), _mm256_unpackhi_epi32(p, q));
        let (rs_low, rs_high) = (_mm256_unpacklo_epi32(r, s), _mm256_unpackhi_epi32(r, s));
        [
            _mm256_unpacklo_epi64(pq_low, rs_low),
            _mm256_unpackhi_epi64(pq_low, rs_low),
            _mm256_unpacklo_epi64(pq_high, rs_high),
            _mm256_unpackhi_epi64(pq_high, rs_high),
        ]
    }
}

/// Word j of row i becomes word i of row j, 16 by 16.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
pub(crate) unsafe fn transpose_16(a: [__m512i; 16]) -> [__m512i; 16] {
    // SAFETY: the CPU as the caller.
    unsafe {
        // Pairs, then fours of rows within each 128-bit quarter: b[4i + j] holds columns 4q + j of rows 4i .. 4i + 4
        // in quarter q.
        let mut b = a;
        for i in 0..4 {
            let rows = transpose_quarters([a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]]);
            b[4 * i..4 * i + 4].copy_from_slice(&rows);
        }
        // Then the quarters.
        let mut c = b;
        for j in 0..4 {
            let [p, q, r, s] = [b[j], b[4 + j], b[8 + j], b[12 + j]];
            let (even_low, odd_low) = (_mm512_shuffle_i32x4::<0x88>(p, q), _mm512_shuffle_i32x4::<0xdd>(p, q));
            let (even_high, odd_high) = (_mm512_shuffle_i32x4::<0x88>(r, s), _mm512_shuffle_i32x4::<0xdd>(r, s));
            c[j] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
            c[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
            c[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
            c[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
        }
        c
    }
}

/// Word j of row i becomes word i of row j, 8 by 8.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(crate) unsafe fn transpose_8(a: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: the CPU as the caller.
    unsafe {
        // Fours of rows within each half, then the halves.
        let mut b = a;
        for i in 0..2 {
            let rows = transpose_halves([a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]]);
            b[4 * i..4 * i + 4].copy_from_slice(&rows);
        }
        let mut c = b;
        for j in 0..4 {
            c[j] = _mm256_permute2x128_si256::<0x20>(b[j], b[4 + j]);
            c[4 + j] = _mm256_permute2x128_si256::<0x31>(b[j], b[4 + j]);
        }
        c
    }
}
