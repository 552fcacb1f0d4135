//! Working memory that a caller keeps for the next call.

/// Cuts `N` aligned pieces of the given lengths out of `scratch`, of any contents.
pub(crate) fn carve<const N: usize>(scratch: &mut Vec<f32>, lengths: [usize; N]) -> [&mut [f32]; N] {
    /// Values of a cache line.
    const LINE: usize = 16;
    let lengths = lengths.map(|n| n.next_multiple_of(LINE));
    let total = lengths.iter().sum::<usize>() + LINE;
    if scratch.len() < total {
        scratch.resize(total, 0.0);
    }
    let start = scratch.as_ptr().align_offset(4 * LINE).min(LINE);
    let mut rest = &mut scratch[start..];
    lengths.map(|n| rest.split_off_mut(..n).expect("as long as the sum of lengths"))
}
